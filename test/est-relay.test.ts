import { createPublicKey } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, request as httpsRequest, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { certsOnly } from '../src/ca/certs-only.ts';
import { createRelayDesk } from '../src/ca/est/relay.ts';
import { certifyLeaf, createAuthority, issueCertificate, issueCrl } from '../src/ca/issue.ts';
import { generateKey } from '../src/ca/keys.ts';
import { createRequest } from '../src/ca/request.ts';
import { bind, close, estServer } from '../src/est-server.ts';
import { SILENT } from '../src/log.ts';
import { readBundle } from '../src/pki/bundle.ts';
import { parseRequest } from '../src/pki/certification-request.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { wardgate } from './support/command.ts';
import { testPki, writePki, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
/** Another CA in RA mode: it knows the relay by its certificate and issues what it is asked for. */
let other: Server;
let relay: ReturnType<typeof estServer>;
let port: number;
let asked: string[] = [];
let behaviour: 'issues' | 'other uses' | 'other name' | 'other key' | 'garbage' | 'waits' | 'fails' = 'issues';

const kiosk = (name: string) => ({ subject: [['CN', name], ['OU', 'Devices'], ['O', 'Hospital']] as const, san: { dns: 'kiosk-7.devices.hospital.test' } });

async function answered(csr: Buffer): Promise<{ readonly status: number; readonly body: string }> {
  if (behaviour === 'garbage') return { status: 200, body: 'AAAA' };
  if (behaviour === 'waits') return { status: 202, body: '' };
  if (behaviour === 'fails') return { status: 500, body: 'secret words of the CA' };
  const spki = behaviour === 'other key' ? (await generateKey('ec')).publicKey : createPublicKey({ key: Buffer.from(parseRequest(csr).spki), format: 'der', type: 'spki' });
  const certified = await certifyLeaf(pki.issuing, spki, { ...kiosk(behaviour === 'other name' ? 'Kiosk 8' : 'Kiosk 7'), ...(behaviour === 'other uses' ? { eku: ['clientAuth', 'serverAuth'] } : {}) });
  return { status: 200, body: certsOnly([certified.der]).toString('base64') };
}

beforeAll(async () => {
  pki = await testPki();
  other = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    void request.toArray().then(async (chunks) => {
      const caller = parseCertificate((request.socket as TLSSocket).getPeerX509Certificate()?.raw as Uint8Array);
      asked.push(`${caller.serial === pki.gatewayClient.serialHex ? 'RA' : 'nobody'} ${request.method} ${request.url}`);
      const { status, body } = request.url?.endsWith('cacerts') === true
        ? { status: 200, body: certsOnly([pki.issuing.der, pki.root.der]).toString('base64') }
        : await answered(Buffer.from(Buffer.concat(chunks as Buffer[]).toString(), 'base64'));
      response.writeHead(status, status === 202 ? { 'retry-after': '120' } : {}).end(body);
    });
  });
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
  const desk = createRelayDesk({
    upstream: `https://localhost:${(other.address() as AddressInfo).port}/.well-known/est/devices`, operation: 'simpleenroll', perHour: 14,
    caller: { certificate: pki.gatewayClient.chain, key: pki.gatewayClient.key, trust: pki.backendCa.certificate },
  });
  const address = { host: '127.0.0.1', port: 0 };
  relay = estServer({ address, certificate: pki.serverEc.chain, key: pki.serverEc.key, trust: pki.backendCa.certificate, gateways: ['gateway.internal'] }, desk, SILENT, () => Date.now());
  port = (await bind(relay, address)).port;
});
afterAll(async () => {
  await close(relay);
  await close(other);
});
beforeEach(() => {
  asked = [];
  behaviour = 'issues';
});

function call(operation: string, device?: Issued, csr?: Buffer): Promise<{ readonly status: number; readonly text: string; readonly headers: NodeJS.Dict<string | string[]> }> {
  return new Promise((done, failed) => {
    const outgoing = httpsRequest({
      host: '127.0.0.1', port, servername: 'localhost', path: `/.well-known/est/${operation}`, method: csr === undefined && operation !== 'confirm' ? 'GET' : 'POST', agent: false,
      ca: pki.root.certificate, cert: pki.gatewayClient.chain, key: pki.gatewayClient.key,
      headers: { ...(device === undefined ? {} : { 'client-cert': `:${device.der.toString('base64')}:` }), ...(csr === undefined ? {} : { 'content-type': 'application/pkcs10' }) },
    }, (response) => {
      response.toArray().then((chunks) => done({ status: response.statusCode ?? 0, text: Buffer.concat(chunks as Buffer[]).toString(), headers: response.headers }), failed);
    });
    outgoing.on('error', failed);
    outgoing.end(csr?.toString('base64'));
  });
}

async function requestOf(device: Issued, more: readonly { readonly oid: string; readonly critical: boolean; readonly value: Uint8Array }[] = []): Promise<Buffer> {
  const { subject, extensions } = parseCertificate(device.der);
  return createRequest((await generateKey('ec')).privateKey, { subject: subject.der, extensions: [...extensions.filter(({ oid }) => oid === '2.5.29.17'), ...more] });
}

