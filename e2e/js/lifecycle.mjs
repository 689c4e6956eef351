import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Sandbox, create, eventually, rejects, since, withSandbox } from './sdk.mjs'

const lifetime = (info) => (info.endAt - info.startedAt) / 1000

describe('lifecycle', { concurrency: 4 }, () => {
  // The first, since it waits while others go on.
  test('metrics come within 30 s, and lie within the bounds that are asked for', () =>
    withSandbox({}, async (sandbox) => {
      const metrics = await eventually('measured', async () => (await sandbox.getMetrics()).at(0) && sandbox.getMetrics())
      const { cpuCount, memoryMB, startedAt } = await sandbox.getInfo()
      for (const m of metrics) {
        assert.equal(m.cpuCount, cpuCount)
        assert.ok(m.cpuUsedPct >= 0 && m.cpuUsedPct <= 110, `${m.cpuUsedPct} %`)
        assert.ok(m.memUsed > 1 << 20 && m.memUsed <= m.memTotal, `${m.memUsed} of ${m.memTotal}`)
        assert.ok(m.memTotal >= memoryMB * 2 ** 20 && m.diskTotal > 0, `${m.memTotal} of ${memoryMB} MB, disk ${m.diskTotal}`)
        assert.ok(m.timestamp > startedAt && m.timestamp <= new Date(), `measured at ${m.timestamp}`)
      }
      const minute = 60_000
      const between = (start, end) => sandbox.getMetrics({ start: new Date(start), end: new Date(end) })
      assert.ok((await between(+startedAt - minute, Date.now() + minute)).length > 0)
      assert.deepEqual(await between(+startedAt - 2 * minute, +startedAt - minute), [])
      assert.deepEqual(await between(Date.now() + minute, Date.now() + 2 * minute), [])
      await rejects(Sandbox.getMetrics('i' + '0'.repeat(20)), 'SandboxNotFoundError')
    }))

  test('create with defaults', () =>
    withSandbox({ timeoutMs: undefined }, async (sandbox) => {
      assert.match(sandbox.sandboxId, /^i[a-z0-9]{20}$/)
      assert.equal(await sandbox.isRunning(), true)
      const info = await sandbox.getInfo()
      assert.equal(info.sandboxId, sandbox.sandboxId)
      assert.equal(info.state, 'running')
      assert.equal(info.name, 'base')
      assert.deepEqual(info.metadata, {})
      assert.ok(info.templateId)
      assert.ok(info.cpuCount >= 1 && info.memoryMB >= 128, `${info.cpuCount} CPUs, ${info.memoryMB} MB`)
      assert.ok(Math.abs(lifetime(info) - 300) < 10, `lives ${lifetime(info)} s, not 300`)
    }))

  test('create by template name', async () => {
    const sandbox = await Sandbox.create('base', { timeoutMs: 60_000 })
    assert.equal(await sandbox.kill(), true)
  })

  test('create with metadata, environment and timeout', () =>
    withSandbox({ metadata: { who: 'e2e ü/&=', n: '1' }, envs: { GREETING: 'hello "you"' }, timeoutMs: 77_000 }, async (sandbox) => {
      const info = await sandbox.getInfo()
      assert.deepEqual(info.metadata, { who: 'e2e ü/&=', n: '1' })
      assert.ok(Math.abs(lifetime(info) - 77) < 10, `lives ${lifetime(info)} s, not 77`)
      const { stdout } = await sandbox.commands.run('echo "$GREETING|$E2B_SANDBOX|$E2B_SANDBOX_ID"')
      assert.equal(stdout, `hello "you"|true|${sandbox.sandboxId}\n`)
    }))

  test('create without secure', { skip: since('2.51.0') && 'this SDK has no such option' }, () =>
    withSandbox({ secure: false }, async (sandbox) => {
      assert.equal((await sandbox.commands.run('echo open')).stdout, 'open\n')
      await sandbox.files.write('a.txt', 'a')
      assert.equal(await sandbox.files.read('a.txt'), 'a')
    }))

  test('create without internet access', () =>
    withSandbox({ allowInternetAccess: false }, async (sandbox) => {
      assert.equal((await sandbox.getInfo()).allowInternetAccess, false)
      assert.equal((await sandbox.commands.run('echo alone')).stdout, 'alone\n')
    }))

  test('connect by id', () =>
    withSandbox({}, async (sandbox) => {
      await sandbox.files.write('shared.txt', 'one machine')
      const other = await Sandbox.connect(sandbox.sandboxId)
      assert.equal(other.sandboxId, sandbox.sandboxId)
      assert.equal(await other.files.read('shared.txt'), 'one machine')
      assert.equal((await other.commands.run('cat shared.txt')).stdout, 'one machine')
      assert.equal(await other.isRunning(), true)
    }))

  test('connect extends the timeout and never shortens it', () =>
    withSandbox({ timeoutMs: 100_000 }, async (sandbox) => {
      const first = await sandbox.getInfo()
      await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 20_000 })
      assert.deepEqual((await sandbox.getInfo()).endAt, first.endAt)
      await sandbox.connect({ timeoutMs: 400_000 })
      const { endAt } = await sandbox.getInfo()
      assert.ok(endAt - first.endAt > 290_000, `extended by ${endAt - first.endAt} ms only`)
    }))

  test('setTimeout sets, longer and shorter', () =>
    withSandbox({}, async (sandbox) => {
      for (const seconds of [500, 50]) {
        const begin = Date.now()
        await sandbox.setTimeout(seconds * 1000)
        const end = Date.now()
        const { endAt } = await sandbox.getInfo()
        const [least, most] = [(endAt - end) / 1000, (endAt - begin) / 1000]
        assert.ok(most > seconds - 2 && least < seconds + 2, `${least} to ${most} s left, not ${seconds}`)
      }
    }))

  test('a sandbox dies of its timeout', async () => {
    const sandbox = await create()
    await Sandbox.setTimeout(sandbox.sandboxId, 1_000)
    await eventually('not running', async () => !(await sandbox.isRunning()))
    await rejects(sandbox.getInfo(), 'SandboxNotFoundError')
    assert.equal(await sandbox.kill(), false)
  })

  test('kill, and kill again', async () => {
    const sandbox = await create()
    assert.equal(await sandbox.isRunning(), true)
    assert.equal(await sandbox.kill(), true)
    assert.equal(await sandbox.isRunning(), false)
    assert.equal(await sandbox.kill(), false)
    assert.equal(await Sandbox.kill(sandbox.sandboxId), false)
  })

  test('kill by id', async () => {
    const sandbox = await create()
    assert.equal(await Sandbox.kill(sandbox.sandboxId), true)
    assert.equal(await sandbox.isRunning(), false)
  })

  test('kill during a running command', async () => {
    const sandbox = await create()
    const command = await sandbox.commands.run('sleep 60', { background: true })
    const ended = rejects(command.wait(), 'TimeoutError', /killed or reached its end of life/)
    assert.equal(await sandbox.kill(), true)
    await ended
  })

  test('a request to a killed sandbox', async () => {
    const sandbox = await create()
    await sandbox.kill()
    await rejects(sandbox.commands.run('true'), 'SandboxNotFoundError', /not running anymore/)
    await rejects(sandbox.files.read('a'), 'TimeoutError', /was not found/)
    await rejects(sandbox.files.list('/'), 'TimeoutError', /was not found/)
  })

  test('two sandboxes are isolated', () =>
    withSandbox({}, (a) =>
      withSandbox({}, async (b) => {
        await a.files.write('/tmp/mine', 'a')
        assert.equal(await b.files.exists('/tmp/mine'), false)
        const sleeper = await a.commands.run('exec -a only-in-a sleep 60', { background: true })
        const visible = (s) => s.commands.run("grep -al only-in-[a] /proc/[0-9]*/cmdline || true").then((r) => r.stdout)
        await eventually('visible in its own', () => visible(a))
        assert.equal(await visible(b), '')
        assert.equal(await b.commands.kill(sleeper.pid), false)
        assert.equal(await sleeper.kill(), true)
        await assert.rejects(sleeper.wait())
        const boot = (s) => s.commands.run('head -c 16 /dev/urandom | od -An -tx1').then((r) => r.stdout)
        assert.notEqual(await boot(a), await boot(b))
      }),
    ))
})
