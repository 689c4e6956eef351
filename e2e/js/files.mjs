import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { rejects, sharedSandbox } from './sdk.mjs'

describe('files', { concurrency: 4 }, () => {
  const shared = sharedSandbox()
  const files = () => shared.sandbox.files
  const sh = async (cmd, opts) => (await shared.sandbox.commands.run(cmd, opts)).stdout.trimEnd()

  test('write and read text', async () => {
    const info = await files().write('text.txt', 'grüße\n')
    assert.deepEqual([info.name, info.type, info.path], ['text.txt', 'file', '/home/user/text.txt'])
    assert.equal(await files().read('text.txt'), 'grüße\n')
    assert.equal(await files().read('/home/user/text.txt'), 'grüße\n')
    assert.equal(await sh('cat text.txt; stat -c %U:%G text.txt'), 'grüße\nuser:user')
  })

  test('overwrite makes it shorter', async () => {
    await files().write('over.txt', 'a long first version')
    await files().write('over.txt', 'short')
    assert.equal(await files().read('over.txt'), 'short')
  })

  test('an empty file', async () => {
    await files().write('empty', '')
    assert.equal(await files().read('empty'), '')
    assert.equal((await files().read('empty', { format: 'bytes' })).length, 0)
  })

  test('directories on the way are created', async () => {
    await files().write('deep/er/and/deeper.txt', 'x')
    assert.equal(await sh('stat -c %U deep deep/er/and'), 'user\nuser')
  })

  test('as root', async () => {
    await files().write('/root/secret', 'mine', { user: 'root' })
    assert.equal(await files().read('/root/secret', { user: 'root' }), 'mine')
    assert.equal(await sh('stat -c %U /root/secret', { user: 'root' }), 'root')
  })

  test('names that need care', async () => {
    for (const name of ['with space', 'ü-ñ-漢', 'q?a=b&c#d%41+e', "quote'and\"quote", '-dash', 'semi;colon']) {
      await files().write(`odd/${name}`, name)
      assert.equal(await files().read(`odd/${name}`), name)
    }
    assert.equal((await files().list('odd')).length, 6)
  })

  test('a path with dots ends where it points', async () => {
    await files().write('a/../dotted.txt', 'dots')
    assert.equal(await files().read('/home/user/x/.././dotted.txt'), 'dots')
  })

  test('list, and list deeper', async () => {
    await files().write('tree/one/two/three.txt', '3')
    await files().write('tree/file.txt', 'f')
    const names = async (depth) => (await files().list('tree', { depth })).map((e) => `${e.type} ${e.path}`).sort()
    const top = ['dir /home/user/tree/one', 'file /home/user/tree/file.txt']
    assert.deepEqual((await files().list('tree')).map((e) => `${e.type} ${e.path}`).sort(), top)
    assert.deepEqual(await names(2), [...top, 'dir /home/user/tree/one/two'].sort())
    assert.deepEqual(await names(9), [...top, 'dir /home/user/tree/one/two', 'file /home/user/tree/one/two/three.txt'].sort())
  })

  test('the result of getInfo', async () => {
    await sh('mkdir -p info && echo -n hello > info/f && chmod 640 info/f && ln -s f info/link')
    const file = await files().getInfo('info/f')
    assert.deepEqual(
      [file.name, file.type, file.path, file.size, file.mode, file.permissions, file.owner, file.group],
      ['f', 'file', '/home/user/info/f', 5, 0o640, '-rw-r-----', 'user', 'user'],
    )
    assert.ok(Math.abs(file.modifiedTime - Date.now()) < 60_000, `modified ${file.modifiedTime}`)
    assert.equal(file.symlinkTarget, undefined)
    const dir = await files().getInfo('info')
    assert.deepEqual([dir.name, dir.type, dir.path], ['info', 'dir', '/home/user/info'])
    const link = await files().getInfo('info/link')
    assert.deepEqual([link.name, link.path], ['link', '/home/user/info/link'])
    assert.equal(link.symlinkTarget, '/home/user/info/f')
    // Of the target; SDKs that look at isSymlink say so themselves.
    assert.ok(['file', 'symlink'].includes(link.type) && link.mode === 0o640, `${link.type} ${link.mode}`)
  })

  test('exists', async () => {
    await files().write('there', '')
    assert.equal(await files().exists('there'), true)
    assert.equal(await files().exists('/home/user'), true)
    assert.equal(await files().exists('not-there'), false)
    assert.equal(await files().exists('not/there'), false)
  })

  test('makeDir', async () => {
    assert.equal(await files().makeDir('made/in/one/go'), true)
    assert.equal(await files().makeDir('made/in/one/go'), false)
    assert.equal(await sh('stat -c "%F %U" made/in/one/go'), 'directory user')
    await files().write('made/file', '')
    await rejects(files().makeDir('made/file'), 'InvalidArgumentError')
  })

  test('rename', async () => {
    await files().write('old name', 'content')
    const info = await files().rename('old name', 'new/place/name')
    assert.deepEqual([info.name, info.path], ['name', '/home/user/new/place/name'])
    assert.equal(await files().exists('old name'), false)
    assert.equal(await files().read('new/place/name'), 'content')
    await rejects(files().rename('old name', 'x'), 'FileNotFoundError')
  })

  test('remove', async () => {
    await files().write('doomed/a/b', '')
    await files().remove('doomed/a/b')
    assert.equal(await files().exists('doomed/a/b'), false)
    await files().write('doomed/a/c', '')
    await files().remove('doomed')
    assert.equal(await files().exists('doomed'), false)
    await files().remove('doomed')
  })

  test('what is not there', async () => {
    await rejects(files().read('missing.txt'), 'FileNotFoundError', /'\/home\/user\/missing.txt' does not exist/)
    await rejects(files().list('missing'), 'FileNotFoundError')
    await rejects(files().getInfo('missing'), 'FileNotFoundError')
  })

  test('what is of the wrong kind', async () => {
    await files().write('plain', '')
    await rejects(files().read('/home/user'), 'InvalidArgumentError')
    await rejects(files().write('/home/user', 'x'), 'InvalidArgumentError')
    await rejects(files().list('plain'), 'InvalidArgumentError')
    await assert.rejects(files().write('plain/below', 'x'))
    assert.equal(await files().read('plain'), '')
  })

  test('an unknown user', async () => {
    await rejects(files().write('x', 'x', { user: 'nobody-here' }), 'AuthenticationError')
    await rejects(files().list('/', { user: 'nobody-here' }), 'AuthenticationError', /invalid username: 'nobody-here'/)
  })

  test('a file of /proc', async () => {
    assert.match(await files().read('/proc/self/status'), /^Name:/)
  })

  test('metadata', async () => {
    await files().write('marked', 'x', { metadata: { Author: 'e2e', note: 'two words' } })
    assert.deepEqual((await files().getInfo('marked')).metadata, { author: 'e2e', note: 'two words' })
    await files().write('marked', 'y', { metadata: { other: '1' } })
    assert.deepEqual((await files().getInfo('marked')).metadata, { other: '1' })
    await files().write('unmarked', 'x')
    assert.equal((await files().getInfo('unmarked')).metadata, undefined)
  })
})
