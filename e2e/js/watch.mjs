import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { eventually, rejects, sharedSandbox } from './sdk.mjs'

describe('watch', { concurrency: 4 }, () => {
  const shared = sharedSandbox()
  const files = () => shared.sandbox.files

  async function watch(dir, opts) {
    const events = []
    const handle = await files().watchDir(dir, (e) => void events.push(e), { timeoutMs: 30_000, ...opts })
    const saw = (type, name) => eventually(`${type} ${name} among ${JSON.stringify(events.map((e) => `${e.type} ${e.name}`))}`, () => events.find((e) => e.type === type && e.name === name))
    return { events, handle, saw }
  }

  test('create, write, chmod, rename, remove', async () => {
    await files().makeDir('w1')
    const { handle, saw } = await watch('w1')
    await files().write('w1/f', 'one')
    await saw('create', 'f')
    await saw('write', 'f')
    await shared.sandbox.commands.run('chmod 600 w1/f')
    await saw('chmod', 'f')
    await files().rename('w1/f', 'w1/g')
    await saw('rename', 'f')
    await saw('create', 'g')
    await files().remove('w1/g')
    await saw('remove', 'g')
    await handle.stop()
  })

  test('only the directory itself unless recursive', async () => {
    await files().makeDir('w2/sub')
    const { events, handle, saw } = await watch('w2')
    await files().write('w2/sub/deep', '')
    await files().write('w2/top', '')
    await saw('create', 'top')
    assert.deepEqual(events.filter((e) => e.name.includes('deep')), [])
    await handle.stop()
  })

  test('recursive, also into new directories', async () => {
    await files().makeDir('w3/sub')
    const { handle, saw } = await watch('w3', { recursive: true })
    await files().write('w3/sub/f', '')
    await saw('create', 'sub/f')
    await files().makeDir('w3/later')
    await saw('create', 'later')
    await eventually('an event from the new directory', async () => {
      await files().write('w3/later/g', String(Date.now()))
      return saw('write', 'later/g').catch(() => false)
    }, 30_000)
    await handle.stop()
  })

  test('with the entry', async () => {
    await files().makeDir('w4')
    const { handle, saw } = await watch('w4', { includeEntry: true })
    await files().write('w4/f', 'four')
    const { entry } = await saw('write', 'f')
    assert.deepEqual([entry.name, entry.type, entry.path], ['f', 'file', '/home/user/w4/f'])
    await handle.stop()
  })

  test('nothing comes after stop', async () => {
    await files().makeDir('w5')
    let exited
    const exit = new Promise((resolve) => (exited = resolve))
    const { events, handle, saw } = await watch('w5', { onExit: exited })
    await files().write('w5/f', '')
    await saw('create', 'f')
    await handle.stop()
    await exit
    const seen = events.length
    await files().write('w5/g', '')
    await files().read('w5/g')
    assert.equal(events.length, seen)
  })

  test('what cannot be watched', async () => {
    await files().write('w6', '')
    await rejects(files().watchDir('w6', () => {}), 'InvalidArgumentError')
    await rejects(files().watchDir('not-there', () => {}), 'FileNotFoundError')
  })
})
