// Clients of the SDK that go through sessions until the time is up. Prints one line of JSON: how many sessions there were, and what went
// wrong. Two of three clients of a process connect to the sandbox that is named; the others create one for each session.
//
// Before each step a client waits for up to PAUSE seconds.
//
//	node js/sessions.mjs SECONDS CLIENTS SANDBOX PAUSE
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const { Sandbox } = await import(pathToFileURL(join(process.env.E2E_SDK_DIR, 'node_modules/e2b/dist/index.mjs')).href)
const [seconds, clients, shared, pause] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4], Number(process.argv[5])]
const end = Date.now() + seconds * 1000
const result = { sessions: 0, errors: [] }

const expect = (what, got, want) => {
  if (got !== want) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`)
}

/** Waits as long as a client does between two steps. */
const think = () => new Promise((resolve) => setTimeout(resolve, Math.random() * pause * 1000))

async function session(own, text) {
  const sandbox = own ? await Sandbox.create({ timeoutMs: 600_000 }) : await Sandbox.connect(shared)
  try {
    await think()
    const file = `/home/user/${text}`
    expect('run', (await sandbox.commands.run(`echo ${text}`)).stdout, `${text}\n`)
    await think()
    await sandbox.files.write(file, text)
    await think()
    expect('read', await sandbox.files.read(file), text)
    if (own) {
      await sandbox.commands.run(`python3 -m http.server 8000 --directory /home/user`, { background: true, timeoutMs: 0 })
      await sandbox.commands.run('until (: </dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.05; done')
    }
    await think()
    const answer = await fetch(`${process.env.E2B_API_URL}/sandbox-proxy/${sandbox.sandboxId}/ports/8000/${text}`)
    expect('port', await answer.text(), text)
    await sandbox.files.remove(file)
  } finally {
    if (own) await sandbox.kill()
  }
}

async function client(n) {
  for (let i = 0; Date.now() < end; i++) {
    const began = new Date().toISOString()
    try {
      await session(n % 3 === 0, `js-${process.pid}-${n}-${i}`)
      result.sessions++
    } catch (error) {
      result.errors.push(`${began}: ${error.stack}`)
    }
  }
}

await Promise.all(Array.from({ length: clients }, (_, n) => client(n)))
console.log(JSON.stringify(result))
