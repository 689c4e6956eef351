// With E2B_DOMAIN alone: what goes another way than over plain HTTP, and a part of the rest.
import assert from 'node:assert/strict'
import https from 'node:https'
import { before, describe, test } from 'node:test'
import { collector, eventually, sharedSandbox } from './sdk.mjs'
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

  // The first half of a WebSocket.
  test('an upgraded connection', async () => {
    const server = `import socket
s = socket.create_server(("0.0.0.0", 8002))
print("listening", flush=True)
c, _ = s.accept()
head = b""
while b"\\r\\n\\r\\n" not in head: head += c.recv(4096)
c.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: shout\\r\\nConnection: Upgrade\\r\\n\\r\\n")
while data := c.recv(4096): c.sendall(data.upper())
`
    await shared.sandbox.files.write('shout.py', server)
    const out = collector()
    const command = await shared.sandbox.commands.run('python3 shout.py', { background: true, timeoutMs: 30_000, onStdout: out.add })
    await out.until(/listening/)
    const socket = await new Promise((resolve, reject) => {
      const request = https.request(`https://${shared.sandbox.getHost(8002)}/`, { headers: { connection: 'Upgrade', upgrade: 'shout' }, agent: false })
      request.on('upgrade', (response, socket) => resolve(socket))
      request.on('response', (response) => reject(new Error(`status ${response.statusCode}`)))
      request.on('error', reject)
      request.end()
    })
    const heard = collector()
    socket.on('data', heard.add)
    for (const word of ['one', 'two', 'three']) {
      socket.write(word)
      await heard.until(new RegExp(word.toUpperCase()))
    }
    socket.end()
    assert.equal((await command.wait()).exitCode, 0)
  })
})
