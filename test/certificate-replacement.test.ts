import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { wardgate } from './support/command.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, configuration, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { createAuthority, issueCertificate, issueCrl, testPki, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
/** Fingerprints of the gateway's certificates that the upstream was shown. */
const shown: string[] = [];

const LISTENERS = `
  - name: clinical
    address: 127.0.0.1:0
    tls:
      certificates:
        - { certificate: server-ec.pem, key: server-ec.key }
        - { certificate: volume/tls.crt, key: volume/tls.key }
    client_auth: { mode: optional, trust: [root.pem], intermediates: [issuing.pem] }`;
const PARTS = { listeners: LISTENERS, top: 'metrics: { address: 127.0.0.1:0 }' };

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response) => {
    shown.push((request.socket as TLSSocket).getPeerX509Certificate()?.fingerprint256 ?? '');
    // A connection a request, so that each shows the certificate in force.
    response.setHeader('connection', 'close').end('hello');
  });
  gateway = await startGateway(pki, backend.port, { top: PARTS.top });
  await mkdir(gateway.path('volume'));
  await volume(1, pki.serverRsa);
  await symlink('..data/tls.crt', gateway.path('volume/tls.crt'));
  await symlink('..data/tls.key', gateway.path('volume/tls.key'));
  await gateway.configure(configuration(backend.port, PARTS));
  await gateway.gateway.reload();
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

/** Mounts what a secret of Kubernetes holds: a new directory, and a link that is swapped. */
async function volume(turn: number, { chain, key }: Issued): Promise<void> {
  const directory = gateway.path(`volume/..${turn}`);
  await mkdir(directory);
  await Promise.all([writeFile(`${directory}/tls.crt`, chain), writeFile(`${directory}/tls.key`, key, { mode: 0o600 })]);
  await symlink(`..${turn}`, gateway.path('volume/..data_tmp'));
  await rename(gateway.path('volume/..data_tmp'), gateway.path('volume/..data'));
}

/** Writes a file as tools that know how do: beside, then in its place. */
async function replaceFile(name: string, text: string): Promise<void> {
  await writeFile(gateway.path(`${name}.new`), text, { mode: 0o600 });
  await rename(gateway.path(`${name}.new`), gateway.path(name));
}

function issueServer(key: { key: string } | object = {}): Promise<Issued> {
  return issueCertificate(pki.issuing, { subject: [['CN', 'localhost']], san: { dns: ['localhost'], ip: ['127.0.0.1'] }, eku: ['serverAuth'], ...key });
}

/** The serial number of what the gateway serves to a client of a key type. */
async function served(type: 'ECDSA' | 'RSA' = 'ECDSA'): Promise<string> {
  const socket = await openTls(pki, gateway.port, { sigalgs: type === 'ECDSA' ? 'ECDSA+SHA256' : 'RSA-PSS+SHA256' });
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber.toLowerCase();
}

const served16 = async (): Promise<readonly string[]> => [...new Set(await Promise.all(Array.from({ length: 16 }, () => served())))];
const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();

it('serves a certificate that was replaced, on every thread, and drops no connection for it', async () => {
  const open = await openTls(pki, gateway.port, { client: pki.doctor });
  const next = await issueServer();
  await replaceFile('server-ec.key', next.key);
  await replaceFile('server-ec.pem', next.chain);
  await expect.poll(served16).toEqual([next.serialHex]);
  const answer = await exchange(open, 'GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'));
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  open.destroy();
  // Every thread serves it before that is on record.
  await expect.poll(async () => (await gateway.records()).findLast(({ event }) => event === 'configuration')).toMatchObject({
    result: 'done', detail: expect.stringContaining(`read again: ${gateway.path('server-ec.key')}, ${gateway.path('server-ec.pem')}; configuration `) as unknown,
  });
});

it('serves what a volume holds since its link was swapped', async () => {
  const next = await issueServer({ key: pki.serverRsa.key });
  await volume(2, next);
  await expect.poll(() => served('RSA')).toBe(next.serialHex);
});

