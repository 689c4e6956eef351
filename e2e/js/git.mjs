import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sharedSandbox } from './sdk.mjs'

describe('git', () => {
  const shared = sharedSandbox()

  test('init, commit, branch, clone', async () => {
    const { git, files } = shared.sandbox
    await git.init('repo', { initialBranch: 'main' })
    await git.configureUser('E2E', 'e2e@example.com', { scope: 'global' })
    assert.equal(await git.getConfig('user.name', { scope: 'global' }), 'E2E')
    await files.write('repo/a.txt', 'a')
    let status = await git.status('repo')
    assert.deepEqual(status.fileStatus.map((f) => f.name), ['a.txt'])
    await git.add('repo')
    await git.commit('repo', "it's the first")
    status = await git.status('repo')
    assert.deepEqual([status.currentBranch, status.fileStatus], ['main', []])
    await git.createBranch('repo', 'topic')
    assert.deepEqual([...(await git.branches('repo')).branches].sort(), ['main', 'topic'])
    await git.clone('/home/user/repo', { path: 'copy' })
    assert.equal(await files.read('copy/a.txt'), 'a')
  })
})
