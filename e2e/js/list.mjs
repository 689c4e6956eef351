import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Sandbox, create, version } from './sdk.mjs'

async function all(opts) {
  const found = []
  const pages = Sandbox.list(opts)
  while (pages.hasNext) found.push(...(await pages.nextItems()))
  return found
}

describe('list', () => {
  const mark = `js-${version}-${process.pid} &=/ü`
  const sandboxes = []
  before(async () => {
    for (const n of ['1', '2', '3']) sandboxes.push(await create({ metadata: { mark, n } }))
  })
  after(async () => {
    await Promise.all(sandboxes.map((s) => s.kill()))
  })
  const ids = (list) => list.map((s) => s.sandboxId)
  const newestFirst = () => ids(sandboxes).reverse()

  test('by metadata, newest first', async () => {
    const found = await all({ query: { metadata: { mark } } })
    assert.deepEqual(ids(found), newestFirst())
    assert.equal(found[0].state, 'running')
    assert.deepEqual(found[0].metadata, { mark, n: '3' })
    assert.ok(found[0].startedAt instanceof Date && found[0].endAt > found[0].startedAt)
  })

  test('all metadata must match', async () => {
    assert.deepEqual(ids(await all({ query: { metadata: { mark, n: '2' } } })), [sandboxes[1].sandboxId])
    assert.deepEqual(await all({ query: { metadata: { mark, n: 'none' } } }), [])
  })

  test('by state', async () => {
    assert.deepEqual(ids(await all({ query: { metadata: { mark }, state: ['running'] } })), newestFirst())
    assert.deepEqual(ids(await all({ query: { metadata: { mark }, state: ['running', 'paused'] } })), newestFirst())
    assert.deepEqual(await all({ query: { metadata: { mark }, state: ['paused'] } }), [])
  })

  test('in pages', async () => {
    const pages = Sandbox.list({ query: { metadata: { mark } }, limit: 2 })
    const first = await pages.nextItems()
    assert.deepEqual(ids(first), newestFirst().slice(0, 2))
    assert.equal(pages.hasNext, true)
    const resumed = Sandbox.list({ query: { metadata: { mark } }, limit: 2, nextToken: pages.nextToken })
    for (const p of [pages, resumed]) {
      assert.deepEqual(ids(await p.nextItems()), newestFirst().slice(2))
      assert.equal(p.hasNext, false)
    }
  })

  test('without a filter', async () => {
    const found = ids(await all())
    for (const id of ids(sandboxes)) assert.ok(found.includes(id), `${id} is missing`)
  })

  test('a killed sandbox is not listed', async () => {
    const gone = await create({ metadata: { mark: 'gone' } })
    await gone.kill()
    assert.ok(!ids(await all()).includes(gone.sandboxId))
  })
})
