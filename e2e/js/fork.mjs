import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Sandbox, count, counter, create, eventually, record, rejects, withSandbox } from './sdk.mjs'

/** Forks, and kills the children whatever happens. */
async function withChildren(sandbox, opts, body) {
  const results = await sandbox.fork({ timeoutMs: 120_000, ...opts })
  const children = results.filter((r) => r instanceof Sandbox).map(record)
  try {
    for (const r of results) assert.ok(r instanceof Sandbox, `a child did not start: ${r}`)
    return await body(children)
  } finally {
    await Promise.all(children.map((c) => c.kill()))
  }
}

const run = async (sandbox, command) => (await sandbox.commands.run(command)).stdout

describe('fork', () => {
  test('one child goes on where its parent was', () =>
    withSandbox({ metadata: { of: 'parent' } }, async (parent) => {
      await parent.files.write('shared', 'from before')
      const { pid } = await counter(parent)
      const before = await count(parent)
      const { endAt, startedAt } = await parent.getInfo()
      await withChildren(parent, {}, async ([child]) => {
        assert.notEqual(child.sandboxId, parent.sandboxId)
        assert.equal(await child.files.read('shared'), 'from before')
        assert.ok((await child.commands.list()).some((p) => p.pid === pid))
        const n = await count(child)
        assert.ok(n >= before, `the child counts from ${n}, the parent was at ${before}`)
        await eventually('the child counts on', async () => (await count(child)) > n)
        const after = await parent.getInfo()
        assert.deepEqual([after.state, after.startedAt, after.endAt], ['running', startedAt, endAt])
        const m = await count(parent)
        await eventually('the parent counts on', async () => (await count(parent)) > m)
      })
    }))

  test('three children are independent', () =>
    withSandbox({}, (parent) =>
      withChildren(parent, { count: 3 }, async (children) => {
        const all = [parent, ...children]
        assert.equal(new Set(all.map((s) => s.sandboxId)).size, 4)
        await Promise.all(all.map((s, i) => s.files.write('who', `number ${i}`)))
        assert.deepEqual(await Promise.all(all.map((s) => s.files.read('who'))), ['number 0', 'number 1', 'number 2', 'number 3'])
        for (const command of ['hostname', 'head -c 16 /dev/urandom | od -An -tx1', 'echo $E2B_SANDBOX_ID']) {
          const answers = await Promise.all(all.map((s) => run(s, command)))
          assert.equal(new Set(answers).size, 4, `${command}: ${answers}`)
        }
        // The token of one is not that of another.
        const token = parent.envdAccessToken
        if (token) for (const child of children) assert.notEqual(child.envdAccessToken, token)
        assert.equal(await parent.kill(), true)
        assert.equal(await children[0].kill(), true)
        assert.equal(await children[0].isRunning(), false)
        assert.equal(await run(children[1], 'cat who'), 'number 2')
        assert.equal(await run(children[2], 'cat who'), 'number 3')
      }),
    ))

  test('children have separate timeouts', () =>
    withSandbox({}, (parent) =>
      withChildren(parent, { timeoutMs: 77_000 }, async ([child]) => {
        const { startedAt, endAt } = await child.getInfo()
        const lives = (endAt - startedAt) / 1000
        assert.ok(Math.abs(lives - 77) < 10, `it lives ${lives} s`)
      }),
    ))

  test('by id, of a sandbox that is a fork itself', () =>
    withSandbox({}, async (parent) => {
      await parent.files.write('shared', 'from the first')
      await withChildren(parent, {}, async ([child]) => {
        const [grandchild] = await Sandbox.fork(child.sandboxId, { timeoutMs: 60_000 })
        assert.ok(grandchild instanceof Sandbox, String(grandchild))
        record(grandchild)
        try {
          assert.equal(await grandchild.files.read('shared'), 'from the first')
        } finally {
          await grandchild.kill()
        }
      })
    }))

  test('of a killed sandbox', async () => {
    const sandbox = await create()
    await sandbox.kill()
    await rejects(sandbox.fork(), 'SandboxNotFoundError')
  })

  test('of a paused sandbox', () =>
    withSandbox({}, async (sandbox) => {
      await sandbox.files.write('saved', 'then paused')
      await sandbox.pause()
      await withChildren(sandbox, { count: 2 }, async (children) => {
        for (const child of children) assert.equal(await child.files.read('saved'), 'then paused')
        assert.equal((await sandbox.getInfo()).state, 'paused')
      })
    }))

  test('too many, or none', () =>
    withSandbox({}, async (sandbox) => {
      for (const count of [0, -1, 101]) {
        await assert.rejects(sandbox.fork({ count }), /^\w*Error: (400: )?.*count/)
      }
    }))
})
