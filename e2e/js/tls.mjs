// With E2B_DOMAIN alone: what goes another way than over plain HTTP, and a part of the rest.
import assert from 'node:assert/strict'
import https from 'node:https'
import { before, describe, test } from 'node:test'
import { eventually, Sandbox, sharedSandbox, shout } from './sdk.mjs'
import './commands.mjs'
import './streams.mjs'
import './upload.mjs'

describe('tls', () => {
  const shared = sharedSandbox()

  test('there is no other way', () => {
    assert.deepEqual([process.env.E2B_API_URL, process.env.E2B_SANDBOX_URL], [undefined, undefined])
  })

  before(async () => {
    await shared.sandbox.files.write('www/index.html', '<p>hello from inside</p>')
    await shared.sandbox.commands.run('python3 -m http.server 8000 --directory www', { background: true, timeoutMs: 0 })
  })

  test('the page of a port', async () => {
    const page = await eventually('the server answers', async () => {
      const answer = await fetch(`https://${shared.sandbox.getHost(8000)}/`)
      return answer.status === 200 && answer
    })
    assert.equal(await page.text(), '<p>hello from inside</p>')
  })

  test('a closed port', async () => {
    const answer = await fetch(`https://${shared.sandbox.getHost(8999)}/`)
    assert.equal(answer.status, 502)
    assert.match((await answer.json()).message, /port is not open/)
  })

  test('upload and download by URL', async () => {
    const body = new FormData()
    body.append('file', new Blob(['by url']), 'ignored.txt')
    const up = await fetch(await shared.sandbox.uploadUrl('via url.txt'), { method: 'POST', body })
    assert.equal(up.status, 200)
    const down = await fetch(await shared.sandbox.downloadUrl('via url.txt'))
    assert.deepEqual([down.status, await down.text()], [200, 'by url'])
  })

  // The SDK appends its paths to the URL, and sends the headers for routing as well.
  test('a sandbox by path', async () => {
    const { sandboxId } = shared.sandbox
    const byPath = await Sandbox.connect(sandboxId, { sandboxUrl: `https://api.${process.env.E2B_DOMAIN}/sandbox-proxy/${sandboxId}/ports/49983` })
    await byPath.files.write('by path.txt', 'by path')
    assert.equal((await byPath.commands.run('cat "by path.txt"')).stdout, 'by path')
  })

  // The first half of a WebSocket.
  test('an upgraded connection', async () => {
    await shout(shared.sandbox, 8002, () =>
      https.request(`https://${shared.sandbox.getHost(8002)}/`, { headers: { connection: 'Upgrade', upgrade: 'shout' }, agent: false }))
  })
})
