// The SDK under test, and what every suite needs around it.
import assert from 'node:assert/strict'
import { appendFileSync } from 'node:fs'
import { after, before } from 'node:test'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

export const version = process.env.E2E_SDK_VERSION
export const e2b = await import(pathToFileURL(join(process.env.E2E_SDK_DIR, 'node_modules/e2b/dist/index.mjs')).href)
export const { Sandbox } = e2b

/** True from this SDK version on. */
export const since = (v) => {
  const [a, b] = [version, v].map((s) => s.split('.').map(Number))
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return a[i] > b[i]
  return true
}

/** Notes a sandbox for the check of what is left. */
export function record(sandbox) {
  appendFileSync(process.env.E2E_IDS, sandbox.sandboxId + '\n')
  return sandbox
}

/** Creates a sandbox and records it. */
export async function create(opts = {}) {
  return record(await Sandbox.create({ timeoutMs: 120_000, ...opts }))
}

/** A sandbox for one case, killed at its end whatever happens. */
export async function withSandbox(opts, body) {
  const sandbox = await create(opts)
  try {
    return await body(sandbox)
  } finally {
    await sandbox.kill()
  }
}

/** A sandbox for all cases of the enclosing group. */
export function sharedSandbox(opts) {
  const shared = {}
  before(async () => {
    shared.sandbox = await create(opts)
  })
  after(async () => {
    await shared.sandbox?.kill()
  })
  return shared
}

/** Starts a program that counts in a file, and returns its command. */
export async function counter(sandbox, file = 'counter') {
  const command = await sandbox.commands.run(`n=0; while :; do n=$((n+1)); echo $n > ${file}.new; mv ${file}.new ${file}; sleep 0.02; done`, {
    background: true,
    timeoutMs: 0,
  })
  // Somebody has to hear that the stream breaks off.
  command.wait().catch(() => {})
  await eventually('it counts', () => count(sandbox, file))
  return command
}

/** How far a counter is; 0 if there is none. */
export const count = async (sandbox, file = 'counter') => Number((await sandbox.commands.run(`cat ${file} 2>/dev/null || echo 0`)).stdout)

/** The id of the boot, which stays over a pause with memory. */
export const bootId = async (sandbox) => (await sandbox.commands.run('cat /proc/sys/kernel/random/boot_id')).stdout

/** Waits for a state that the API lets us only ask for. */
export async function eventually(what, ask, timeoutMs = 60_000) {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer) return answer
    assert.ok(Date.now() < deadline, `${what}: not within ${timeoutMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Collects text until a pattern appears in it. */
export function collector() {
  let text = ''
  const waiting = new Set()
  const check = () => {
    for (const w of waiting) if (w.pattern.test(text)) waiting.delete(w), clearTimeout(w.timer), w.resolve(text)
  }
  return {
    add(chunk) {
      text += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()
      check()
    },
    get text() {
      return text
    },
    until(pattern, timeoutMs = 60_000) {
      return new Promise((resolve, reject) => {
        const w = { pattern, resolve }
        w.timer = setTimeout(() => {
          waiting.delete(w)
          reject(new Error(`no ${pattern} within ${timeoutMs} ms in ${JSON.stringify(text)}`))
        }, timeoutMs)
        waiting.add(w)
        check()
      })
    },
  }
}

const shouting = (port) => `import socket
s = socket.create_server(("0.0.0.0", ${port}))
print("listening", flush=True)
c, _ = s.accept()
head = b""
while b"\\r\\n\\r\\n" not in head: head += c.recv(4096)
c.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: shout\\r\\nConnection: Upgrade\\r\\n\\r\\n")
while data := c.recv(4096): c.sendall(data.upper())
`

/** Serves in the sandbox what shouts everything back, and talks to it over an upgraded connection that ask requests. */
export async function shout(sandbox, port, ask) {
  await sandbox.files.write('shout.py', shouting(port))
  const out = collector()
  const command = await sandbox.commands.run('python3 shout.py', { background: true, timeoutMs: 30_000, onStdout: out.add })
  await out.until(/listening/)
  const socket = await new Promise((resolve, reject) => {
    const request = ask()
    request.on('upgrade', (response, socket) => resolve(socket))
    request.on('response', (response) => reject(new Error(`status ${response.statusCode}`)))
    request.on('error', reject)
    request.end()
  })
  const heard = collector()
  socket.on('data', heard.add)
  for (const word of ['one', 'two', 'three']) {
    socket.write(word)
    await heard.until(new RegExp(word.toUpperCase()))
  }
  socket.end()
  assert.equal((await command.wait()).exitCode, 0)
}

/** Expects a rejection with exactly this class (by name: 2.45 lacks some). */
export async function rejects(promise, className, pattern) {
  let error
  try {
    await promise
  } catch (e) {
    error = e
  }
  assert.ok(error, `no error; expected ${className}`)
  assert.equal(error.constructor.name === className || error.name === className, true, `${error.name}: ${error.message}; expected ${className}`)
  assert.ok(error instanceof e2b[className], `${error.name} is not the exported ${className}`)
  if (pattern) assert.match(error.message, pattern)
  return error
}
