import { spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerIn } from '../src/cli/acme/answers.ts';
import { judgeChain } from '../src/cli/acme/judge.ts';
import { challengeAnswer } from '../src/tls/challenge-answer.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate, type CommandRun } from './support/command.ts';
import { listener, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { pebbleInstalled, startPebble, type Pebble } from './support/pebble.ts';
import { testPki, type TestPki } from './support/pki.ts';

if (!pebbleInstalled) console.log('skipped: parts of acme.test.ts need pebble');

const BINDING = { kid: 'hospital-1', key: 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W' };

let pki: TestPki;
const folder = mkdtempSync(join(tmpdir(), 'wardgate-acme-'));
const file = (name: string): string => join(folder, name);
beforeAll(async () => {
  pki = await testPki();
  writeFileSync(file('root.pem'), pki.root.certificate);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Asks for a certificate in files of its own. */
function acme(directory: string, files: string, ...more: readonly string[]): Promise<CommandRun> {
  return wardgate(['acme', '--directory', directory, '--trust', file('root.pem'), '--name', 'api.hospital.test', '--certificate', file(`${files}.pem`), '--key', file(`${files}.key`), '--account', file('account.pem'), ...more]);
}

function held(certificate: string, key: string): X509Certificate {
  const leaf = new X509Certificate(readFileSync(certificate));
  expect(leaf.checkPrivateKey(createPrivateKey(readFileSync(key)))).toBe(true);
  return leaf;
}

describe.skipIf(!pebbleInstalled)('from a strict ACME server', () => {
  let pebble: Pebble;
  let http: readonly string[];
  beforeAll(async () => {
    pebble = await startPebble(pki, folder);
    http = ['--http', `127.0.0.1:${pebble.httpPort}`];
  });
  afterAll(() => pebble.stop());

  it('makes no account before somebody has accepted the terms', async () => {
    expect(await acme(pebble.directory, 'terms', ...http)).toMatchObject({ code: 1, stderr: expect.stringMatching(/terms of service: read .*--agree-terms/) as string });
    expect(readdirSync(folder)).not.toContain('terms.pem');
  });

  it('obtains a certificate for every name, its key for the owner alone, and then has nothing to do until it is due', async () => {
    const run = await acme(pebble.directory, 'first', '--name', 'emergency.hospital.test', '--agree-terms', ...http);
    expect(run).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('obtained') as string });
    expect(held(file('first.pem'), file('first.key')).subjectAltName?.split(', ').toSorted()).toEqual(['DNS:api.hospital.test', 'DNS:emergency.hospital.test']);
    expect([file('first.key'), file('account.pem')].map((name) => statSync(name).mode & 0o777)).toEqual([0o600, 0o600]);
    expect(readFileSync(file('first.pem'), 'utf8').match(/BEGIN CERTIFICATE/g)?.length).toBeGreaterThan(1);
    expect(await acme(pebble.directory, 'first', '--dry-run')).toMatchObject({ code: 0, stdout: expect.stringMatching(/not due before/) as string });
    // Nobody is asked: the directory is nowhere.
    expect(await acme('https://127.0.0.1:1/dir', 'first')).toMatchObject({ code: 0, stdout: expect.stringMatching(/not due before/) as string });
  });

  it('renews with a new key through links that swap both files in one step, with the account it has', async () => {
    expect((await acme(pebble.directory, 'second', '--agree-terms', ...http)).code).toBe(0);
    const before = held(file('second.pem'), file('second.key'));
    expect(await acme(pebble.directory, 'second', '--before', '9000d', ...http)).toMatchObject({ code: 0, stderr: '' });
    const after = held(file('second.pem'), file('second.key'));
    expect(after.serialNumber).not.toBe(before.serialNumber);
    expect(after.publicKey.equals(before.publicKey)).toBe(false);
    expect([file('second.pem'), file('second.key')].map((name) => lstatSync(name).isSymbolicLink())).toEqual([true, true]);
  });

  it('renews at once when a name is new', async () => {
    expect((await acme(pebble.directory, 'third', '--agree-terms', ...http)).code).toBe(0);
    expect((await acme(pebble.directory, 'third', '--name', 'lab.hospital.test', ...http)).stdout).toContain('obtained');
    expect(held(file('third.pem'), file('third.key')).checkHost('lab.hospital.test')).toBeDefined();
  });

  it('keeps the old pair, and says why, when the CA cannot see the answer', async () => {
    expect((await acme(pebble.directory, 'fourth', '--agree-terms', ...http)).code).toBe(0);
    const before = held(file('fourth.pem'), file('fourth.key')).serialNumber;
    const run = await acme(pebble.directory, 'fourth', '--now', '--http', '127.0.0.1:0');
    expect(run).toMatchObject({ code: 1, stderr: expect.stringMatching(/proof for api\.hospital\.test: connection: .*the old pair stays/) as string });
    expect(held(file('fourth.pem'), file('fourth.key')).serialNumber).toBe(before);
  });

  it('believes no server but one of the CAs it was given', async () => {
    writeFileSync(file('other-root.pem'), pki.backendCa.certificate);
    expect(await acme(pebble.directory, 'stranger', '--trust', file('other-root.pem'), ...http)).toMatchObject({ code: 1, stderr: expect.stringMatching(/self-signed certificate|unable to/) as string });
  });
});

describe.skipIf(!pebbleInstalled)('for a gateway that has the plain port, from a CA that wants to know whom an account is of', () => {
  let backend: Backend;
  let gateway: TestGateway;
  let pebble: Pebble;
  beforeAll(async () => {
    backend = await startBackend(pki, (_request, response) => void response.end('hello'));
    gateway = await startGateway(pki, backend.port, { listeners: `${listener('clinical')}\n  - { name: plain, address: 127.0.0.1:0, protocol: redirect, webroot: acme }` });
    pebble = await startPebble(pki, folder, { binding: BINDING, httpPort: gateway.gateway.listeners[1]?.port as number });
  });
  afterAll(async () => {
    pebble.stop();
    await gateway.stop();
    await backend.close();
  });

  it('obtains a certificate with its key identifier and MAC key, and not without or with another', async () => {
    const more = ['--agree-terms', '--webroot', gateway.path('acme')];
    writeFileSync(file('eab.key'), `${BINDING.key}\n`);
    writeFileSync(file('wrong.key'), BINDING.key.toLowerCase());
    expect(await acme(pebble.directory, 'bound', ...more)).toMatchObject({ code: 1, stderr: expect.stringContaining('--eab-kid') as string });
    expect((await acme(pebble.directory, 'bound', ...more, '--eab-kid', BINDING.kid, '--eab-key-file', file('wrong.key'))).code).toBe(1);
    expect(await acme(pebble.directory, 'bound', ...more, '--eab-kid', BINDING.kid, '--eab-key-file', file('eab.key'))).toMatchObject({ code: 0, stderr: '' });
    expect(await acme(pebble.directory, 'bound', ...more, '--now'), 'the account is known from then on').toMatchObject({ code: 0, stderr: '' });
  });

  it('replaces what the gateway serves, without a restart, and leaves no answer behind', async () => {
    const run = await wardgate(['acme', '--directory', pebble.directory, '--trust', file('root.pem'), '--name', 'api.hospital.test', '--certificate', gateway.path('server-ec.pem'), '--key', gateway.path('server-ec.key'),
      '--account', file('account.pem'), '--webroot', gateway.path('acme'), '--eab-kid', BINDING.kid, '--eab-key-file', file('eab.key'), '--agree-terms']);
    expect(run).toMatchObject({ code: 0, stderr: '' });
    const obtained = held(gateway.path('server-ec.pem'), gateway.path('server-ec.key')).serialNumber;
    const ca = await pebble.root();
    await expect.poll(async () => {
      // Verified up to the CA's own root; what was served before is not of that CA.
      const socket = await openTls(pki, gateway.port, { ca, servername: 'api.hospital.test', sigalgs: 'ECDSA+SHA256' }).catch(() => undefined);
      const serial = socket?.getPeerCertificate().serialNumber;
      socket?.destroy();
      return serial;
    }).toBe(obtained);
    expect(readdirSync(gateway.path('acme/.well-known/acme-challenge'))).toEqual([]);
  });

  it('the plain port sends everything else to https as before, and on its way to no file', async () => {
    const port = gateway.gateway.listeners[1]?.port as number;
    writeFileSync(gateway.path('acme/.well-known/acme-challenge/note'), 'not for everybody');
    for (const path of ['note', 'missing', '', '../../wardgate.yaml', '..%2f..%2fwardgate.yaml']) {
      const url = `/.well-known/acme-challenge/${path}`;
      const status = await new Promise((done, fail) => get({ port, host: '127.0.0.1', path: url, headers: { host: 'api.hospital.test' } }, (response) => done(response.resume().statusCode)).on('error', fail));
      expect([308, 400], path).toContain(status);
    }
  });
});

describe('the answer to a challenge', () => {
  const THUMBPRINT = 'A'.repeat(43);
  const root = join(folder, 'webroot');
  const place = (token: string): string => join(root, '.well-known/acme-challenge', token);
  const asked = (token: string, method = 'GET'): string | undefined => challengeAnswer(root, method, `/.well-known/acme-challenge/${token}`);
  beforeAll(() => mkdirSync(place(''), { recursive: true }));

  it('is given as it lies there, with or without an end of its line', () => {
    writeFileSync(place('token-1'), `token-1.${THUMBPRINT}`);
    writeFileSync(place('token_2'), `token_2.${THUMBPRINT}\n`);
    expect([asked('token-1'), asked('token_2', 'HEAD')]).toEqual([`token-1.${THUMBPRINT}`, `token_2.${THUMBPRINT}`]);
    expect([asked('token-1', 'POST'), asked('token-1?a=b'), asked('token-1/'), asked('./token-1')]).toEqual([undefined, undefined, undefined, undefined]);
  });

  it('may have been left by a run that was killed; nothing else in its place is written over', () => {
    const answers = answerIn(file('left'));
    answers.show('token', 'token.thumb');
    answers.show('token', 'token.thumb');
    expect(() => answers.show('token', 'token.other')).toThrow('EEXIST');
    answers.hide('token');
    symlinkSync('nowhere', file('left/.well-known/acme-challenge/token'));
    expect(() => answers.show('token', 'token.thumb')).toThrow('EEXIST');
  });

  it('is none of another form, of another token, behind a link or in a pipe', () => {
    writeFileSync(place('secret'), '-----BEGIN PRIVATE KEY-----');
    writeFileSync(place('other'), `token-1.${THUMBPRINT}`);
    writeFileSync(place('long'), `long.${THUMBPRINT}${'A'.repeat(1000)}`);
    writeFileSync(join(folder, 'linked'), `linked.${THUMBPRINT}`);
    symlinkSync(join(folder, 'linked'), place('linked'));
    spawnSync('mkfifo', [place('pipe')]);
    mkdirSync(place('directory'));
    expect(['secret', 'other', 'long', 'linked', 'pipe', 'directory', 'missing'].map((token) => asked(token))).toEqual(Array.from({ length: 7 }));
  });
});

describe('a hostile ACME server', () => {
  let server: Server;
  let base: string;
  let token: string;
  let newOrder: string;
  let after: string | undefined;
  beforeAll(async () => {
    server = createServer({ cert: pki.serverEc.chain, key: pki.serverEc.key }, (request, response) => {
      const answers: Record<string, object> = {
        '/dir': { newNonce: `${base}/nonce`, newAccount: `${base}/account`, newOrder },
        '/order': { status: 'pending', authorizations: [`${base}/authorization`], finalize: `${base}/finalize` },
        '/authorization': { status: 'pending', identifier: { value: 'api.hospital.test' }, challenges: [{ type: 'http-01', url: `${base}/challenge`, token }] },
      };
      request.resume();
      if (after !== undefined && request.url === '/order') response.setHeader('retry-after', after).statusCode = 429;
      response.setHeader('replay-nonce', 'abc').setHeader('location', `${base}/order`).end(JSON.stringify(answers[request.url ?? ''] ?? {}));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    base = `https://localhost:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => new Promise((done) => server.close(done)));

  it('writes no file of a name that it likes', async () => {
    newOrder = `${base}/order`;
    for (token of ['../../../evil', 'a/b', '.', 'a.b', '']) {
      expect(await acme(`${base}/dir`, 'hostile', '--webroot', file('hostile')), token).toMatchObject({ code: 1, stderr: expect.stringContaining("the CA's token is none") as string });
    }
    expect(readdirSync(folder).filter((name) => name.startsWith('evil') || name === 'hostile.pem')).toEqual([]);
  });

  it('leads nobody out of TLS, and steers no terminal by what it calls an address', async () => {
    newOrder = `${base.replace('https:', 'http:')}/\u001b[2J`;
    const run = await acme(`${base}/dir`, 'hostile', '--webroot', file('hostile'));
    expect(run).toMatchObject({ code: 1, stderr: expect.stringContaining('no https URL') as string });
    expect(run.stderr).not.toContain('\u001b');
  });

  it('asks for no pause that cannot be said', async () => {
    newOrder = `${base}/order`;
    after = '9'.repeat(20);
    expect(await acme(`${base}/dir`, 'hostile', '--webroot', file('hostile'))).toMatchObject({ code: 1, stderr: expect.stringMatching(/status 429.*; not before 20\d\d-/) as string });
    after = undefined;
  });
});

describe('what a CA answers', () => {
  it('is taken when it is of the new key, for every name, valid, and holds together, and for no other reason', () => {
    const { chain, key } = pki.serverEc;
    const judged = (answered: string, names = ['localhost'], now = Date.now(), of = key) => {
      const verdict = judgeChain(answered, createPrivateKey(of), names, now);
      return verdict.kind === 'good' ? 'good' : verdict.detail;
    };
    expect(judged(chain)).toBe('good');
    expect(judged(chain, ['localhost'], Date.now(), pki.serverRsa.key)).toContain('our key');
    expect(judged(chain, ['localhost', 'api.other.test'])).toContain('is not for api.other.test');
    expect(judged(chain, ['localhost'], Date.now() + 50 * 365 * 86_400_000)).toContain('does not hold together');
    expect(judged(`${pki.serverEc.certificate}${pki.backendCa.certificate}`)).toContain('does not hold together');
    expect(judged('')).toContain('no chain');
    expect(judged(chain.replace('MII', 'M!!'))).toContain('cannot be read');
  });
});

describe('the command line', () => {
  it.each([
    [['--name', '*.hospital.test'], 'dns-01'],
    [['--name', '10.1.0.5'], 'no DNS name'],
    [['--name', '../etc'], 'no DNS name'],
    [['--directory', 'http://ca.hospital.test/dir'], 'no https URL'],
    [['--http', ':80'], 'no address'],
    [['--key-type', 'dsa'], 'none of'],
    [['--eab-kid', 'K17'], 'belong together'],
  ])('refuses %s', async (more, said) => {
    expect(await acme('https://ca.hospital.test/dir', 'refused', ...more)).toMatchObject({ code: 2, stderr: expect.stringContaining(said) as string });
  });
});

describe('the units that ship', () => {
  const units = join(import.meta.dirname, '../deploy/systemd');
  const names = ['wardgate-acme.service', 'wardgate-acme.timer'];
  const hasSystemd = spawnSync('systemd-analyze', ['--version']).error === undefined;
  if (!hasSystemd) console.log('skipped: part of acme.test.ts needs systemd-analyze (systemd)');

  it('name options that the command has', async () => {
    const [, command = ''] = /^ExecStart=\/usr\/local\/bin\/wardgate (acme (?:.*\\\n)*.*)$/m.exec(readFileSync(join(units, 'wardgate-acme.service'), 'utf8')) ?? [];
    const { stdout } = await wardgate(['acme', '--help']);
    const options = [...command.matchAll(/ (--[a-z-]+)/g)].map(([, option = '']) => option);
    expect(options).toContain('--agree-terms');
    expect(options.filter((option) => !stdout.includes(option))).toEqual([]);
  });

  it.skipIf(!hasSystemd)('are units that systemd takes', () => {
    const copy = mkdtempSync(join(folder, 'units-'));
    // It looks for the program.
    for (const name of names) writeFileSync(join(copy, name), readFileSync(join(units, name), 'utf8').replaceAll('/usr/local/bin/wardgate', '/bin/true'));
    const { stderr } = spawnSync('systemd-analyze', ['verify', ...names.map((name) => join(copy, name))], { encoding: 'utf8' });
    expect(stderr.split('\n').filter((line) => line.includes('wardgate'))).toEqual([]);
  });
});
