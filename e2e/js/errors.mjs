import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Sandbox, rejects } from './sdk.mjs'

const strangerKey = 'e2b_' + '0'.repeat(40)
const nobody = 'i' + '0'.repeat(20)

describe('errors', { concurrency: 4 }, () => {
  test('an unknown key', async () => {
    await rejects(Sandbox.create({ apiKey: strangerKey }), 'AuthenticationError')
    await rejects(Sandbox.getInfo(nobody, { apiKey: strangerKey }), 'AuthenticationError')
    await rejects(Sandbox.list({ apiKey: strangerKey }).nextItems(), 'AuthenticationError')
  })

  test('an unknown template', async () => {
    for (const name of ['no-such-template', 'no/such', 'base:no-such-tag', '../base']) {
      await rejects(Sandbox.create(name), 'SandboxError', /^40[04]: /)
    }
  })

  test('an unknown sandbox', async () => {
    await rejects(Sandbox.connect(nobody), 'SandboxNotFoundError')
    await rejects(Sandbox.getInfo(nobody), 'SandboxNotFoundError')
    await rejects(Sandbox.setTimeout(nobody, 1000), 'SandboxNotFoundError')
    assert.equal(await Sandbox.kill(nobody), false)
  })

  test('what is not a sandbox id', async () => {
    for (const id of ['../templates', 'A'.repeat(20), 'x'.repeat(5000), '%00', 'a b']) {
      await assert.rejects(Sandbox.getInfo(encodeURIComponent(id)), (e) => /^(400|404)|not found|Invalid/i.test(e.message))
    }
  })

  test('timeouts that cannot be', async () => {
    for (const timeoutMs of [-1000, 1e15]) await rejects(Sandbox.create({ timeoutMs }), 'SandboxError', /^400: /)
  })

  test('a page that cannot be', async () => {
    await rejects(Sandbox.list({ nextToken: '!!!' }).nextItems(), 'SandboxError', /^400: /)
    await rejects(Sandbox.list({ limit: 100_000 }).nextItems(), 'SandboxError', /^400: /)
  })
})