it('serves on with the old pair while a certificate has come without its key, says so, and takes both when the key has come', async () => {
  const before = await served();
  const next = await issueServer();
  await replaceFile('server-ec.pem', next.chain);
  await expect.poll(async () => (await gateway.gateway.status()).certificates.failing?.detail).toContain('"server-ec.key" is not the key of "server-ec.pem"');
  expect(await served16()).toEqual([before]);
  expect(await metrics()).toContain('wardgate_certificate_reloads_total{result="failed"} 1');
  const { stdout } = await wardgate(['status', '-c', gateway.path('wardgate.yaml')]);
  expect(stdout).toMatch(/NOT READ {4}since .*"server-ec.key" is not the key/);
  await replaceFile('server-ec.key', next.key);
  await expect.poll(served16).toEqual([next.serialHex]);
  await expect.poll(async () => (await gateway.gateway.status()).certificates.failing).toBeUndefined();
});

it('serves on while a file is gone, empty or half written', async () => {
  const before = await served();
  const whole = await readFile(gateway.path('server-ec.pem'), 'utf8');
  await rm(gateway.path('server-ec.pem'));
  await expect(gateway.gateway.reloadCertificates()).rejects.toThrow('"server-ec.pem": no such file');
  await writeFile(gateway.path('server-ec.pem'), '');
  await expect(gateway.gateway.reloadCertificates()).rejects.toThrow('"server-ec.pem" is empty');
  await writeFile(gateway.path('server-ec.pem'), whole.slice(0, 300));
  await expect(gateway.gateway.reloadCertificates()).rejects.toThrow('"server-ec.pem"');
  expect(await served16()).toEqual([before]);
  await writeFile(gateway.path('server-ec.pem'), whole);
  expect(await gateway.gateway.reloadCertificates()).toEqual([]);
});

it('reads certificates with the configuration in force, whatever its file has become', async () => {
  const text = await readFile(gateway.path('wardgate.yaml'), 'utf8');
  await writeFile(gateway.path('wardgate.yaml'), `${text}\nhalf_edit`);
  const next = await issueServer();
  await replaceFile('server-ec.key', next.key);
  await replaceFile('server-ec.pem', next.chain);
  await expect.poll(served16).toEqual([next.serialHex]);
  await writeFile(gateway.path('wardgate.yaml'), text);
});

it('shows upstreams its new client certificate', async () => {
  const next = await issueCertificate(pki.backendCa, { subject: [['CN', 'wardgate again'], ['OU', 'Gateways']] });
  await replaceFile('gateway.key', next.key);
  await replaceFile('gateway.pem', next.chain);
  await expect.poll(async () => {
    await ask(pki, gateway.port, '/records', { client: pki.doctor });
    return shown.at(-1)?.replaceAll(':', '').toLowerCase();
  }).toBe(next.sha256);
});

it('trusts the clients of a CA that was added to a file, and no longer those of one that was taken out', async () => {
  const other = await createAuthority({ name: [['CN', 'Other Root']] });
  const client = await issueCertificate(other, { subject: [['CN', 'Dr Zhou'], ['OU', 'Doctors']] });
  const refusal = async (): Promise<unknown> => {
    const { request_id: id } = (await ask(pki, gateway.port, '/echo/1', { client })).json();
    return (await gateway.records()).find((record) => record['request_id'] === id)?.['reason'];
  };
  expect(await refusal()).toBe('untrusted_issuer');
  await replaceFile('root.pem', pki.root.certificate + other.certificate);
  // Nobody says what its CA revoked: it is known, at least.
  await expect.poll(refusal).toBe('crl_missing');
  await replaceFile('root.pem', pki.root.certificate);
  await expect.poll(refusal).toBe('untrusted_issuer');
});

