// Playwright and Puppeteer, unmodified, with the Chromium of the template browser.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import { join } from 'node:path'
import { Sandbox, eventually, record } from './sdk.mjs'

const require = createRequire(join(process.env.E2E_SDK_DIR, 'package.json'))
const { chromium } = require('playwright-core')
const puppeteer = require('puppeteer-core').default ?? require('puppeteer-core')
const WebSocket = require('ws')

const page = '<title>inside</title><p id=count>0</p><button onclick="count.textContent++">more</button>'

describe('browser', () => {
  let sandbox, url
  before(async () => {
    sandbox = record(await Sandbox.create('browser', { timeoutMs: 240_000 }))
    url = `https://${sandbox.getHost(9222)}`
    await sandbox.files.write('page.html', page)
  })
  after(() => sandbox?.kill())

  test('it runs already, not as root, and in its own sandbox', async () => {
    const version = await (await fetch(`${url}/json/version`)).json()
    assert.match(version['User-Agent'], /Headless/)
    assert.ok(version.webSocketDebuggerUrl.startsWith(`wss://${sandbox.getHost(9222)}/devtools/browser/`), version.webSocketDebuggerUrl)
    const { stdout } = await sandbox.commands.run(`for p in $(pgrep -f 'type=[r]enderer'); do echo $(stat -c %U /proc/$p) $(grep -h ^Seccomp: /proc/$p/status) $(readlink /proc/$p/ns/user /proc/self/ns/user | sort -u | wc -l); done 2>&1 | sort -u`)
    assert.equal(stdout, 'user Seccomp: 2 2\n')
  })

  test('playwright', async () => {
    const browser = await chromium.connectOverCDP(url)
    const tab = await browser.contexts()[0].newPage()
    await tab.goto('file:///home/user/page.html')
    assert.equal(await tab.title(), 'inside')
    await tab.click('button')
    assert.equal(await tab.textContent('#count'), '1')
    const png = await tab.screenshot()
    assert.equal(png.subarray(1, 4).toString(), 'PNG')
    await browser.close()
  })

  test('puppeteer', async () => {
    const browser = await puppeteer.connect({ browserURL: url })
    const tab = await browser.newPage()
    await tab.goto('file:///home/user/page.html')
    await tab.click('button')
    assert.equal(await tab.$eval('#count', (e) => e.textContent), '1')
    assert.ok((await tab.pdf()).length > 1000)
    await tab.close()
    await browser.disconnect()
  })

  test('a program of the sandbox', async () => {
    const version = JSON.parse((await sandbox.commands.run('curl -s localhost:9222/json/version')).stdout)
    assert.ok(version.webSocketDebuggerUrl.startsWith('ws://localhost:9222/devtools/browser/'), version.webSocketDebuggerUrl)
  })

  // Pages that it opens reach the port, too.
  test('pages of a browser are refused', async () => {
    assert.equal((await fetch(`${url}/json/list`, { headers: { origin: 'https://example.com' } })).status, 403)
    const { webSocketDebuggerUrl } = await (await fetch(`${url}/json/version`)).json()
    const status = await new Promise((resolve) => {
      const socket = new WebSocket(webSocketDebuggerUrl, { origin: 'https://example.com' })
      socket.on('unexpected-response', (request, response) => {
        resolve(response.statusCode)
        request.destroy()
      })
      socket.on('error', () => {}) // Of the request that was destroyed.
      socket.on('open', () => resolve('open'))
    })
    assert.equal(status, 403)
  })

  test('it goes on after a pause', async () => {
    const browser = await chromium.connectOverCDP(url)
    const tab = await browser.contexts()[0].newPage()
    await tab.goto('file:///home/user/page.html')
    await tab.click('button')
    await sandbox.pause()
    await eventually('the connection has ended', () => !browser.isConnected())
    await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 240_000 })
    const again = await chromium.connectOverCDP(url)
    const same = again.contexts()[0].pages().find((p) => p.url().endsWith('page.html'))
    assert.equal(await same.textContent('#count'), '1')
    await again.close()
  })

  test('another one is started when it ends', async () => {
    const id = async () => (await (await fetch(`${url}/json/version`)).json().catch(() => ({}))).webSocketDebuggerUrl
    const before = await id()
    const browser = await puppeteer.connect({ browserURL: url })
    await browser.close()
    await eventually('the next one answers', async () => (await id() ?? before) !== before)
  })
})
