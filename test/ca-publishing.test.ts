import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openOffice } from '../src/ca/office.ts';
import { createOcspDesk } from '../src/ca/publish/ocsp-desk.ts';
import { startCaServer, type CaServer } from '../src/ca-server.ts';
import { SILENT } from '../src/log.ts';
import { readBundle } from '../src/pki/bundle.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { scanCrl } from '../src/pki/crl.ts';
import { buildOcspRequest, judgeOcspResponse } from '../src/pki/ocsp.ts';
import { testCa, type TestCa } from './support/ca.ts';
import { ask, startGateway } from './support/gateway.ts';
import { issueCertificate, testPki, type Issued, type TestPki } from './support/pki.ts';

const run = promisify(execFile);

let ca: TestCa;
let pki: TestPki;
let server: CaServer;
let url: string;
const certificateOf = (name: string) => parseCertificate(ca.first.get(name)?.entry.der as Buffer);
const issuing = () => parseCertificate(ca.office.issuer().der);

beforeAll(async () => {
  pki = await testPki();
  ca = await testCa(['Kiosk 1', 'Kiosk 2', 'Kiosk 3', 'Kiosk 4', 'Kiosk 5', 'Kiosk 6']);
  server = await startCaServer({ office: ca.office, publish: { host: '127.0.0.1', port: 0 }, log: SILENT });
  url = `http://127.0.0.1:${server.publish.port}`;
  await ca.write('issuing.pem', ca.office.issuer().certificate);
  await ca.write('root.pem', ca.office.root);
  for (const [name, { entry }] of ca.first) await ca.write(`${name.replace(' ', '-')}.pem`, entry.certificate);
});
afterAll(async () => {
  await server.stop();
  ca.remove();
});

interface Fetched {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: Buffer;
}

function fetched(path: string, options: { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: Uint8Array } = {}): Promise<Fetched> {
  return new Promise((done, failed) => {
    const { body, ...rest } = options;
    const outgoing = httpRequest(`${url}${path}`, { ...rest, agent: false }, (response) => {
      response.toArray().then((chunks) => done({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks as Buffer[]) }), failed);
    });
    outgoing.on('error', failed);
    outgoing.end(body);
  });
}

const post = (body: Uint8Array) => fetched('/ocsp', { method: 'POST', headers: { 'content-type': 'application/ocsp-request' }, body });

async function openssl(names: readonly string[], ...more: readonly string[]): Promise<string> {
  const { stdout, stderr } = await run('openssl', ['ocsp', '-url', `${url}/ocsp`, '-issuer', ca.path('issuing.pem'), '-CAfile', ca.path('root.pem'), '-verify_other', ca.path('issuing.pem'), ...names.flatMap((name) => ['-cert', ca.path(`${name}.pem`)]), ...more]);
  return stdout + stderr;
}

const judged = (der: Uint8Array, name: string, nonce?: Uint8Array) =>
  judgeOcspResponse(der, { certificate: certificateOf(name), issuer: issuing(), now: Date.now(), skew: 60_000, maxAge: 600_000, ...(nonce === undefined ? {} : { nonce, nonceRequired: true }) });

