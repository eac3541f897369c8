import { afterAll, beforeAll, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { issueCertificate, rsaKey, testPki, type Issued, type TestPki } from './support/pki.ts';

const EC = { sigalgs: 'ECDSA+SHA256' };
const RSA = { sigalgs: 'RSA-PSS+SHA256' };
const TLS12 = { maxVersion: 'TLSv1.2' } as const;
/** What `openTls` names when it is to name nobody: it is left out of the ClientHello. */
const NOBODY = '';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let certificates: Readonly<Record<string, Issued>>;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  const server = async (names: readonly string[], rsa = false): Promise<Issued> => issueCertificate(pki.issuing, { subject: [['CN', names[0] ?? '']], san: { dns: names }, eku: ['serverAuth'], ...(rsa ? { key: await rsaKey() } : {}) });
  const [api, apiRsa, wards, ward1, machines] = await Promise.all([server(['api.test']), server(['api.test'], true), server(['*.wards.test', 'wards.test']), server(['one.wards.test']), server(['machines.test'], true)]);
  certificates = { 'api': api, 'api-rsa': apiRsa, 'wards': wards, 'ward1': ward1, 'machines': machines };
  gateway = await startGateway(pki, backend.port, {
    threads: 1,
    listeners: `
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [${Object.keys(certificates).map((name) => `{ certificate: ${name}.pem, key: ${name}.key }`).join(', ')}] }
    client_auth: { mode: optional, trust: [root.pem] }`,
    files: Object.fromEntries(Object.entries(certificates).flatMap(([name, { chain, key }]) => [[`${name}.pem`, chain], [`${name}.key`, key]])),
  });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

it.each<[string, object, string]>([
  ['api.test', {}, 'api'],
  ['API.Test', {}, 'api'],
  ['api.test', RSA, 'api-rsa'],
  ['api.test', { ...EC, ...TLS12 }, 'api'],
  ['api.test', { ...TLS12, ciphers: 'ECDHE-RSA-AES256-GCM-SHA384' }, 'api-rsa'],
  ['two.wards.test', {}, 'wards'],
  ['wards.test', TLS12, 'wards'],
  ['machines.test', {}, 'machines'],
  ['machines.test', TLS12, 'machines'],
  [NOBODY, {}, 'api'],
  [NOBODY, RSA, 'api-rsa'],
])('a client that asks for %j, able to do %j, is shown %s.pem', async (servername, options, expected) => {
  // why: by its name one of them is verified; who names nobody has no name to verify.
  const socket = await openTls(pki, gateway.port, { servername, ...options, ...(servername === NOBODY ? { checkServerIdentity: () => undefined } : {}) });
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  expect(Object.entries(certificates).find(([, { serialHex }]) => serialHex === serialNumber.toLowerCase())?.[0]).toBe(expected);
});

it('of a name and a wildcard that covers it the first in the configuration serves', async () => {
  const socket = await openTls(pki, gateway.port, { servername: 'one.wards.test' });
  expect(socket.getPeerCertificate().serialNumber.toLowerCase()).toBe(certificates['wards']?.serialHex);
  socket.destroy();
});

it.each(['elsewhere.test', 'a.b.wards.test', 'wards.test.'])('a client that asks for %j, which none of them covers, is refused in its handshake', async (servername) => {
  await expect(openTls(pki, gateway.port, { servername })).rejects.toThrow();
});

it('a client of a key type that no certificate for its name has is refused in its handshake, and not shown another name\'s', async () => {
  await expect(openTls(pki, gateway.port, { servername: 'machines.test', ...EC })).rejects.toThrow();
  await expect(openTls(pki, gateway.port, { servername: 'two.wards.test', ...RSA })).rejects.toThrow();
});
