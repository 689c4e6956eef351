import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { Sandbox, bootId, count, counter, create, eventually, rejects, since, withSandbox } from './sdk.mjs'

const nobody = 'i' + '0'.repeat(20)

describe('pause', { concurrency: 2 }, () => {
  test('files and processes survive, any number of times', () =>
    withSandbox({ metadata: { kept: 'yes' } }, async (sandbox) => {
      const data = randomBytes(3_000_000)
      await sandbox.files.write('data', new Blob([data]))
      const boot = await bootId(sandbox)
      const { pid } = await counter(sandbox)
      let before = 0
      for (const round of [1, 2, 3]) {
        before = Math.max(before, await count(sandbox))
        await sandbox.files.write(`round-${round}`, `written in round ${round}`)
        assert.equal(await sandbox.pause(), true)
        assert.equal(await sandbox.isRunning(), false)
        const info = await sandbox.getInfo()
        assert.equal(info.state, 'paused')
        assert.deepEqual(info.metadata, { kept: 'yes' })
        assert.equal(await sandbox.pause(), false, 'it is paused already')

        const again = await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 120_000 })
        assert.equal(again.sandboxId, sandbox.sandboxId)
        assert.equal(await sandbox.isRunning(), true)
        assert.equal((await again.getInfo()).state, 'running')
        const after = await count(again)
        assert.ok(after >= before, `it counted to ${before} before and to ${after} after`)
        await eventually('it counts on', async () => (await count(again)) > after)
        assert.ok((await again.commands.list()).some((p) => p.pid === pid), 'the program is another one')
        for (let r = 1; r <= round; r++) assert.equal(await again.files.read(`round-${r}`), `written in round ${r}`)
      }
      assert.equal(await bootId(sandbox), boot)
      assert.deepEqual(Buffer.from(await sandbox.files.read('data', { format: 'bytes' })), data)
    }))

  test('a paused sandbox is listed as such', () =>
    withSandbox({ metadata: { mark: `paused-${process.pid}-${Date.now()}` } }, async (sandbox) => {
      const { metadata } = await sandbox.getInfo()
      const listed = async (state) => (await Sandbox.list({ query: { metadata, state } }).nextItems()).map((s) => `${s.sandboxId} ${s.state}`)
      await sandbox.pause()
      assert.deepEqual(await listed(['paused']), [`${sandbox.sandboxId} paused`])
      assert.deepEqual(await listed(['running']), [])
      assert.deepEqual(await listed(), [`${sandbox.sandboxId} paused`])
    }))

  test('a command that runs breaks off', () =>
    withSandbox({}, async (sandbox) => {
      const command = await sandbox.commands.run('sleep 60', { background: true })
      const ended = rejects(command.wait(), 'TimeoutError', /killed or reached its end of life/)
      assert.equal(await sandbox.pause(), true)
      await ended
    }))

  test('a request to a paused sandbox does not resume it', () =>
    withSandbox({}, async (sandbox) => {
      await sandbox.pause()
      await rejects(sandbox.files.read('a'), 'TimeoutError', /was not found/)
      assert.equal(await sandbox.isRunning(), false)
      assert.equal((await sandbox.getInfo()).state, 'paused')
    }))

  test('without memory the files are kept and the machine boots afresh', () =>
    withSandbox({}, async (sandbox) => {
      const boot = await bootId(sandbox)
      await sandbox.files.write('kept', 'on disk')
      const { pid } = await counter(sandbox)
      for (let round = 0; round < 2; round++) {
        assert.equal(await sandbox.pause({ keepMemory: false }), true)
        assert.equal(await sandbox.isRunning(), false)
        await Sandbox.connect(sandbox.sandboxId)
        // With the token of before.
        assert.equal(await sandbox.files.read('kept'), 'on disk')
        assert.notEqual(await bootId(sandbox), boot)
        assert.ok(!(await sandbox.commands.list()).some((p) => p.pid === pid && p.args.join().includes('mv')), 'a program survived')
      }
    }))

  test('a memory that is not wanted is left out, and the files are kept', { skip: !since('2.49.0') && 'this SDK has no such option' }, () =>
    withSandbox({}, async (sandbox) => {
      await sandbox.connect({ onResume: 'reboot' }) // It runs: this means nothing.
      const boot = await bootId(sandbox)
      await sandbox.files.write('kept', 'on disk')
      await sandbox.pause()
      await sandbox.connect()
      assert.equal(await bootId(sandbox), boot)
      await sandbox.pause()
      await sandbox.connect({ onResume: 'reboot' })
      assert.notEqual(await bootId(sandbox), boot)
      assert.equal(await sandbox.files.read('kept'), 'on disk')
      await sandbox.pause({ keepMemory: false })
      await sandbox.connect({ onResume: 'reboot' })
      assert.notEqual(await bootId(sandbox), boot)
    }))

  test('a connect gives the time it was asked for', () =>
    withSandbox({}, async (sandbox) => {
      await sandbox.pause()
      const begin = Date.now()
      await sandbox.connect({ timeoutMs: 77_000 })
      const end = Date.now()
      const { endAt } = await sandbox.getInfo()
      const [least, most] = [(endAt - end) / 1000, (endAt - begin) / 1000]
      assert.ok(most > 70 && least < 80, `${least} to ${most} s left, not 77`)
    }))

  test('kill of a paused sandbox', async () => {
    const sandbox = await create()
    await sandbox.pause()
    assert.equal(await sandbox.kill(), true)
    assert.equal(await sandbox.kill(), false)
    await rejects(sandbox.getInfo(), 'SandboxNotFoundError')
    await rejects(Sandbox.connect(sandbox.sandboxId), 'SandboxNotFoundError')
    await rejects(sandbox.pause(), 'SandboxNotFoundError')
  })

  test('pause of an unknown sandbox', () => rejects(Sandbox.pause(nobody), 'SandboxNotFoundError'))
})
