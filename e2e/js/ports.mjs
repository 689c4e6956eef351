import assert from 'node:assert/strict'
import http from 'node:http'
import { before, describe, test } from 'node:test'
import { create, eventually, sharedSandbox, shout } from './sdk.mjs'

// ask speaks HTTP by hand, since fetch does not let a caller choose the Host.
const ask = (headers, { method = 'GET', path = '/', body } = {}) =>
  new Promise((resolve, reject) => {
    const request = http.request(process.env.E2B_SANDBOX_URL, { path, method, headers, agent: false }, (response) => {
      const chunks = []
      response.on('data', (c) => chunks.push(c))
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() }))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })

describe('ports', () => {
  const shared = sharedSandbox()
  const byHost = (port) => ({ host: shared.sandbox.getHost(port) })
  const byHeaders = (port) => ({ 'e2b-sandbox-id': shared.sandbox.sandboxId, 'e2b-sandbox-port': String(port) })

  before(async () => {
    await shared.sandbox.files.write('www/index.html', '<p>hello from inside</p>')
    for (const [port, address] of [[8000, '0.0.0.0'], [8001, '127.0.0.1']]) {
      await shared.sandbox.commands.run(`python3 -m http.server ${port} --bind ${address} --directory www`, { background: true, timeoutMs: 0 })
    }
  })

  for (const [port, address] of [[8000, '0.0.0.0'], [8001, '127.0.0.1']]) {
    for (const [how, headers] of [['by host', byHost], ['by headers', byHeaders]]) {
      test(`a server on ${address}, ${how}`, async () => {
        const answer = await eventually('the server answers', async () => {
          const a = await ask(headers(port))
          return a.status === 200 && a
        })
        assert.equal(answer.text, '<p>hello from inside</p>')
        assert.match(answer.headers.server, /SimpleHTTP/)
        assert.equal((await ask(headers(port), { path: '/no%20such?x=1' })).status, 404)
      })
    }
  }

  test('an upgraded connection', async () => {
    await shout(shared.sandbox, 8002, () =>
      http.request(process.env.E2B_SANDBOX_URL, { headers: { ...byHost(8002), connection: 'Upgrade', upgrade: 'shout' }, agent: false }))
  })

  test('a closed port', async () => {
    for (const headers of [byHost(8999), byHeaders(8999)]) {
      const answer = await ask(headers)
      assert.equal(answer.status, 502)
      const body = JSON.parse(answer.text)
      assert.equal(body.code, 502)
      assert.equal(body.sandboxId, shared.sandbox.sandboxId)
      assert.match(body.message, /port is not open/)
    }
  })

  test('an unknown sandbox', async () => {
    const id = 'i' + 'z'.repeat(20)
    for (const headers of [{ host: `8000-${id}.e2b.app` }, { 'e2b-sandbox-id': id, 'e2b-sandbox-port': '8000' }]) {
      const answer = await ask(headers)
      assert.equal(answer.status, 502)
      assert.deepEqual(JSON.parse(answer.text), { sandboxId: id, message: 'The sandbox was not found', code: 502 })
    }
  })

  test('half a route', async () => {
    const answer = await ask({ 'e2b-sandbox-id': shared.sandbox.sandboxId })
    assert.equal(answer.status, 400)
  })

  test('a killed sandbox', async () => {
    const doomed = await create()
    const host = doomed.getHost(8000)
    await doomed.kill()
    assert.equal((await ask({ host })).status, 502)
  })

  test('the agent wants its token', async () => {
    const asks = [
      ['/filesystem.Filesystem/Stat', '{"path":"/"}'],
      ['/process.Process/List', '{}'],
    ]
    for (const [path, body] of asks) {
      const answer = await ask({ ...byHeaders(49983), 'content-type': 'application/json' }, { method: 'POST', path, body })
      assert.equal(answer.status, 401, `${path}: ${answer.status} ${answer.text}`)
    }
  })

  test('the control of the agent is closed to the outside', async () => {
    for (const path of ['/init', '/freeze', '/%69nit', '//init']) {
      const answer = await ask({ ...byHeaders(49983), 'content-type': 'application/json' }, { method: 'POST', path, body: '{}' })
      assert.ok([401, 404].includes(answer.status), `${path}: ${answer.status} ${answer.text}`)
    }
  })
})
