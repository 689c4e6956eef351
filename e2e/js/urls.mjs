import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sharedSandbox } from './sdk.mjs'

// Under E2B_SANDBOX_URL a file URL does not name its sandbox: the server finds
// it by the signature. Two sandboxes live here, so that a guess would show.
describe('urls', () => {
  const shared = sharedSandbox()
  const other = sharedSandbox()

  const upload = (url, content) => {
    const body = new FormData()
    body.append('file', new Blob([content]), 'ignored.txt')
    return fetch(url, { method: 'POST', body })
  }

  test('upload and download', async () => {
    for (const [s, text] of [[shared.sandbox, 'first'], [other.sandbox, 'second']]) {
      const up = await upload(await s.uploadUrl('via url.txt'), text)
      assert.equal(up.status, 200)
      assert.deepEqual(await up.json(), [{ name: 'via url.txt', path: '/home/user/via url.txt', type: 'file' }])
      assert.equal(await s.files.read('via url.txt'), text)
      const down = await fetch(await s.downloadUrl('via url.txt'))
      assert.deepEqual([down.status, await down.text()], [200, text])
    }
  })

  test('as a user, with an expiry', async () => {
    const opts = { user: 'root', useSignatureExpiration: 60 }
    assert.equal((await upload(await shared.sandbox.uploadUrl('/root/by-url', opts), 'r')).status, 200)
    assert.equal((await shared.sandbox.commands.run('stat -c %U /root/by-url', { user: 'root' })).stdout, 'root\n')
    assert.equal(await (await fetch(await shared.sandbox.downloadUrl('/root/by-url', opts))).text(), 'r')
  })

  test('an expired signature', async () => {
    await shared.sandbox.files.write('late.txt', 'x')
    const response = await fetch(await shared.sandbox.downloadUrl('late.txt', { useSignatureExpiration: -10 }))
    assert.equal(response.status, 401)
    assert.deepEqual(await response.json(), { code: 401, message: 'signature is already expired' })
  })

  test('a signature for something else', async () => {
    const signed = new URL(await shared.sandbox.downloadUrl('late.txt'))
    for (const [key, value] of [['path', '/etc/passwd'], ['username', 'root'], ['signature', 'v1_bm8'], ['signature_expiration', '9999999999']]) {
      const url = new URL(signed)
      url.searchParams.set(key, value)
      const response = await fetch(url)
      assert.equal(response.status, 401, `${key} changed: ${response.status}`)
      await response.text()
    }
    const wrongOperation = await upload(signed, 'x')
    assert.equal(wrongOperation.status, 401)
    await wrongOperation.text()
  })

  test('no signature', async () => {
    const { href } = new URL('/files?path=late.txt', process.env.E2B_SANDBOX_URL)
    const response = await fetch(href)
    assert.ok(response.status >= 400 && response.status < 500, `${response.status}`)
    await response.text()
  })

  test('a part of a file', async () => {
    await shared.sandbox.files.write('range.txt', '0123456789')
    const response = await fetch(await shared.sandbox.downloadUrl('range.txt'), { headers: { range: 'bytes=3-5' } })
    assert.deepEqual([response.status, await response.text()], [206, '345'])
  })
})
