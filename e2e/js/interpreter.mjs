// The code interpreter: @e2b/code-interpreter, unmodified, with the template code-interpreter-v1.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { record } from './sdk.mjs'

const module = 'node_modules/@e2b/code-interpreter/dist/index.mjs'
const { Sandbox } = await import(pathToFileURL(join(process.env.E2E_SDK_DIR, module)).href)
const create = async (opts = {}) => record(await Sandbox.create({ timeoutMs: 240_000, ...opts })) // The template is the SDK's default.

describe('code interpreter', () => {
  let sandbox
  before(async () => {
    sandbox = await create({ envs: { FROM_CREATE: 'yes' } })
  })
  after(() => sandbox?.kill())
  const run = (code, opts) => sandbox.runCode(code, opts)

  test('state is kept', async () => {
    assert.deepEqual((await run('x = 20; x += 1')).results, [])
    const execution = await run('x * 2')
    assert.deepEqual([execution.text, execution.results[0].isMainResult, execution.error], ['42', true, undefined])
    assert.equal((await run('1')).executionCount + 1, (await run('1')).executionCount)
  })

  test('output comes while the code runs', async () => {
    const seen = []
    const code = `import os, sys
print('one', flush=True)
for _ in range(1000):
  if os.path.exists('go-js'): break
  __import__('time').sleep(0.05)
print('two', file=sys.stderr)`
    const execution = await run(code, {
      onStdout: async (message) => {
        seen.push(message.line)
        await sandbox.files.write('/home/user/go-js', '')
      },
      onStderr: (message) => seen.push(message.line),
    })
    assert.deepEqual(seen, ['one\n', 'two\n'])
    assert.deepEqual(execution.logs, { stdout: ['one\n'], stderr: ['two\n'] })
  })

  // The SDK decodes each piece of the answer separately.
  test('characters of several bytes stay whole', async () => {
    const { logs } = await run(`print('ü😀' * 200000)`)
    assert.equal(logs.stdout.join(''), 'ü😀'.repeat(200000) + '\n')
  })

  test('errors', async () => {
    const errors = []
    const { error } = await run('1 / 0', { onError: (e) => errors.push(e) })
    assert.deepEqual([error.name, error.value, errors.length], ['ZeroDivisionError', 'division by zero', 1])
    assert.match(error.traceback, /1 \/ 0|ZeroDivisionError/)
  })

  test('rich results, tables and charts', async () => {
    const code = `from IPython.display import *
import matplotlib.pyplot as plt, pandas as pd
display(HTML('<b>'), JSON({'a': 1}))
plt.plot([1, 2], [3, 4], label='a'); plt.title('T'); plt.show()
pd.DataFrame({'n': [1, 2]})`
    const results = []
    const execution = await run(code, { onResult: (r) => results.push(r) })
    assert.equal(execution.error, undefined)
    const [html, json, plot, table] = results
    assert.deepEqual([html.html, json.json, table.data, table.isMainResult], ['<b>', { a: 1 }, { n: [1, 2] }, true])
    assert.deepEqual([plot.chart.type, plot.chart.title, plot.chart.elements], ['line', 'T', [{ label: 'a', points: [[1, 3], [2, 4]] }]])
    assert.equal(Buffer.from(plot.png, 'base64').subarray(1, 4).toString(), 'PNG')
  })

  test('variables', async () => {
    const look = `import os; print(os.environ.get('FROM_CREATE'), os.environ.get('OF_RUN'))`
    assert.deepEqual((await run(look, { envs: { OF_RUN: 'a' } })).logs.stdout, ['yes a\n'])
    assert.deepEqual((await run(look)).logs.stdout, ['yes None\n'])
  })

  test('contexts', async () => {
    const context = await sandbox.createCodeContext({ cwd: '/tmp' })
    assert.deepEqual([context.language, context.cwd], ['python', '/tmp'])
    await run('own = 1', { context })
    assert.equal((await run('own')).error.name, 'NameError')
    assert.ok((await sandbox.listCodeContexts()).some((c) => c.id === context.id))
    await sandbox.restartCodeContext(context)
    assert.equal((await run('own', { context })).error.name, 'NameError')
    await sandbox.removeCodeContext(context.id)
    // After a refusal the SDK keeps its timer, and Node waits for that.
    await assert.rejects(run('1', { context, requestTimeoutMs: 5000 }), { name: 'NotFoundError' })
  })

  test('bash', async () => {
    await run('N=5; cd /tmp', { language: 'bash' })
    assert.deepEqual((await run('echo $N $PWD', { language: 'bash' })).logs.stdout, ['5 /tmp\n'])
    assert.equal((await run('false', { language: 'bash' })).error.value, '1')
  })

  test('a timeout interrupts and keeps the state', async () => {
    await assert.rejects(run('kept = 7\nwhile True: pass', { timeoutMs: 2000 }), { name: 'TimeoutError' })
    assert.equal((await run('kept')).text, '7')
  })

  test('a kernel that dies is replaced', async () => {
    const { error } = await run('import os; os._exit(1)')
    assert.equal(error.name, 'KernelDied')
    assert.equal((await run('1 + 1')).text, '2')
  })

  test('a traffic token', async () => {
    const secret = await create({ network: { allowPublicTraffic: false } })
    try {
      assert.equal((await secret.runCode('1 + 1')).text, '2')
    } finally {
      await secret.kill()
    }
  })
})
