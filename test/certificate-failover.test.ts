import { spawn } from 'node:child_process';
import { rename, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wardgate } from './support/command.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { configuration, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { answerOcsp, createAuthority, issueCertificate, issueCrl, readOcspRequest, rsaKey, testPki, type Authority, type CertificateOptions, type Issued, type OcspStatus, type TestPki } from './support/pki.ts';

const DAY = 86_400_000;
const MUST_STAPLE = { oid: '1.3.6.1.5.5.7.1.24', critical: false, value: Buffer.from('3003020105', 'hex') };

let pki: TestPki;
/** Of two CAs for the same name. */
let first: Authority;
let second: Authority;
let backend: Backend;
let gateway: TestGateway;
let responder: Server;
let responderUrl: string;
/** What the responder says of a serial; silence where it is not told. */
const said = new Map<string, OcspStatus>();
let asked = 0;
let standby: Issued;

beforeAll(async () => {
  pki = await testPki();
  [first, second] = await Promise.all([createAuthority({ name: 'First CA' }), createAuthority({ name: 'Second CA' })]);
  responder = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      asked++;
      const question = Buffer.concat(parts);
      const status = said.get(readOcspRequest(question).certificates[0]?.serialHex ?? '');
      if (status === undefined) return void response.writeHead(503).end();
      void answerOcsp(question, { authority: first, statusOf: () => status, nextUpdate: Date.now() + DAY, thisUpdate: Date.now() - 1_000 }).then((answer) => response.end(answer));
    });
  });
  await new Promise<void>((done) => responder.listen(0, '127.0.0.1', done));
  responderUrl = `http://127.0.0.1:${(responder.address() as AddressInfo).port}/`;
  backend = await startBackend(pki);
  standby = await issue(second);
  const main = await issue(first);
  const rsa = await issue(first, { key: await rsaKey(), ocsp: responderUrl });
  said.set(rsa.serialHex, { kind: 'good' });
  gateway = await startGateway(pki, backend.port, {
    listeners: listenerOf(true), top: 'metrics: { address: 127.0.0.1:0 }',
    revocation: '{ sources: [crl], allow_local: true, crl: { files: [issuing.crl, root.crl, first.crl] } }',
    files: {
      'main.pem': main.chain, 'main.key': main.key, 'standby.pem': standby.chain, 'standby.key': standby.key, 'rsa.pem': rsa.chain, 'rsa.key': rsa.key,
      'roots.pem': first.certificate + second.certificate, 'first.crl': toPem(await issueCrl(first, {})),
    },
  });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
  responder.close();
});

function listenerOf(stapling: boolean): string {
  return `
  - name: clinical
    address: 127.0.0.1:0
    tls:
      certificates:
        - { certificate: main.pem, key: main.key }
        - { certificate: standby.pem, key: standby.key }
        - { certificate: rsa.pem, key: rsa.key }
      roots: [roots.pem]
      stapling: ${stapling ? '{ every: 1s }' : 'false'}
    client_auth: { mode: optional, trust: [root.pem], intermediates: [issuing.pem] }`;
}

function toPem(der: Uint8Array): string {
  return `-----BEGIN X509 CRL-----\n${Buffer.from(der).toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END X509 CRL-----\n`;
}

function issue(authority: Authority, options: Partial<CertificateOptions> = {}): Promise<Issued> {
  return issueCertificate(authority, { subject: [['CN', 'localhost']], san: { dns: ['localhost'] }, eku: ['serverAuth'], ...options });
}

async function replace(name: string, issued: Issued): Promise<void> {
  for (const [suffix, text] of [['key', issued.key], ['pem', issued.chain]] as const) {
    await writeFile(gateway.path('next'), text, { mode: 0o600 });
    await rename(gateway.path('next'), gateway.path(`${name}.${suffix}`));
  }
  await gateway.gateway.reloadCertificates();
}

const trusted = (): string => first.certificate + second.certificate;

/** The serial numbers that sixteen connections are shown, each once. */
async function served(): Promise<readonly string[]> {
  const found = await Promise.all(Array.from({ length: 16 }, async () => {
    // why: which certificate is shown is asked, whatever is wrong with it; the gateway's choice is what is tested.
    const socket = await openTls(pki, gateway.port, { sigalgs: 'ECDSA+SHA256', rejectUnauthorized: false });
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber.toLowerCase();
  }));
  return [...new Set(found)];
}