it('a CA that was taken out loses its trust, and a CRL that was replaced counts, also while a server certificate cannot be taken', async () => {
  const other = await createAuthority({ name: [['CN', 'Dismissed Root']] });
  const client = await issueCertificate(other, { subject: [['CN', 'Dr Li'], ['OU', 'Doctors']] });
  const refusal = async (who: Issued): Promise<unknown> => {
    const { request_id: id } = (await ask(pki, gateway.port, '/echo/1', { client: who })).json();
    return (await gateway.records()).find((record) => record['request_id'] === id)?.['reason'];
  };
  const before = await served();
  const whole = await readFile(gateway.path('server-ec.pem'), 'utf8');
  await replaceFile('root.pem', pki.root.certificate + other.certificate);
  await expect.poll(() => refusal(client)).toBe('crl_missing');
  await replaceFile('server-ec.pem', whole.slice(0, 300));
  await replaceFile('root.pem', pki.root.certificate);
  const dismissed = await issueCertificate(pki.issuing, { subject: [['CN', 'Dr Sun'], ['OU', 'Doctors']] });
  await writeFile(gateway.path('issuing.crl'), await issueCrl(pki.issuing, { revoked: [{ serial: dismissed.serialHex, reason: 'keyCompromise' }], number: 9 }));
  await expect.poll(() => refusal(client)).toBe('untrusted_issuer');
  await expect.poll(() => refusal(dismissed)).toBe('revoked_crl');
  const taken = async (): Promise<readonly unknown[]> => (await gateway.records()).flatMap(({ event, detail }) => (event === 'configuration' ? [detail] : []));
  await expect.poll(taken).toContainEqual(expect.stringContaining('read again: the CAs of clients alone, since other files cannot be taken'));
  expect((await gateway.gateway.status()).certificates.failing?.detail).toContain('"server-ec.pem"');
  // And back, which is what the digests had before: it must not be taken for nothing new.
  await replaceFile('root.pem', pki.root.certificate + other.certificate);
  await replaceFile('server-ec.pem', whole);
  await expect.poll(() => refusal(client)).toBe('crl_missing');
  expect(await served()).toBe(before);
  // The digest of what follows knows the CRL, too.
  await gateway.gateway.reload();
});

it('reads certificates at once when it is told to', async () => {
  const next = await issueServer();
  await Promise.all([replaceFile('server-ec.key', next.key), replaceFile('server-ec.pem', next.chain)]);
  const told = await wardgate(['reload', '--certificates', '-c', gateway.path('wardgate.yaml')]);
  expect(told).toMatchObject({ code: 0, stdout: `read again: ${gateway.path('server-ec.key')}, ${gateway.path('server-ec.pem')}\n` });
  expect(await served16()).toEqual([next.serialHex]);
  expect((await wardgate(['reload', '--certificates', '-c', gateway.path('wardgate.yaml')])).stdout).toBe('nothing has changed\n');
});

it('has the digest that a reload of everything has', async () => {
  const { digest } = (await gateway.gateway.status()).config;
  await gateway.gateway.reload();
  expect((await gateway.gateway.status()).config.digest).toBe(digest);
});

it('reads the configuration that a volume holds since its link was swapped, when it is told to', async () => {
  const link = async (target: string, name: string): Promise<void> => {
    await symlink(target, gateway.path(`${name}_tmp`));
    await rename(gateway.path(`${name}_tmp`), gateway.path(name));
  };
  const mount = async (turn: string, yaml: string): Promise<void> => {
    await mkdir(gateway.path(turn));
    await writeFile(gateway.path(`${turn}/wardgate.yaml`), yaml);
    await link(turn, '..configuration');
  };
  const before = (await gateway.gateway.status()).config.digest;
  await mount('..old', await readFile(gateway.path('wardgate.yaml'), 'utf8'));
  await link('..configuration/wardgate.yaml', 'wardgate.yaml');
  await gateway.gateway.reload();
  expect((await gateway.gateway.status()).config.digest).toBe(before);
  await mount('..new', configuration(backend.port, { ...PARTS, routes: '[{ name: gone, match: { path: /gone }, allow: [doctor], upstream: records }]' }));
  expect(await wardgate(['reload', '-c', gateway.path('wardgate.yaml')])).toMatchObject({ code: 0 });
  expect((await ask(pki, gateway.port, '/echo/1', { client: pki.doctor })).status).toBe(404);
  expect((await ask(pki, gateway.port, '/gone', { client: pki.doctor })).status).toBe(200);
});
