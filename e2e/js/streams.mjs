import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { collector, eventually, rejects, sharedSandbox } from './sdk.mjs'

describe('streams', { concurrency: 4 }, () => {
  const shared = sharedSandbox()
  const start = (cmd, opts) => shared.sandbox.commands.run(cmd, { background: true, timeoutMs: 30_000, ...opts })

  test('output comes while the command runs', async () => {
    const [out, err] = [collector(), collector()]
    const command = await start('echo one; echo two >&2; read answer; echo "got $answer"', {
      stdin: true,
      onStdout: (s) => out.add(s),
      onStderr: (s) => err.add(s),
    })
    await Promise.all([out.until(/^one\n$/), err.until(/^two\n$/)])
    await shared.sandbox.commands.sendStdin(command.pid, 'it\n')
    const result = await command.wait()
    assert.deepEqual([result.stdout, result.stderr, result.exitCode], ['one\ngot it\n', 'two\n', 0])
    assert.equal(out.text, 'one\ngot it\n')
  })

  test('closing the input ends a reader', async () => {
    const command = await start('cat', { stdin: true })
    await shared.sandbox.commands.sendStdin(command.pid, 'first ')
    await shared.sandbox.commands.sendStdin(command.pid, new TextEncoder().encode('second ü'))
    await shared.sandbox.commands.closeStdin(command.pid)
    assert.equal((await command.wait()).stdout, 'first second ü')
  })

  test('list and kill', async () => {
    const command = await start('sleep 60')
    const listed = (await shared.sandbox.commands.list()).find((p) => p.pid === command.pid)
    assert.equal(listed.cmd, '/bin/bash')
    assert.deepEqual(listed.args, ['-l', '-c', 'sleep 60'])
    assert.equal(await shared.sandbox.commands.kill(command.pid), true)
    const error = await rejects(command.wait(), 'CommandExitError', /signal: killed/)
    assert.notEqual(error.exitCode, 0)
    await eventually('not listed', async () => !(await shared.sandbox.commands.list()).some((p) => p.pid === command.pid))
    assert.equal(await shared.sandbox.commands.kill(command.pid), false)
  })

  test('kill of an unknown process', async () => {
    assert.equal(await shared.sandbox.commands.kill(999_999), false)
  })

  test('input for an unknown process', async () => {
    await rejects(shared.sandbox.commands.sendStdin(999_999, 'x'), 'NotFoundError')
  })

  test('connect to a running command', async () => {
    const command = await start('read line; echo "heard $line"', { stdin: true })
    const out = collector()
    const second = await shared.sandbox.commands.connect(command.pid, { onStdout: (s) => out.add(s) })
    assert.equal(second.pid, command.pid)
    await shared.sandbox.commands.sendStdin(command.pid, 'you\n')
    const results = await Promise.all([command.wait(), second.wait()])
    for (const r of results) assert.equal(r.stdout, 'heard you\n')
    assert.equal(out.text, 'heard you\n')
  })

  test('connect to an unknown process', async () => {
    await rejects(shared.sandbox.commands.connect(999_999), 'NotFoundError')
  })

  test('a command outlives its client', async () => {
    const command = await start('read line; echo "still here: $line"', { stdin: true })
    await command.disconnect()
    const again = await shared.sandbox.commands.connect(command.pid)
    await shared.sandbox.commands.sendStdin(command.pid, 'yes\n')
    assert.equal((await again.wait()).stdout, 'still here: yes\n')
  })

  test('a handle kills its command', async () => {
    const command = await start('trap "" TERM; sleep 60')
    assert.equal(await command.kill(), true)
    await rejects(command.wait(), 'CommandExitError')
  })

  test('a process left behind does not hold the command', async () => {
    const result = await shared.sandbox.commands.run('nohup sleep 60 >/dev/null 2>&1 & echo started', { timeoutMs: 10_000 })
    assert.equal(result.stdout, 'started\n')
  })
})