describe('the responder of the CA', () => {
  test('is believed by OpenSSL, with and without a nonce', async () => {
    expect(await openssl(['Kiosk-1'])).toMatch(/Response verify OK[^]*Kiosk-1\.pem: good|Kiosk-1\.pem: good[^]*Response verify OK/);
    const without = await openssl(['Kiosk-1'], '-no_nonce');
    expect(without).toContain('Response verify OK');
    expect(without).toContain('Kiosk-1.pem: good');
  });

  test('answers about several certificates in one', async () => {
    const printed = await openssl(['Kiosk-1', 'Kiosk-2']);
    expect(printed).toContain('Kiosk-1.pem: good');
    expect(printed).toContain('Kiosk-2.pem: good');
  });

  test('is fetched by curl with GET, and may be kept until it ends', async () => {
    await run('openssl', ['ocsp', '-issuer', ca.path('issuing.pem'), '-cert', ca.path('Kiosk-1.pem'), '-no_nonce', '-reqout', ca.path('request.der')]);
    const question = buildOcspRequest(certificateOf('Kiosk 1'), issuing());
    const { stdout } = await run('curl', ['-sS', '-D', ca.path('headers'), '-o', ca.path('answer.der'), '-w', '%{http_code}', `${url}/ocsp/${encodeURIComponent(Buffer.from(question).toString('base64'))}`]);
    expect(stdout).toBe('200');
    const printed = await run('openssl', ['ocsp', '-respin', ca.path('answer.der'), '-reqin', ca.path('request.der'), '-issuer', ca.path('issuing.pem'), '-cert', ca.path('Kiosk-1.pem'), '-CAfile', ca.path('root.pem'), '-verify_other', ca.path('issuing.pem'), '-no_nonce']);
    expect(printed.stdout).toContain('Kiosk-1.pem: good');
    const { headers, body } = await fetched(`/ocsp/${encodeURIComponent(Buffer.from(question).toString('base64'))}`);
    expect(headers).toMatchObject({ 'content-type': 'application/ocsp-response', 'cache-control': expect.stringMatching(/^max-age=(5\d\d|600), public, no-transform, must-revalidate$/), etag: expect.stringMatching(/^"/) });
    expect(Date.parse(headers['expires'] as string)).toBeGreaterThan(Date.now() + 50 * 60_000);
    expect(judged(body, 'Kiosk 1').kind).toBe('good');
    const again = await fetched(`/ocsp/${encodeURIComponent(Buffer.from(question).toString('base64'))}`, { headers: { 'if-none-match': headers['etag'] as string } });
    expect([again.status, again.body.length]).toEqual([304, 0]);
  });

  test('answers from memory without a nonce, and anew with one', async () => {
    const question = buildOcspRequest(certificateOf('Kiosk 1'), issuing());
    const [first, second] = [await post(question), await post(question)];
    expect(second.body.equals(first.body)).toBe(true);
    const nonce = randomBytes(32);
    const { body, headers } = await post(buildOcspRequest(certificateOf('Kiosk 1'), issuing(), nonce));
    expect(judged(body, 'Kiosk 1', nonce).kind).toBe('good');
    expect(headers['cache-control']).toBe('no-store');
  });

  test.each([[0, 'malformedRequest'], [1, 'good'], [32, 'good'], [128, 'good'], [129, 'malformedRequest']])('takes a nonce of %i octets as RFC 9654 has it: %s', async (length, expected) => {
    const nonce = randomBytes(length);
    const { body } = await post(buildOcspRequest(certificateOf('Kiosk 1'), issuing(), nonce));
    const answer = judged(body, 'Kiosk 1', nonce);
    expect(answer.kind === 'unavailable' ? answer.detail : answer.kind).toContain(expected);
  });

  test('knows nothing of a serial number that was never issued', async () => {
    const stranger = await issueCertificate(ca.office.issuer(), { subject: [['CN', 'forged']] });
    const { body, headers } = await post(buildOcspRequest(parseCertificate(stranger.der), issuing()));
    expect(judgeOcspResponse(body, { certificate: parseCertificate(stranger.der), issuer: issuing(), now: Date.now(), skew: 0, maxAge: 1000 })).toEqual({ kind: 'unavailable', detail: 'the responder does not know the certificate' });
    expect(headers['cache-control']).toBe('no-store');
  });

  test('is not authorized for certificates of other CAs', async () => {
    const { device, issuing: other } = pki;
    const { body } = await post(buildOcspRequest(parseCertificate(device.der), parseCertificate(other.der)));
    expect(body.toString('hex')).toBe('30030a0106');
  });

  test.each([['garbage', Buffer.from('junk')], ['nothing', Buffer.alloc(0)], ['a certificate', Buffer.from('30820000', 'hex')]])('says of %s that it is malformed', async (_, bytes) => {
    expect((await post(bytes)).body.toString('hex')).toBe('30030a0101');
    if (bytes.length > 0) expect((await fetched(`/ocsp/${encodeURIComponent(bytes.toString('base64'))}`)).body.toString('hex')).toBe('30030a0101');
  });

  test('reads no more than a request can be', async () => {
    expect((await post(Buffer.alloc(9000))).status).toBe(413);
    expect((await fetched(`/ocsp/${'A'.repeat(3000)}`)).status).toBe(414);
  });

  test('signs so many answers a second and no more', async () => {
    const now = Date.now();
    const desk = createOcspDesk({ source: ca.office, now: () => now, validity: 3_600_000, responderValidity: 7 * 86_400_000, liveRate: 3 });
    await desk.refresh();
    const kinds = [];
    for (let asked = 0; asked < 5; asked += 1) kinds.push((await desk.answer(buildOcspRequest(certificateOf('Kiosk 1'), issuing(), randomBytes(32)))).kind);
    expect(kinds).toEqual(['signed', 'signed', 'signed', 'tryLater', 'tryLater']);
    expect((await desk.answer(buildOcspRequest(certificateOf('Kiosk 1'), issuing()))).kind).toBe('kept');
  });

  test('signs again at half of the time, and gets itself another certificate at half of its own', async () => {
    let now = Date.now();
    const desk = createOcspDesk({ source: ca.office, now: () => now, validity: 3_600_000, responderValidity: 7 * 86_400_000, liveRate: 100 });
    const signed = await desk.refresh();
    expect(signed).toBeGreaterThan(0);
    now += 29 * 60_000;
    expect(await desk.refresh()).toBe(0);
    const responders = () => ca.office.events().filter(({ step }) => step === 'responder').length;
    const before = responders();
    now += 2 * 60_000;
    expect(await desk.refresh()).toBe(signed);
    expect(responders()).toBe(before);
    now += 4 * 86_400_000;
    await desk.refresh();
    expect(responders()).toBe(before + 1);
  });
});

describe('a gateway', () => {
  test.each([['ocsp', 'sources: [ocsp]'], ['crl', 'sources: [crl]']])('that asks by %s admits a good device and refuses a revoked one', async (source, sources) => {
    const gateway = await startGateway(pki, 9, {
      threads: 1, routes: '\n  - { name: none, match: { path: /none }, allow: [device], upstream: records }', clientAuth: '{ mode: required, trust: [ca-root.pem], intermediates: [ca-issuing.pem] }',
      revocation: `{ check: leaf, ${sources}, ocsp: { responder: "${url}/ocsp", max_age: 1s }, crl: { urls: ["${url}/issuing.crl"], refresh: 1s } }`,
      files: { 'ca-root.pem': ca.office.root, 'ca-issuing.pem': ca.office.issuer().certificate },
    });
    try {
      const by = async (name: string) => {
        const first = ca.first.get(name);
        return (await ask(pki, gateway.port, '/elsewhere', { client: { chain: first?.entry.chain, key: first?.key } as Issued })).json()['code'];
      };
      await expect.poll(() => by('Kiosk 1')).toBe('not_found');
      const kiosk = source === 'ocsp' ? 'Kiosk 4' : 'Kiosk 5';
      ca.office.revoke(certificateOf(kiosk).serial, { who: 'security', why: 'stolen', reason: 'keyCompromise' });
      await expect.poll(() => by(kiosk)).toBe('certificate_rejected');
    } finally {
      await gateway.stop();
    }
  });
});

describe('the CRL of the CA', () => {
  test('is taken and verified by OpenSSL', async () => {
    await ca.write('issuing.crl', (await fetched('/issuing.crl')).body);
    const { stderr } = await run('openssl', ['crl', '-inform', 'DER', '-in', ca.path('issuing.crl'), '-noout', '-CAfile', ca.path('issuing.pem')]);
    expect(stderr).toContain('verify OK');
  });

  test('names what another process has revoked within a moment, its number higher, and so does the responder', async () => {
    const before = scanCrl((await fetched('/issuing.crl')).body);
    const serial = certificateOf('Kiosk 3').serial;
    const another = openOffice({ directory: ca.directory });
    another.revoke(serial, { who: 'security', why: 'stolen', reason: 'keyCompromise' });
    another.close();
    await expect.poll(() => openssl(['Kiosk-3'], '-no_nonce')).toContain('Kiosk-3.pem: revoked');
    const { body, headers } = await fetched('/issuing.crl');
    const crl = scanCrl(body);
    expect(crl.crlNumber).toBeGreaterThan(before.crlNumber as bigint);
    await ca.write('issuing.crl', body);
    const { stdout } = await run('openssl', ['crl', '-inform', 'DER', '-in', ca.path('issuing.crl'), '-noout', '-text']);
    expect(stdout.toLowerCase()).toContain(serial);
    expect(stdout).toContain('Key Compromise');
    expect(headers).toMatchObject({ 'content-type': 'application/pkix-crl', 'cache-control': 'max-age=600, public, no-transform, must-revalidate' });
  });

  test('lies in its directory as it is served, so that a gateway that reads the file does not stay behind', async () => {
    const fileOf = () => scanCrl(readFileSync(join(ca.directory, 'issuing.crl')));
    await expect.poll(async () => fileOf().crlNumber === scanCrl((await fetched('/issuing.crl')).body).crlNumber).toBe(true);
    const before = fileOf().crlNumber as bigint;
    ca.office.revoke(certificateOf('Kiosk 6').serial, { who: 'security', why: 'stolen', reason: 'keyCompromise' });
    await expect.poll(() => fileOf().crlNumber).toBeGreaterThan(before);
    expect(readFileSync(join(ca.directory, 'issuing.crl')).equals((await fetched('/issuing.crl')).body)).toBe(true);
  });

  test('of the root lies beside it, as the ceremony made it', async () => {
    expect(scanCrl((await fetched('/root.crl')).body).issuer.normalized).toBe(parseCertificate(readBundle((await fetched('/root.cer')).body, 1)[0]?.der as Uint8Array).subject.normalized);
  });
});

describe('the certificates of the CA', () => {
  test('are there one by one and all in one', async () => {
    expect((await fetched('/issuing.cer')).body.equals(ca.office.issuer().der)).toBe(true);
    const all = await fetched('/ca.p7c');
    await ca.write('ca.p7c', all.body);
    const { stdout } = await run('openssl', ['pkcs7', '-inform', 'DER', '-in', ca.path('ca.p7c'), '-print_certs', '-noout']);
    expect(stdout.match(/subject=/g)).toHaveLength(2);
  });

  test.each([['GET', '/policy.yaml', 404], ['GET', '/ca.db', 404], ['GET', '/../ca/ca.db', 404], ['GET', '/', 404], ['POST', '/issuing.crl', 405], ['PUT', '/issuing.crl', 405], ['HEAD', '/issuing.crl', 200]])('and nothing else: %s %s is %i', async (method, path, status) => {
    const answer = await fetched(path, { method });
    expect([answer.status, answer.body.length]).toEqual([status, 0]);
  });
});
