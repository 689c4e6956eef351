import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { e2b, version, withSandbox } from './sdk.mjs'

const { Template, waitForFile, waitForPort } = e2b
const unique = (what) => `js-${what}-${version.replaceAll('.', '-')}-${process.pid}-${Date.now()}`

/** Builds a template under a new name, uses it, and deletes it. */
async function withTemplate(template, opts, body) {
  const name = unique('template')
  const lines = []
  try {
    const built = await Template.build(template, name, { onBuildLogs: (entry) => lines.push(entry.message), ...opts })
    return await body(name, lines.join('\n'), built)
  } finally {
    await remove(name)
  }
}

/** Deletes a template, for which the SDK has no method. */
async function remove(name) {
  const base = process.env.E2B_API_URL ?? `https://api.${process.env.E2B_DOMAIN}`
  await fetch(`${base}/templates/${name}`, { method: 'DELETE', headers: { 'X-API-KEY': process.env.E2B_API_KEY } })
}

/** A directory with files for a COPY, which ends with the case. */
function context(t, files) {
  const dir = mkdtempSync(join(tmpdir(), 'context-'))
  t.after(() => rmSync(dir, { recursive: true }))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true })
    if (content.startsWith('-> ')) symlinkSync(content.slice(3), join(dir, name))
    else writeFileSync(join(dir, name), content, { mode: name.endsWith('.sh') ? 0o755 : 0o644 })
  }
  return dir
}

const stdout = async (sandbox, command) => (await sandbox.commands.run(command)).stdout

