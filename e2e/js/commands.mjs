import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { eventually, rejects, sharedSandbox } from './sdk.mjs'

describe('commands', { concurrency: 4 }, () => {
  const shared = sharedSandbox({ envs: { FROM_CREATE: 'yes' } })
  const run = (cmd, opts) => shared.sandbox.commands.run(cmd, opts)
  const out = async (cmd, opts) => (await run(cmd, opts)).stdout.trimEnd()

  test('python says 42', async () => {
    assert.equal((await run('python3 -c "print(6*7)"')).stdout, '42\n')
  })

  test('standard output and error are kept apart', async () => {
    const result = await run('echo out; echo err >&2')
    assert.deepEqual([result.exitCode, result.stdout, result.stderr], [0, 'out\n', 'err\n'])
  })

  test('an exit code is an error', async () => {
    const error = await rejects(run('echo partial; echo why >&2; exit 3'), 'CommandExitError', /exit status 3/)
    assert.deepEqual([error.exitCode, error.stdout, error.stderr], [3, 'partial\n', 'why\n'])
  })

  test('a missing program', async () => {
    assert.equal((await rejects(run('no-such-program'), 'CommandExitError')).exitCode, 127)
  })

  test('the working directory', async () => {
    assert.equal(await out('pwd'), '/home/user')
    assert.equal(await out('pwd', { cwd: '/tmp' }), '/tmp')
    await run('mkdir -p in/side')
    assert.equal(await out('pwd', { cwd: 'in/side' }), '/home/user/in/side')
    await rejects(run('pwd', { cwd: '/not/there' }), 'InvalidArgumentError', /cwd '\/not\/there' does not exist/)
  })

  test('the user', async () => {
    assert.equal(await out('whoami; echo $HOME; id -u'), 'user\n/home/user\n1000')
    assert.equal(await out('whoami; echo $HOME; id -u', { user: 'root' }), 'root\n/root\n0')
    assert.equal(await out('whoami', { user: 'user' }), 'user')
    await rejects(run('true', { user: 'nobody-here' }), 'AuthenticationError', /invalid username: 'nobody-here'/)
  })

  test('an ordinary user is not root', async () => {
    await rejects(run('touch /etc/owned'), 'CommandExitError', /exit status 1/)
    assert.equal(await out('touch /etc/owned && stat -c %U /etc/owned', { user: 'root' }), 'root')
  })

  test('the environment', async () => {
    assert.equal(await out('echo "$FROM_CREATE/$ONE"', { envs: { ONE: 'a b' } }), 'yes/a b')
    assert.equal(await out('echo "$FROM_CREATE"', { envs: { FROM_CREATE: 'overridden' } }), 'overridden')
    assert.equal(await out('echo "[$ONE]"'), '[]')
  })

  test('a timeout kills the command', async () => {
    const started = Date.now()
    await rejects(run('exec -a overslept sleep 60', { timeoutMs: 1_000 }), 'TimeoutError', /timeoutMs/)
    assert.ok(Date.now() - started < 45_000)
    await eventually('the process is gone', async () => (await out('grep -al overslep[t] /proc/[0-9]*/cmdline || true')) === '')
  })

  test('a big output arrives whole', async () => {
    const { stdout } = await run('python3 -c "import sys; sys.stdout.write(chr(233) * 1500000)"', { timeoutMs: 30_000 })
    const want = createHash('sha256').update('é'.repeat(1_500_000)).digest('hex')
    assert.equal(createHash('sha256').update(stdout).digest('hex'), want, `${stdout.length} characters came`)
  })

  test('many commands at once', async () => {
    const numbers = [...Array(12).keys()]
    assert.deepEqual(await Promise.all(numbers.map((n) => out(`echo $((${n} * ${n}))`))), numbers.map((n) => String(n * n)))
  })

  test('without input a reader sees its end', async () => {
    assert.equal(await out('cat; echo end', { timeoutMs: 60_000 }), 'end')
  })

  test('what a login shell gives', async () => {
    assert.equal(await out('shopt -q login_shell && echo login'), 'login')
    assert.match(await out('echo $PATH'), /\/usr\/bin/)
  })
})
