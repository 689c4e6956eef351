import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { sharedSandbox } from './sdk.mjs'

const sha = (data) => createHash('sha256').update(data).digest('hex')

describe('upload', () => {
  const shared = sharedSandbox()
  const files = () => shared.sandbox.files
  const sumInside = async (path) => (await shared.sandbox.commands.run(`sha256sum < ${path}`)).stdout.split(' ')[0]

  test('20 MB come back byte-equal', async () => {
    const data = randomBytes(20 << 20)
    await files().write('big.bin', new Blob([data]))
    assert.equal(await sumInside('big.bin'), sha(data))
    assert.equal(sha(await files().read('big.bin', { format: 'bytes' })), sha(data))
  })

  test('20 MB of text compress and come back', async () => {
    const data = 'a line that compresses well\n'.repeat(750_000)
    await files().write('big.txt', data)
    assert.equal(await sumInside('big.txt'), sha(data))
    assert.equal(sha(await files().read('big.txt')), sha(data))
  })

  const data = randomBytes(300_001)
  const bodies = {
    'an ArrayBuffer': () => data.buffer.slice(data.byteOffset, data.byteOffset + data.length),
    'a Blob': () => new Blob([data]),
    'a stream': () => new Blob([data]).stream(),
  }
  for (const [what, body] of Object.entries(bodies)) {
    for (const opts of [{}, { gzip: true }, { useOctetStream: true }]) {
      test(`${what}, ${JSON.stringify(opts)}`, async () => {
        await files().write('body.bin', body(), opts)
        assert.equal(await sumInside('body.bin'), sha(data))
      })
    }
  }

  test('every format of read', async () => {
    await files().write('formats.bin', new Blob([data]))
    assert.equal(sha(await files().read('formats.bin', { format: 'bytes' })), sha(data))
    const blob = await files().read('formats.bin', { format: 'blob' })
    assert.equal(sha(Buffer.from(await blob.arrayBuffer())), sha(data))
    const chunks = []
    for await (const chunk of await files().read('formats.bin', { format: 'stream' })) chunks.push(chunk)
    assert.equal(sha(Buffer.concat(chunks)), sha(data))
    assert.equal(sha(await files().read('formats.bin', { format: 'bytes', gzip: true })), sha(data))
  })

  test('several files at once', async () => {
    const infos = await files().write([
      { path: 'many/one.txt', data: '1' },
      { path: '/tmp/many/two.bin', data: new Blob([data]) },
      { path: 'three ü.txt', data: 'dre\u{1F600}' },
    ])
    assert.deepEqual(
      infos.map((i) => i.path),
      ['/home/user/many/one.txt', '/tmp/many/two.bin', '/home/user/three ü.txt'],
    )
    assert.equal(await files().read('many/one.txt'), '1')
    assert.equal(await sumInside('/tmp/many/two.bin'), sha(data))
    assert.equal(await files().read('three ü.txt'), 'dre\u{1F600}')
    assert.deepEqual(await files().write([]), [])
  })
})