describe('templates', () => {
  test('steps see what those before them did, and sandboxes have it', async () => {
    const template = Template()
      .fromBaseImage()
      .setEnvs({ GREETING: 'hello', LONGER: '$GREETING to you' })
      .runCmd('echo built by $(id -un) > /home/user/built')
      .runCmd(['mkdir -p /opt/tool', 'echo "$LONGER" > /opt/tool/said'], { user: 'root' })
      .setWorkdir('/home/user/app')
      .runCmd('pwd > where')
    await withTemplate(template, {}, async (name, log) => {
      assert.match(log, /RUN echo built by/)
      await withSandbox({ template: name }, async (sandbox) => {
        assert.equal(await stdout(sandbox, 'cat /home/user/built /opt/tool/said where; echo $GREETING; pwd'),
          'built by user\nhello to you\n/home/user/app\nhello\n/home/user/app\n')
      })
    })
  })

  test('files are copied as the builder says', async (t) => {
    const dir = context(t, {
      'app/main.py': 'main', 'app/sub/deep.txt': 'deep', 'run.sh': '#!/bin/sh\necho ran\n', 'a.txt': 'a', 'b.txt': 'b', 'app/link': '-> main.py',
    })
    const template = Template({ fileContextPath: dir })
      .fromTemplate('base')
      .setWorkdir('/home/user')
      .copy('app', 'dst')
      .copy('run.sh', '/opt/run', { user: 'root' })
      .copy('a.txt', 'renamed.txt', { mode: 0o600 })
      .copy('*.txt', 'texts/')
      .copy(['a.txt', 'b.txt'], 'both/')
      .runCmd('/opt/run > ran')
    await withTemplate(template, {}, async (name) => {
      await withSandbox({ template: name }, async (sandbox) => {
        assert.equal(await stdout(sandbox, 'cat dst/main.py dst/sub/deep.txt renamed.txt; readlink dst/link; ls texts both | tr "\\n" " "; cat ran; stat -c "%a %U" renamed.txt /opt/run dst/main.py'),
          'maindeepamain.py\nboth: a.txt b.txt  texts: a.txt b.txt ran\n600 user\n755 root\n644 user\n')
      })
    })
  })

  test('a second build does nothing again, and a changed file is copied again', async (t) => {
    const dir = context(t, { 'file.txt': 'one' })
    const template = () => Template({ fileContextPath: dir }).fromTemplate('base').copy('file.txt', '/tmp/file.txt').runCmd('date +%s%N > /tmp/stamp')
    const look = (name) => withSandbox({ template: name }, (sandbox) => stdout(sandbox, 'cat /tmp/file.txt /tmp/stamp'))
    const first = await withTemplate(template(), {}, look)
    const second = await withTemplate(template(), {}, async (name, log) => {
      assert.match(log, /CACHED .*RUN date/)
      return look(name)
    })
    assert.equal(second, first)
    assert.notEqual(await withTemplate(template(), { skipCache: true }, look), first)
    writeFileSync(join(dir, 'file.txt'), 'two')
    assert.match(await withTemplate(template(), {}, look), /^two/)
  })

  test('a step that fails is reported at its line', async () => {
    for (const [what, template, want] of [
      ['a command', () => Template().fromTemplate('base').runCmd('true').runCmd('echo oops >&2; exit 7'), /exit 7.*exit status 7.*oops/s],
      ['a user', () => Template().fromTemplate('base').runCmd('whoami', { user: 'root123' }), /failed to run command 'whoami': command failed: unauthenticated: invalid username: 'root123'/],
      ['a template', () => Template().fromTemplate('no-such-template'), /no-such-template/],
    ]) {
      await assert.rejects(withTemplate(template(), {}, () => {}), (err) => {
        assert.ok(err instanceof e2b.BuildError, `${what}: ${err}`)
        assert.match(err.message, want)
        assert.match(err.stack, /templates\.mjs/, what)
        return true
      })
    }
  })

  test('what the start command starts runs in every sandbox', async () => {
    const template = Template().fromTemplate('base').setWorkdir('/tmp')
      .setStartCmd('echo page > index.html; python3 -m http.server 8000', waitForPort(8000))
    await withTemplate(template, { cpuCount: 1, memoryMB: 600 }, async (name) => {
      await withSandbox({ template: name }, async (sandbox) => {
        assert.equal(await stdout(sandbox, 'curl -s http://localhost:8000/'), 'page\n')
        const { cpuCount, memoryMB } = await sandbox.getInfo()
        assert.deepEqual([cpuCount, memoryMB], [1, 600])
      })
    })
  })

  test('a Dockerfile is built', async (t) => {
    const dir = context(t, { 'file.txt': 'copied' })
    writeFileSync(join(dir, 'Dockerfile'), 'FROM e2bdev/base\nARG WHO=you\nENV GREETING=hello-$WHO\nWORKDIR /srv/app\nCOPY file.txt .\nRUN echo "$GREETING" > said\nUSER worker\nCMD ["sleep", "1000"]\n')
    const template = Template({ fileContextPath: dir }).fromDockerfile(join(dir, 'Dockerfile')).setReadyCmd(waitForFile('/srv/app/said'))
    await withTemplate(template, {}, async (name) => {
      await withSandbox({ template: name }, async (sandbox) => {
        assert.equal(await stdout(sandbox, 'id -un; pwd; cat said file.txt'), 'worker\n/srv/app\nhello-you\ncopied')
      })
    })
  })

  test('a template of a template', async () => {
    await withTemplate(Template().fromTemplate('base').setEnvs({ A: '1' }).runCmd('echo one > /tmp/one'), {}, async (first) => {
      await withTemplate(Template().fromTemplate(first).runCmd('echo two $A > /tmp/two'), {}, async (second) => {
        await withSandbox({ template: second }, async (sandbox) => {
          assert.equal(await stdout(sandbox, 'cat /tmp/one /tmp/two; echo $A'), 'one\ntwo 1\n1\n')
        })
      })
    })
  })

  test('a build in the background is asked after', async () => {
    const name = unique('background')
    const built = await Template.buildInBackground(Template().fromTemplate('base').runCmd('sleep 1'), name)
    try {
      const seen = new Set()
      for (let offset = 0; ; ) {
        const status = await Template.getBuildStatus(built, { logsOffset: offset })
        offset += status.logEntries.length
        seen.add(status.status)
        if (status.status !== 'building' && status.status !== 'waiting') break
      }
      assert.deepEqual([...seen].at(-1), 'ready')
    } finally {
      await remove(name)
    }
  })
})
