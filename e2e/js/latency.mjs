// How long an SDK's user waits for the first output of a new sandbox, out of the
// warm pool. It is a measurement and no test: it needs a server and the
// variables of "rundlet env". Each round waits until the pool is full.
//
//	node e2e/js/latency.mjs [ROUNDS]
import { loadavg } from 'node:os'
import { performance } from 'node:perf_hooks'

const dir = process.env.E2E_SDK_DIR ? `file://${process.env.E2E_SDK_DIR}/` : new URL('../npm/2.51.0/', import.meta.url)
const { Sandbox } = await import(new URL('node_modules/e2b/dist/index.mjs', dir).href)
const rounds = Number(process.argv[2] ?? 50)
const warmUp = 3 // rounds that are not counted: connections, and the JavaScript itself

/** Reads the pool's figures. */
async function pool() {
  const answer = await fetch(`${process.env.E2B_API_URL}/metrics`, { headers: { 'X-API-Key': process.env.E2B_API_KEY } })
  const text = await answer.text()
  const figure = (name) => Number(text.match(new RegExp(`^rundlet_warm_pool_${name}\\{pool="base"\\} (.*)$`, 'm'))?.[1])
  return { ready: figure('ready'), target: figure('target'), hits: figure('hits_total') }
}

async function fullPool() {
  const deadline = Date.now() + 120_000 // It may be making the base.
  for (;;) {
    const p = await pool()
    if (p.target > 0 && p.ready >= p.target) return p
    if (Date.now() > deadline) throw new Error('the server has no warm pool, or it does not fill')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

const created = []
const output = []
let before
for (let i = -warmUp; i < rounds; i++) {
  const p = await fullPool()
  if (i === 0) before = p
  const begin = performance.now()
  const sandbox = await Sandbox.create({ timeoutMs: 60_000 })
  const made = performance.now() - begin
  let first
  await sandbox.commands.run('echo hello', { onStdout: () => (first ??= performance.now() - begin) })
  await sandbox.kill()
  if (i >= 0) created.push(made), output.push(first)
}
const { hits } = await fullPool()

const rank = (values, p) => values.toSorted((a, b) => a - b)[Math.ceil((values.length * p) / 100) - 1].toFixed(1)
const line = (what, values) => console.log(`${what.padEnd(24)} p50 ${rank(values, 50)} ms, p95 ${rank(values, 95)} ms, least ${rank(values, 1)} ms`)
console.log(`${rounds} rounds, ${hits - before.hits} out of the pool, load ${loadavg()[0].toFixed(2)}`)
line('create', created)
line('create to first stdout', output)
