import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Sandbox, count, counter, create, eventually, rejects, version, withSandbox } from './sdk.mjs'

async function all(opts) {
  const found = []
  const pages = Sandbox.listSnapshots(opts)
  while (pages.hasNext) found.push(...(await pages.nextItems()))
  return found
}

const ids = (list) => list.map((s) => s.snapshotId)
const unique = (what) => `${what}-${version.replaceAll('.', '_')}-${process.pid}-${Date.now()}`

/** A snapshot for one case. */
async function withSnapshot(sandbox, opts, body) {
  const snapshot = await sandbox.createSnapshot(opts)
  try {
    return await body(snapshot)
  } finally {
    await Sandbox.deleteSnapshot(snapshot.snapshotId)
  }
}

describe('snapshots', () => {
  test('a snapshot outlives its sandbox, and starts others', async () => {
    const sandbox = await create()
    let snapshot
    try {
      await sandbox.files.write('saved', 'before')
      await counter(sandbox)
      const before = await count(sandbox)
      snapshot = await sandbox.createSnapshot()
      assert.deepEqual(snapshot.names, [])
      assert.equal(await sandbox.isRunning(), true)
      const n = await count(sandbox)
      await eventually('it runs on', async () => (await count(sandbox)) > n)
      await sandbox.files.write('saved', 'after')
      await sandbox.kill()
      for (let i = 0; i < 2; i++) {
        const other = await create({ template: snapshot.snapshotId })
        try {
          assert.notEqual(other.sandboxId, sandbox.sandboxId)
          assert.equal(await other.files.read('saved'), 'before')
          assert.ok((await count(other)) >= before)
        } finally {
          await other.kill()
        }
      }
      assert.deepEqual(ids(await all({ sandboxId: sandbox.sandboxId })), [snapshot.snapshotId])
      assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
      assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false)
      await assert.rejects(create({ template: snapshot.snapshotId }), /^\w*Error: 404: /)
    } finally {
      await sandbox.kill()
      if (snapshot) await Sandbox.deleteSnapshot(snapshot.snapshotId)
    }
  })

  test('named, listed and found by the name', () =>
    withSandbox({}, async (sandbox) => {
      const name = unique('named')
      await sandbox.files.write('saved', 'under a name')
      await withSnapshot(sandbox, { name }, async (snapshot) => {
        assert.ok(snapshot.names.some((n) => n.includes(name)), `${snapshot.names}`)
        assert.deepEqual(await all({ name }), [snapshot])
        assert.deepEqual(await all({ name: `${name}:default` }), [snapshot])
        assert.deepEqual(ids(await all({ name: snapshot.snapshotId })), [snapshot.snapshotId])
        assert.deepEqual(await all({ name: unique('unknown') }), [])
        for (const template of [name, `${name}:default`]) {
          const other = await create({ template })
          try {
            assert.equal(await other.files.read('saved'), 'under a name')
          } finally {
            await other.kill()
          }
        }
        assert.equal(await Sandbox.deleteSnapshot(name), true)
        assert.equal(await Sandbox.deleteSnapshot(name), false)
      })
    }))

  test('a name moves to the newest', () =>
    withSandbox({}, async (sandbox) => {
      const name = unique('moves')
      await withSnapshot(sandbox, { name }, (first) =>
        withSnapshot(sandbox, { name }, async (second) => {
          assert.deepEqual(ids(await all({ name })), [second.snapshotId])
          assert.equal(first.snapshotId, second.snapshotId)
          const both = ids(await all({ sandboxId: sandbox.sandboxId }))
          assert.equal(both.length, 2)
          for (const id of both.filter((i) => i !== second.snapshotId)) {
            assert.equal(await Sandbox.deleteSnapshot(id), true)
          }
        }),
      )
    }))

  test('in pages, newest first', () =>
    withSandbox({}, (sandbox) =>
      withSnapshot(sandbox, {}, (a) =>
        withSnapshot(sandbox, {}, (b) =>
          withSnapshot(sandbox, {}, async (c) => {
            const want = ids([c, b, a])
            assert.deepEqual(ids(await all({ sandboxId: sandbox.sandboxId, limit: 2 })), want)
            assert.deepEqual(ids(await sandbox.listSnapshots().nextItems()), want)
            assert.equal((await Sandbox.listSnapshots({ sandboxId: sandbox.sandboxId, limit: 2 }).nextItems()).length, 2)
            const everything = ids(await all())
            assert.deepEqual(want.filter((id) => everything.includes(id)), want)
          }),
        ),
      ),
    ))

  test('of a paused sandbox', () =>
    withSandbox({}, async (sandbox) => {
      await sandbox.files.write('saved', 'then paused')
      await sandbox.pause()
      await withSnapshot(sandbox, {}, async ({ snapshotId }) => {
        assert.equal((await sandbox.getInfo()).state, 'paused')
        const other = await create({ template: snapshotId })
        try {
          assert.equal(await other.files.read('saved'), 'then paused')
        } finally {
          await other.kill()
        }
      })
    }))

  test('what cannot be', () =>
    withSandbox({}, async (sandbox) => {
      for (const name of ['../up', 'a b', 'a:b:c', 'base']) {
        await rejects(sandbox.createSnapshot({ name }), 'SandboxError', /^400: /)
      }
      assert.equal(await Sandbox.deleteSnapshot(unique('unknown')), false)
      await sandbox.kill()
      await rejects(sandbox.createSnapshot(), 'SandboxNotFoundError')
    }))
})
