import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { e2b, Sandbox, rejects, withSandbox } from './sdk.mjs'

const noUpdate = typeof Sandbox.prototype.updateNetwork !== 'function' && 'this SDK has no such call'
const all = e2b.ALL_TRAFFIC
// Hosts of the internet of these tests. Both have its address.
const [allowed, forbidden, address] = ['allowed.example', 'forbidden.example', '9.9.9.9']

/** The page of a URL, or the exit code of curl. A timeout is 28. */
const curl = async (sandbox, url, options = '') => {
  const { exitCode, stdout } = await sandbox.commands.run(`curl -sSk -m 20 ${options} ${url}`).catch((e) => e)
  return exitCode ? exitCode : stdout
}

/** What /key answers to a request with the header X-Key; '' is one without. */
const of = (key) => new RegExp(`^${createHash('sha256').update(key).digest('hex')} `)

// What curl says of a connection that is reset: when it reads, when it writes, or already when it looks whether it is connected.
const reset = [56, 55, 7]

/** As curl, for what is refused at once. A name server that does not answer is a timeout, too. */
const refused = (sandbox, url, options = '') => curl(sandbox, url, `-m 4 ${options}`)

describe('network', { concurrency: 4 }, () => {
  test('create with an allow-list', () =>
    withSandbox({ network: { allowOut: ['1.1.1.1', '8.8.8.0/24'], denyOut: [all] } }, async (sandbox) => {
      const { network } = await sandbox.getInfo()
      assert.deepEqual([network.allowOut, network.denyOut], [['1.1.1.1', '8.8.8.0/24'], [all]])
      assert.equal(await refused(sandbox, `http://${address}/`), 7) // Could not connect.
    }))

  test('the rules are replaced', { skip: noUpdate }, () =>
    withSandbox({ network: { allowOut: ['1.1.1.1'], denyOut: [all] } }, async (sandbox) => {
      await sandbox.updateNetwork({ denyOut: ['9.9.9.0/24'] })
      assert.deepEqual((await sandbox.getInfo()).network?.denyOut, ['9.9.9.0/24'])
      await sandbox.updateNetwork({ allowOut: ['1.1.1.1'], allowInternetAccess: false })
      const info = await sandbox.getInfo()
      assert.equal(info.allowInternetAccess, false)
      assert.deepEqual(info.network?.allowOut, ['1.1.1.1'])
      await sandbox.updateNetwork({})
      assert.equal((await sandbox.getInfo()).allowInternetAccess ?? true, true)
      assert.equal(await curl(sandbox, `http://${forbidden}/`), 'internet')
    }))

  test('create with names', () =>
    withSandbox({ network: { allowOut: [allowed, '1.1.1.1'], denyOut: ({ allTraffic }) => [allTraffic] } }, async (sandbox) => {
      const { network } = await sandbox.getInfo()
      assert.deepEqual([network.allowOut, network.denyOut], [[allowed, '1.1.1.1'], [all]])
      assert.equal(await curl(sandbox, `http://${allowed}/`), 'internet')
      assert.equal(await curl(sandbox, `https://${allowed}/`), 'internet')
      for (const scheme of ['http', 'https']) assert.equal(await refused(sandbox, `${scheme}://${forbidden}/`), 6) // No such name.
      const known = `--resolve ${forbidden}:80:${address} --resolve ${forbidden}:443:${address}`
      assert.ok(reset.includes(await refused(sandbox, `http://${forbidden}/`, known))) // Reset.
      assert.equal(await refused(sandbox, `https://${forbidden}/`, known), 35) // An alert in the handshake.
      assert.ok(reset.includes(await refused(sandbox, `http://${address}/`)))
      assert.equal(await refused(sandbox, `https://${address}/`), 35)
      assert.equal(await refused(sandbox, `http://${forbidden}:81/`, `--resolve ${forbidden}:81:11.22.33.44`), 7) // Could not connect.
    }))

  test('the names are replaced', { skip: noUpdate }, () =>
    withSandbox({ network: { allowOut: [allowed], denyOut: [all] } }, async (sandbox) => {
      await sandbox.updateNetwork({ allowOut: ['*.example'], denyOut: [all] })
      assert.deepEqual((await sandbox.getInfo()).network?.allowOut, ['*.example'])
      assert.equal(await curl(sandbox, `https://${forbidden}/`), 'internet')
      await rejects(sandbox.updateNetwork({ allowOut: [allowed] }), 'SandboxError', /^400: .*need denyOut/)
      await rejects(sandbox.updateNetwork({ allowOut: [allowed], denyOut: [all, forbidden] }), 'SandboxError', /^400: .*denyOut takes addresses/)
      assert.equal(await curl(sandbox, `http://${forbidden}/`), 'internet') // The rules are what they were.
      await sandbox.updateNetwork({ allowOut: [allowed], allowInternetAccess: false })
      assert.equal(await refused(sandbox, `http://${forbidden}/`), 6)
      assert.equal(await curl(sandbox, `https://${allowed}/`), 'internet')
      await sandbox.updateNetwork({ denyOut: [all] })
      assert.equal(await refused(sandbox, `https://${allowed}/`, `--resolve ${allowed}:443:${address}`), 7)
    }))

  test('a bundle of names', () =>
    withSandbox({ network: { allowOut: ['bundle:crates'], denyOut: ({ allTraffic }) => [allTraffic] } }, async (sandbox) => {
      assert.deepEqual((await sandbox.getInfo()).network.allowOut, ['bundle:crates'])
      assert.equal(await curl(sandbox, 'https://index.crates.io/config.json'), 'internet')
      for (const other of ['evil-crates.io', 'rubygems.org', allowed]) assert.equal(await refused(sandbox, `https://${other}/`), 6) // No such name.
      await rejects(Sandbox.create({ network: { allowOut: ['bundle:nothing'], denyOut: [all] } }), 'SandboxError', /^400: .*bundles are alpine, .*, pypi, /)
      await rejects(Sandbox.create({ network: { denyOut: [all, 'bundle:crates'] } }), 'SandboxError', /^400: .*denyOut takes addresses/)
      if (noUpdate) return
      await sandbox.updateNetwork({ allowOut: ['bundle:rubygems'], denyOut: [all] })
      assert.equal(await curl(sandbox, 'https://rubygems.org/'), 'internet')
      assert.equal(await refused(sandbox, 'https://index.crates.io/config.json'), 6)
    }))

  test('headers of requests', () =>
    withSandbox({
      network: {
        allowOut: ({ rules }) => [...rules.keys()], denyOut: [all],
        rules: { 'Allowed.example': [{ transform: { headers: { 'X-Key': 'one' } } }] },
      },
    }, async (sandbox) => {
      const trusted = (key) => sandbox.commands.run(`curl -sS -m 20 -H 'X-Key: mine' https://${allowed}/key`).then((r) => assert.match(r.stdout, of(key)))
      assert.deepEqual((await sandbox.getInfo()).network.rules, { [allowed]: [{ transform: { headers: { 'X-Key': 'one' } } }] })
      await trusted('one') // curl trusts the certificate.
      assert.match(await curl(sandbox, `http://${allowed}/key`), of('one'))
      assert.equal(await refused(sandbox, `https://${forbidden}/key`), 6)
      if (noUpdate) return
      await sandbox.updateNetwork({ rules: new Map([['*.example', [{ transform: { headers: { 'x-key': 'two' } } }]], ['allowed.example', []]]) })
      assert.match(await curl(sandbox, `https://${allowed}/key`), of('')) // A host counts before a wildcard, and has none.
      assert.match(await curl(sandbox, `http://${forbidden}/key`), of('two'))
      await sandbox.updateNetwork({ rules: { [allowed]: [{ transform: { headers: { 'X-Key': 'three' } } }] } })
      await trusted('three')
      await sandbox.updateNetwork({})
      assert.equal((await sandbox.getInfo()).network?.rules, undefined)
      assert.match(await curl(sandbox, `https://${allowed}/key`), of(''))
    }))

  test('a proxy', { skip: noUpdate }, () =>
    withSandbox({ network: { egressProxy: { address: `${address}:1081`, username: 'user', password: 'q7RwXs2-password' } } }, async (sandbox) => {
      assert.deepEqual((await sandbox.getInfo()).network.egressProxy, { address: `${address}:1081`, username: 'user' })
      assert.equal(await curl(sandbox, `http://${allowed}:8888/`), 'proxy') // Only the proxies find this port.
      assert.equal(await curl(sandbox, `https://${forbidden}/`), 'internet')
      await sandbox.updateNetwork({ allowOut: [allowed], denyOut: [all], egressProxy: { address: `${address}:1080` } })
      assert.deepEqual((await sandbox.getInfo()).network.egressProxy, { address: `${address}:1080` })
      assert.equal(await curl(sandbox, `http://${allowed}:8888/`), 'proxy')
      assert.ok(reset.includes(await refused(sandbox, `http://${forbidden}/`, `--resolve ${forbidden}:80:${address}`)))
      await sandbox.updateNetwork({ egressProxy: { address: `${address}:1081` } }) // It wants a password: nothing goes past it.
      assert.ok(reset.includes(await refused(sandbox, `http://${address}/`)))
      await sandbox.updateNetwork({})
      assert.equal((await sandbox.getInfo()).network?.egressProxy, undefined)
      assert.equal(await refused(sandbox, `http://${address}:8888/`), 7)
    }))

  test('proxies that cannot be', { skip: noUpdate }, async () => {
    for (const [bad, why] of [
      [{ address: 'proxy.example' }, /HOST:PORT/], [{ address: '10.0.0.1:1080' }, /do not reach 10.0.0.1/], [{ address: '127.0.0.1:1080' }, /do not reach/],
      [{ address: `${address}:1`, username: 'u'.repeat(256) }, /255 bytes/], [{ address: `${address}:1`, password: 'p' }, /user name/],
    ]) {
      await rejects(Sandbox.create({ network: { egressProxy: bad } }), 'SandboxError', new RegExp(`^400: .*${why.source}`))
    }
  })

  test('rules that cannot be', async () => {
    const headers = (headers) => ({ network: { rules: { [allowed]: [{ transform: { headers } }] } } })
    for (const [bad, why] of [[{ 'A B': 'x' }, /name of a header/], [{ A: 'x\ny' }, /value of A/], [{ Host: 'x' }, /Host belongs/], [{ A: 'x'.repeat(2049) }, /2049 bytes/]]) {
      await rejects(Sandbox.create(headers(bad)), 'SandboxError', new RegExp(`^400: .*${why.source}`))
    }
    await rejects(Sandbox.create({ network: { rules: { '*': [] } } }), 'SandboxError', /^400: .*not a host name/)
    await rejects(Sandbox.create({ network: { rules: { [allowed]: [{}, {}] } } }), 'SandboxError', /^400: .*2 rules/)
    const names = { allowOut: [allowed] }
    await rejects(Sandbox.create({ network: { denyOut: [forbidden] } }), 'SandboxError', /^400: .*denyOut takes addresses/)
    await rejects(Sandbox.create({ network: { ...names, denyOut: [all, forbidden] } }), 'SandboxError', /^400: .*denyOut takes addresses/)
    for (const denyOut of [undefined, [], [address]]) {
      await rejects(Sandbox.create({ network: { ...names, denyOut } }), 'SandboxError', /^400: .*need denyOut/)
    }
    for (const name of ['a..example', '*.*', 'http://a.example', '']) {
      await rejects(Sandbox.create({ network: { allowOut: [name], denyOut: [all] } }), 'SandboxError', /^400: .*host name/)
    }
  })
})