describe('the relay before another CA', () => {
  test('asks it as a registration authority for what a device may have, and hands that over', async () => {
    const csr = await requestOf(pki.device);
    const { status, text } = await call('simplereenroll', pki.device, csr);
    expect(status).toBe(200);
    const [issued] = readBundle(Buffer.from(text, 'base64'), 2);
    expect(issued?.spki).toEqual(parseRequest(csr).spki);
    expect(asked).toEqual(['RA GET /.well-known/est/devices/cacerts', 'RA POST /.well-known/est/devices/simpleenroll']);
  });

  test('offers no first certificates: of codes it knows nothing', async () => {
    expect((await call('simpleenroll', pki.device, await requestOf(pki.device))).status).toBe(501);
  });

  test('does not ask for another name than the device has: the CA would give it', async () => {
    const { status, text } = await call('simplereenroll', pki.device, await requestOf(pki.doctor));
    expect([status, text]).toEqual([400, 'the subject of the request is not that of the certificate\n']);
    expect(asked).toEqual([]);
  });

  // A CA that believes its registration authority gives all of it: a server's certificate, a template of Windows, a CA of the device's own.
  test.each([['further uses', '2.5.29.37', '300a06082b06010505070301'], ['a CA', '2.5.29.19', '30030101ff'], ['another template', '1.3.6.1.4.1.311.20.2', '1e0a00410064006d0069006e']])('does not ask for %s that a device slipped into its request', async (_, oid, value) => {
    const { status, text } = await call('simplereenroll', pki.device, await requestOf(pki.device, [{ oid, critical: false, value: Buffer.from(value, 'hex') }]));
    expect([status, text]).toEqual([400, `the request asks for an extension that the certificate does not have: ${oid}\n`]);
    expect(asked).toEqual([]);
  });

  test('has nothing certified for a device of another CA that the gateway trusts, whatever name that gave it', async () => {
    const other = await issueCertificate(await createAuthority({ name: 'Partner Root' }), kiosk('Kiosk 7'));
    const { status, text } = await call('simplereenroll', other, await requestOf(other));
    expect([status, text]).toEqual([403, 'the certificate is none of the CA behind this relay\n']);
    expect(asked.filter((line) => line.includes('POST'))).toEqual([]);
  });

  test('asks for a device so many times in an hour and no more, so that one device is no storm', async () => {
    const device = await issueCertificate(pki.issuing, kiosk('Kiosk 7'));
    const csr = await requestOf(device);
    const answers: number[] = [];
    for (let count = 0; count < 15; count += 1) answers.push((await call('simplereenroll', device, csr)).status);
    expect(answers).toEqual([...Array.from({ length: 14 }, () => 200), 429]);
  });

  test.each<[typeof behaviour, number, RegExp]>([
    ['other name', 503, /issued for other names/], ['other uses', 503, /issued for other uses/], ['other key', 503, /issued for another key/], ['garbage', 503, /cannot be read/], ['waits', 202, /./], ['fails', 503, /^the CA answered 500\n$/],
  ])('hands over nothing when the CA %s', async (how, status, words) => {
    behaviour = how;
    const reply = await call('simplereenroll', pki.device, await requestOf(pki.device));
    expect([reply.status, reply.text]).toEqual([status, expect.stringMatching(words)]);
    if (how === 'waits') expect(reply.headers['retry-after']).toBe('120');
  });

  test('passes on the certificates of the CA, and knows no word of confirmation', async () => {
    const { status, text } = await call('cacerts');
    expect([status, readBundle(Buffer.from(text, 'base64'), 5).length]).toEqual([200, 2]);
    expect((await call('confirm', pki.device)).status).toBe(501);
  });

  test('as a command says what it lacks', async () => {
    const files = await writePki(pki);
    const at = files.path;
    const args = ['est-relay', '--listen', '127.0.0.1:0', '--cert', at('server-ec.pem'), '--key', at('server-ec.key'), '--trust', at('backend-ca.pem'), '--gateway', 'gateway.internal', '--upstream-cert', at('gateway.pem'), '--upstream-key', at('gateway.key'), '--upstream-trust', at('backend-ca.pem')];
    expect(await wardgate(args)).toMatchObject({ code: 2, stderr: expect.stringContaining('--upstream') });
    expect(await wardgate([...args, '--upstream', 'http://ca.test'])).toMatchObject({ code: 2, stderr: expect.stringContaining('no https URL') });
    expect(await wardgate([...args, '--upstream', 'https://ca.test', '--operation', 'fullcmc'])).toMatchObject({ code: 2, stderr: expect.stringContaining('expected simpleenroll or simplereenroll') });
    expect(await wardgate([...args, '--upstream', 'https://ca.test', '--crl-numbers', at('numbers')])).toMatchObject({ code: 2, stderr: expect.stringContaining('--crl-numbers: goes with --crl') });
  });

  test('as a command keeps the numbers of CRLs where it is told to, for its next start', async () => {
    const files = await writePki(pki);
    const at = files.path;
    writeFileSync(at('gateways.crl'), await issueCrl(pki.backendCa, { number: 7 }));
    // On a port that is taken: it ends behind what is tried here.
    const run = await wardgate(['est-relay', '--listen', `127.0.0.1:${port}`, '--cert', at('server-ec.pem'), '--key', at('server-ec.key'), '--trust', at('backend-ca.pem'), '--gateway', 'gateway.internal', '--upstream-cert', at('gateway.pem'), '--upstream-key', at('gateway.key'), '--upstream-trust', at('backend-ca.pem'), '--upstream', 'https://ca.test', '--crl', at('gateways.crl'), '--crl-numbers', at('numbers')]);
    expect(run).toMatchObject({ code: 1, stderr: expect.stringContaining('EADDRINUSE') });
    expect(readdirSync(at('numbers')).map((name) => readFileSync(join(at('numbers'), name), 'utf8'))).toEqual([expect.stringContaining('"number":"7"')]);
  });
});
