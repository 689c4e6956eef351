import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { collector, rejects, sharedSandbox } from './sdk.mjs'

describe('pty', () => {
  const shared = sharedSandbox()
  const encode = (s) => new TextEncoder().encode(s)

  async function open(opts) {
    const screen = collector()
    const handle = await shared.sandbox.pty.create({ cols: 80, rows: 24, onData: (d) => screen.add(d), timeoutMs: 30_000, ...opts })
    const type = (text) => shared.sandbox.pty.sendInput(handle.pid, encode(text))
    return { handle, screen, type }
  }

  test('a shell with a terminal', async () => {
    const { handle, screen, type } = await open({ envs: { MARK: 'blue' }, cwd: '/tmp' })
    await type('echo "<$TERM $LANG $MARK $PWD>"\n')
    await screen.until(/<xterm-256color C\.UTF-8 blue \/tmp>/)
    await type('test -t 0 && echo "is a "terminal\n')
    await screen.until(/is a terminal/)
    await type('exit 0\n')
    assert.equal((await handle.wait()).exitCode, 0)
  })

  test('the size, and a new size', async () => {
    const { handle, screen, type } = await open()
    await type('echo "size=<$(stty size)>"\n')
    await screen.until(/size=<24 80>/)
    await shared.sandbox.pty.resize(handle.pid, { cols: 120, rows: 40 })
    // A shell that is about to prompt may undo a new size for a moment.
    await type('until test "$(stty size)" = "40 120"; do sleep 0.1; done; echo "size=<$(stty size)>"\n')
    await screen.until(/size=<40 120>/)
    assert.equal(await shared.sandbox.pty.kill(handle.pid), true)
    await rejects(handle.wait(), 'CommandExitError')
    assert.equal(await shared.sandbox.pty.kill(handle.pid), false)
  })

  test('an interrupt key', async () => {
    const { handle, screen, type } = await open({ user: 'root' })
    // A child says that it is up: it has the terminal then, which the shell gives
    // away a moment after it has forked.
    await type(`sh -c 'echo up; exec sleep 60'; echo "rc="$?\n`)
    await screen.until(/\rup\r\n/)
    await type('\u0003')
    await type('echo "who=<$(whoami)>"; exit 7\n')
    await screen.until(/who=<root>/)
    assert.equal((await rejects(handle.wait(), 'CommandExitError')).exitCode, 7)
  })

  test('connect to a terminal', async () => {
    const { handle, type } = await open()
    const screen = collector()
    const second = await shared.sandbox.pty.connect(handle.pid, { onData: (d) => screen.add(d) })
    await type('echo "seen ""twice"; exit 0\n')
    await screen.until(/seen twice/)
    assert.equal((await second.wait()).exitCode, 0)
    assert.equal((await handle.wait()).exitCode, 0)
  })
})
