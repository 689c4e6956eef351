import assert from 'node:assert/strict'
import http from 'node:http'
import { describe, test } from 'node:test'
import { Sandbox, bootId, count, counter, eventually, withSandbox } from './sdk.mjs'

const get = (headers) =>
  new Promise((resolve, reject) => {
    const request = http.get(process.env.E2B_SANDBOX_URL, { headers, agent: false }, (response) => {
      let text = ''
      response.on('data', (c) => (text += c))
      response.on('end', () => resolve({ status: response.statusCode, text }))
      response.on('error', reject)
    })
    request.on('error', reject)
  })

const paused = (sandbox) => eventually('it is paused', async () => (await sandbox.getInfo()).state === 'paused')

describe('timeout and traffic', { concurrency: 2 }, () => {
  test('a timeout that pauses', () =>
    withSandbox({ lifecycle: { onTimeout: 'pause' } }, async (sandbox) => {
      assert.deepEqual((await sandbox.getInfo()).lifecycle, { onTimeout: 'pause', autoResume: false })
      const boot = await bootId(sandbox)
      await counter(sandbox)
      for (let round = 0; round < 2; round++) {
        await sandbox.setTimeout(1_000)
        await paused(sandbox)
        assert.equal(await sandbox.isRunning(), false)
        await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 120_000 })
        const n = await count(sandbox)
        await eventually('it counts on', async () => (await count(sandbox)) > n)
        assert.equal(await bootId(sandbox), boot)
      }
    }))

  test('a timeout that pauses without memory', () =>
    withSandbox({ lifecycle: { onTimeout: { action: 'pause', keepMemory: false } } }, async (sandbox) => {
      const boot = await bootId(sandbox)
      await sandbox.files.write('kept', 'on disk')
      await sandbox.setTimeout(1_000)
      await paused(sandbox)
      await sandbox.connect()
      assert.equal(await sandbox.files.read('kept'), 'on disk')
      assert.notEqual(await bootId(sandbox), boot)
    }))

  test('a timeout that kills', () =>
    withSandbox({ lifecycle: { onTimeout: 'kill' } }, async (sandbox) => {
      assert.deepEqual((await sandbox.getInfo()).lifecycle, { onTimeout: 'kill', autoResume: false })
    }))

  test('an SDK call resumes', () =>
    withSandbox({ lifecycle: { onTimeout: 'pause', autoResume: true } }, async (sandbox) => {
      assert.deepEqual((await sandbox.getInfo()).lifecycle, { onTimeout: 'pause', autoResume: true })
      const boot = await bootId(sandbox)
      await sandbox.files.write('kept', 'as it was')
      await sandbox.pause()
      assert.equal((await sandbox.getInfo()).state, 'paused')
      const begin = Date.now()
      assert.equal(await sandbox.files.read('kept'), 'as it was')
      const info = await sandbox.getInfo()
      assert.equal(info.state, 'running')
      const left = (info.endAt - begin) / 1000
      assert.ok(left > 290, `${left} s left, not 300`)
      await sandbox.setTimeout(1_000)
      await paused(sandbox)
      assert.equal((await sandbox.commands.run('cat kept')).stdout, 'as it was')
      await sandbox.pause()
      assert.equal(await sandbox.isRunning(), true)
      assert.equal(await bootId(sandbox), boot)
    }))

  test('many requests share one resume', () =>
    withSandbox({ lifecycle: { onTimeout: 'pause', autoResume: true } }, async (sandbox) => {
      await sandbox.pause()
      const answers = await Promise.all([...Array(10).keys()].map((n) => sandbox.commands.run(`echo ${n}`)))
      assert.deepEqual(answers.map((a) => a.stdout), [...Array(10).keys()].map((n) => `${n}\n`))
    }))

  test('a request to a port resumes', () =>
    withSandbox({ lifecycle: { onTimeout: 'pause', autoResume: true } }, async (sandbox) => {
      await sandbox.files.write('www/index.html', 'still here')
      const server = await sandbox.commands.run('python3 -m http.server 8000 --directory www', { background: true, timeoutMs: 0 })
      server.wait().catch(() => {})
      const ask = () => get({ host: sandbox.getHost(8000) })
      await eventually('the server answers', async () => (await ask()).status === 200)
      await sandbox.pause()
      assert.deepEqual(await ask(), { status: 200, text: 'still here' })
      assert.equal((await sandbox.getInfo()).state, 'running')
    }))

  test('a stranger at the agent does not resume', () =>
    withSandbox({ lifecycle: { onTimeout: 'pause', autoResume: true } }, async (sandbox) => {
      await sandbox.pause()
      const { status } = await get({ 'e2b-sandbox-id': sandbox.sandboxId, 'e2b-sandbox-port': '49983' })
      assert.equal(status, 403)
      assert.equal((await sandbox.getInfo()).state, 'paused')
    }))
})
