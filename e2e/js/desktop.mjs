// The desktop: @e2b/desktop, unmodified, with the template desktop, whose name is the SDK's default.
import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { eventually, record } from './sdk.mjs'

const { Sandbox } = await import(pathToFileURL(join(process.env.E2E_SDK_DIR, 'node_modules/@e2b/desktop/dist/index.mjs')).href)
const WebSocket = createRequire(join(process.env.E2E_SDK_DIR, 'package.json'))('ws')

/** The ids of an application's windows; none until it has one. */
const windows = (desktop, application) => desktop.getApplicationWindows(application).catch(() => [])

const sizeOf = (png) => {
  const bytes = Buffer.from(png)
  assert.equal(bytes.subarray(1, 4).toString(), 'PNG')
  return [bytes.readUInt32BE(16), bytes.readUInt32BE(20)]
}

/** A connection to the stream, as noVNC has it, and the bytes of its messages. */
async function connect(desktop) {
  const socket = new WebSocket(`wss://${desktop.getHost(6080)}/websockify`, ['binary'])
  let rest = Buffer.alloc(0)
  let more
  let ended
  socket.on('message', (data) => {
    rest = Buffer.concat([rest, data])
    more?.()
  })
  socket.on('close', () => {
    ended = new Error('the stream was closed')
    more?.()
  })
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  const take = async (n) => {
    while (rest.length < n) {
      if (ended) throw ended
      await new Promise((resolve) => (more = resolve))
    }
    const taken = rest.subarray(0, n)
    rest = rest.subarray(n)
    return taken
  }
  assert.equal((await take(12)).toString(), 'RFB 003.008\n')
  socket.send(Buffer.from('RFB 003.008\n'))
  const types = [...(await take((await take(1))[0]))]
  return { socket, take, types }
}

/** The answer to a challenge of VNC: DES by the password, the bits of each byte reversed. */
function answer(password, challenge) {
  const key = Buffer.alloc(8)
  Buffer.from(password).copy(key, 0, 0, 8)
  for (let i = 0; i < 8; i++) key[i] = parseInt([...key[i].toString(2).padStart(8, '0')].reverse().join(''), 2)
  // Three times with one key is once with it.
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null).setAutoPadding(false)
  return Buffer.concat([cipher.update(challenge), cipher.final()])
}

/** Logs in with a password, and returns the result: 0 is success. */
async function login({ socket, take, types }, password) {
  assert.deepEqual(types, [2])
  socket.send(Buffer.from([2]))
  socket.send(answer(password, await take(16)))
  return (await take(4)).readUInt32BE()
}

describe('desktop', () => {
  let desktop
  before(async () => {
    desktop = record(await Sandbox.create({ timeoutMs: 240_000 }))
  })
  after(() => desktop?.kill())

  test('the screen', async () => {
    assert.deepEqual(await desktop.getScreenSize(), { width: 1024, height: 768 })
    assert.deepEqual(sizeOf(await desktop.screenshot()), [1024, 768])
  })

  test('the mouse', async () => {
    for (const click of ['leftClick', 'doubleClick']) {
      await desktop[click](500, 400)
      assert.deepEqual(await desktop.getCursorPosition(), { x: 500, y: 400 })
    }
    await desktop.scroll('up', 1)
    await desktop.moveMouse(300, 200)
    await desktop.drag([300, 300], [420, 350])
    assert.deepEqual(await desktop.getCursorPosition(), { x: 420, y: 350 })
    const before = (await windows(desktop, 'xfdesktop')).length
    for (const click of ['rightClick', 'middleClick']) {
      await desktop[click](700, 500)
      await eventually('the menu opens', async () => (await windows(desktop, 'xfdesktop')).length > before)
      await desktop.press('esc')
      await eventually('the menu closes', async () => (await windows(desktop, 'xfdesktop')).length === before)
    }
  })

  test('an application', async () => {
    await desktop.launch('xfce4-terminal')
    await eventually('it opens', async () => (await windows(desktop, 'xfce4-terminal')).length > 0)
    await eventually('it has the focus', async () => (await desktop.getWindowTitle(await desktop.getCurrentWindowId())).includes('Terminal'))
    await desktop.write("echo 'typed by the SDK' > typed.txt", { chunkSize: 10, delayInMs: 5 })
    await desktop.press('enter')
    await eventually('the command ran', async () => (await desktop.files.exists('typed.txt')) && (await desktop.files.read('typed.txt')) === 'typed by the SDK\n')
  })

  test('a stream with a password', async () => {
    await desktop.stream.start({ requireAuth: true })
    await assert.rejects(desktop.stream.start(), /already running/)
    const authKey = desktop.stream.getAuthKey()
    assert.equal(desktop.stream.getUrl({ authKey }), `https://${desktop.getHost(6080)}/vnc.html?autoconnect=true&resize=scale&password=${authKey}`)
    const page = await fetch(desktop.stream.getUrl({ authKey }))
    assert.match(await page.text(), /noVNC/)
    const stranger = await connect(desktop)
    assert.equal(await login(stranger, 'wrong'), 1)
    stranger.socket.close()
    const friend = await connect(desktop)
    assert.equal(await login(friend, authKey), 0)
    friend.socket.close()
    await desktop.stream.stop()
  })

  test('the stream of a window', async () => {
    const other = record(await Sandbox.create({ timeoutMs: 240_000, resolution: [1280, 720] }))
    try {
      assert.deepEqual(await other.getScreenSize(), { width: 1280, height: 720 })
      await other.launch('xfce4-terminal')
      const [windowId] = await eventually('it opens', async () => {
        const ids = await windows(other, 'xfce4-terminal')
        return ids.length > 0 && ids
      })
      await other.stream.start({ windowId })
      const { socket, take, types } = await connect(other)
      assert.ok(types.includes(1))
      socket.send(Buffer.from([1]))
      assert.equal((await take(4)).readUInt32BE(), 0)
      socket.send(Buffer.from([1]))
      const [width, height] = [(await take(2)).readUInt16BE(), (await take(2)).readUInt16BE()]
      assert.ok(width > 100 && width < 1280 && height > 100 && height < 720, `${width}x${height}`)
      socket.close()
      await other.stream.stop()
    } finally {
      await other.kill()
    }
  })
})