interface Shown {
  readonly serial: string;
  readonly ocsp: string;
  readonly verified: boolean;
}

/** What `openssl s_client -status` is shown. */
function status(args: readonly string[]): Promise<Shown> {
  return new Promise((done) => {
    const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${gateway.port}`, '-servername', 'localhost', '-status', '-CAfile', gateway.path('roots.pem'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString(); });
    child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString(); });
    child.on('close', () => done({
      serial: /Serial Number: ([0-9A-F]+)/.exec(output)?.[1]?.toLowerCase() ?? '',
      ocsp: /Cert Status: (\w+)/.exec(output)?.[1] ?? /OCSP response: (.*)/.exec(output)?.[1] ?? '',
      verified: output.includes('Verify return code: 0 (ok)'),
    }));
  });
}

const state = async (file: string): Promise<unknown> => {
  const found = (await gateway.gateway.status()).certificates.servers.find(({ certificate }) => certificate === file);
  return found === undefined ? undefined : `${found.state}, ${found.serving ? 'serves' : 'stands by'}`;
};

describe('a certificate of another CA takes over', () => {
  it('in time when the first expires, while open connections stay; the first comes back when it is replaced', async () => {
    const open = await openTls(pki, gateway.port, { ca: trusted(), client: pki.doctor });
    const expiring = await issue(first, { notAfter: Date.now() + 3_000 });
    await replace('main', expiring);
    await expect.poll(served).toEqual([standby.serialHex]);
    // Nobody is shown one that has expired; only a machine that is very busy is later.
    expect(Date.now()).toBeLessThan(expiring.notAfter + 10_000);
    expect(await exchange(open, 'GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'))).toMatch(/^HTTP\/1\.1 200 /);
    open.destroy();
    expect(await state('main.pem')).toBe('expired, stands by');
    const { stdout } = await wardgate(['status', '-c', gateway.path('wardgate.yaml')]);
    expect(stdout).toMatch(/server {6}clinical main\.pem \(ec, until .*\): stands by, NOT USABLE \(expired\): its time is over at /);
    const text = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
    expect(text).toContain('wardgate_server_certificate_state{listener="clinical",name="main.pem",state="expired"} 1');
    expect(text).toContain('wardgate_server_certificate_serving{listener="clinical",name="standby.pem"} 1');
    const records = await gateway.records();
    expect(records.find(({ detail }) => String(detail).includes('main.pem is not usable'))).toMatchObject({ event: 'configuration', result: 'failed', listener: 'clinical', alarm: 'server_certificate', detail: expect.stringContaining('; it stands by, and standby.pem serves') as unknown });
    const next = await issue(first);
    await replace('main', next);
    await expect.poll(served).toEqual([next.serialHex]);
    expect(await state('standby.pem')).toBe('usable, stands by');
  });

  it('when the first is put on the deny list, and the first comes back when it is taken off', async () => {
    const next = await issue(first);
    await replace('main', next);
    const subject = { kind: 'fingerprint', fingerprint: next.sha256 } as const;
    await gateway.gateway.deny({ ...subject, reason: 'key copied', who: 'test' });
    await expect.poll(served).toEqual([standby.serialHex]);
    expect(await state('main.pem')).toBe('revoked, stands by');
    await gateway.gateway.reinstate(subject, 'test');
    await expect.poll(served).toEqual([next.serialHex]);
  });

  it('when a CRL lists the first', async () => {
    const next = await issue(first);
    await replace('main', next);
    expect(await served()).toEqual([next.serialHex]);
    await writeFile(gateway.path('first.crl'), toPem(await issueCrl(first, { number: 2, revoked: [{ serial: next.serialHex, reason: 'keyCompromise' }] })));
    await expect.poll(served).toEqual([standby.serialHex]);
  });

  it('when its responder says that the first is revoked, and back when a hold is lifted', async () => {
    const next = await issue(first, { ocsp: responderUrl });
    said.set(next.serialHex, { kind: 'good' });
    await replace('main', next);
    expect(await served()).toEqual([next.serialHex]);
    said.set(next.serialHex, { kind: 'revoked', at: Date.now() - 5_000, reason: 'certificateHold' });
    await expect.poll(served).toEqual([standby.serialHex]);
    said.set(next.serialHex, { kind: 'good' });
    await expect.poll(served).toEqual([next.serialHex]);
  });

  it('when the first no longer verifies to a root', async () => {
    const stranger = await createAuthority({ name: 'First CA' });
    const next = await issue(stranger);
    await replace('main', next);
    expect(await served()).toEqual([standby.serialHex]);
    expect(await state('main.pem')).toBe('unverified, stands by');
  });

  it('and when none is usable the least bad serves on', async () => {
    const [one, other] = await Promise.all([issue(first, { notAfter: Date.now() - 1_000 }), issue(second)]);
    await replace('main', one);
    await replace('standby', other);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: other.sha256, reason: 'key copied', who: 'test' });
    // For those who know no RSA.
    const { certificates } = await gateway.gateway.status();
    expect(certificates.servers.map(({ certificate, state: found }) => `${certificate} ${found}`)).toEqual(['main.pem expired', 'standby.pem revoked', 'rsa.pem usable']);
    await replace('standby', standby);
    await replace('main', await issue(first));
  });
});

describe('OCSP answers', () => {
  it('are shown for the certificate that serves, whichever of two key types it is', async () => {
    const main = await issue(first, { ocsp: responderUrl });
    said.set(main.serialHex, { kind: 'good' });
    await replace('main', main);
    await expect.poll(async () => (await status(['-sigalgs', 'ECDSA+SHA256'])).ocsp).toBe('good');
    const rsa = (await gateway.gateway.status()).certificates.servers.find(({ certificate }) => certificate === 'rsa.pem');
    expect(rsa?.ocsp?.shown_until).toBeDefined();
    for (const [args, type] of [
      [[], 'ec'], [['-sigalgs', 'RSA-PSS+SHA256'], 'rsa'], [['-tls1_2'], 'ec'], [['-tls1_2', '-cipher', 'ECDHE-RSA-AES256-GCM-SHA384'], 'rsa'], [['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384'], 'ec'],
    ] as const) {
      const shown = await status(args);
      expect(shown).toMatchObject({ ocsp: 'good', verified: true });
      if (type === 'ec') expect(shown.serial).toBe(main.serialHex);
      else expect(shown.serial).not.toBe(main.serialHex);
    }
  });

  it('are not shown when the responder has nothing but old ones, says that it is revoked, or says nothing', async () => {
    const silent = await issue(first, { ocsp: responderUrl });
    await replace('main', silent);
    expect(await status(['-sigalgs', 'ECDSA+SHA256'])).toMatchObject({ ocsp: 'no response sent', verified: true });
    expect((await wardgate(['status', '-c', gateway.path('wardgate.yaml')])).stdout).toMatch(/main\.pem .*: serves, no OCSP answer/);
  });

  it('that a certificate demands are waited for: without one it stands by, with one it serves at once', async () => {
    const [without, demanding] = await Promise.all([issue(first, { ocsp: responderUrl, extensions: [MUST_STAPLE] }), issue(first, { ocsp: responderUrl, extensions: [MUST_STAPLE] })]);
    await replace('main', without);
    expect(await served()).toEqual([standby.serialHex]);
    said.set(demanding.serialHex, { kind: 'good' });
    await replace('main', demanding);
    expect(await served()).toEqual([demanding.serialHex]);
    expect(await status(['-sigalgs', 'ECDSA+SHA256'])).toMatchObject({ serial: demanding.serialHex, ocsp: 'good' });
  });

  it('are fetched again ahead of their end, and no responder is asked where stapling is off', async () => {
    const before = asked;
    await expect.poll(() => asked).toBeGreaterThan(before + 1);
    await gateway.configure(configuration(backend.port, { listeners: listenerOf(false), top: 'metrics: { address: 127.0.0.1:0 }' }));
    await gateway.gateway.reload();
    expect((await status(['-sigalgs', 'ECDSA+SHA256'])).ocsp).toBe('no response sent');
    expect((await gateway.gateway.status()).certificates.servers.map(({ ocsp }) => ocsp)).toEqual([undefined, undefined, undefined]);
  });
});
