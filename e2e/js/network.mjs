import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Sandbox, rejects, withSandbox } from './sdk.mjs'

const noUpdate = typeof Sandbox.prototype.updateNetwork !== 'function' && 'this SDK has no such call'
const all = '0.0.0.0/0'

describe('network', { concurrency: 4 }, () => {
  test('create with an allow-list', () =>
    withSandbox({ network: { allowOut: ['1.1.1.1', '8.8.8.0/24'], denyOut: [all] } }, async (sandbox) => {
      const { network } = await sandbox.getInfo()
      if (network) assert.deepEqual([network.allowOut, network.denyOut], [['1.1.1.1', '8.8.8.0/24'], [all]]) // Old SDKs leave it out.
      // The host of this test has no way to the internet, but what is denied is refused at once.
      const { exitCode } = await sandbox.commands.run('curl -sS -m 20 http://9.9.9.9/').catch((e) => e)
      assert.equal(exitCode, 7) // Could not connect; a timeout is 28.
    }))

  test('the rules are replaced', { skip: noUpdate }, () =>
    withSandbox({ network: { allowOut: ['1.1.1.1'], denyOut: [all] } }, async (sandbox) => {
      await sandbox.updateNetwork({ denyOut: ['9.9.9.0/24'] })
      assert.deepEqual((await sandbox.getInfo()).network?.denyOut, ['9.9.9.0/24'])
      await sandbox.updateNetwork({ allowOut: ['1.1.1.1'], allowInternetAccess: false })
      const info = await sandbox.getInfo()
      assert.equal(info.allowInternetAccess, false)
      assert.deepEqual(info.network?.allowOut, ['1.1.1.1'])
      await sandbox.updateNetwork({})
      assert.equal((await sandbox.getInfo()).allowInternetAccess ?? true, true)
      assert.equal((await sandbox.commands.run('echo on')).stdout, 'on\n')
    }))

  test('what is not served is refused', async () => {
    await rejects(Sandbox.create({ network: { denyOut: ['example.com'] } }), 'SandboxError', /denyOut takes addresses/)
    await rejects(Sandbox.create({ network: { allowOut: ['example.com'] } }), 'SandboxError', /need denyOut/)
    await rejects(Sandbox.create({ network: { allowOut: ['example.com'], denyOut: [all] } }), 'SandboxError', /host name/)
  })
})
