import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Sandbox, create, rejects } from './sdk.mjs'

const sync = { 'rundlet.sync.branch': 'main', 'rundlet.sync.target': 'origin/main', 'rundlet.sync.checkout': '/tmp' }

describe('a checkout that is not up to date', { concurrency: 2 }, () => {
  test('is read and not written', async () => {
    const sandbox = await create({ metadata: sync }) // /tmp is not a repository.
    const reason = /not up to date.*not a git repository/s
    await rejects(sandbox.commands.run('true'), 'SandboxError', reason)
    await rejects(sandbox.files.write('x', 'x'), 'SandboxError', reason)
    await rejects(sandbox.files.makeDir('x'), 'SandboxError', reason)
    await rejects(sandbox.files.remove('/etc/hostname'), 'SandboxError', reason)
    assert.ok(await sandbox.files.read('/etc/hostname'))
    assert.ok((await sandbox.files.list('/')).length)
    assert.deepEqual(await sandbox.commands.list(), [])
    await sandbox.kill()
  })

  test('is refused if it cannot be understood', async () => {
    await rejects(Sandbox.create({ metadata: { ...sync, 'rundlet.sync.branch': '--upload-pack=sh' } }), 'SandboxError', /^400: /)
  })
})
