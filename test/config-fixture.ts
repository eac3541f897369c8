import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, issueCertificate, issueCrl, rsaKey, type Issued } from './support/pki.ts';

/** A directory with every file that the golden configurations name: good ones, and one for each way to be wrong. */
export interface ConfigFixture {
  readonly directory: string;
  path(name: string): string;
  remove(): Promise<void>;
}

const NAMES = { dns: ['api.hospital.test', '*.hospital.test'], ip: '127.0.0.1' } as const;
const SERVER = { subject: [['CN', 'api.hospital.test']], eku: ['serverAuth'] } as const;

/** Makes the directory; the caller removes it. */
export async function configFixture(): Promise<ConfigFixture> {
  const directory = await mkdtemp(join(tmpdir(), 'wardgate-config-'));
  const path = (name: string): string => join(directory, name);
  const put = async (name: string, content: string | Uint8Array, mode = 0o644): Promise<void> => {
    await writeFile(path(name), content);
    // Apart from writing: the umask takes its share of the mode of a new file.
    await chmod(path(name), mode);
  };
  const putPair = async (name: string, issued: Issued): Promise<void> => {
    await put(`${name}.pem`, issued.chain);
    await put(`${name}.key`, issued.key, 0o600);
  };

  const root = await createAuthority({ name: [['CN', 'Hospital Root'], ['O', 'Hospital']] });
  const issuing = await createAuthority({ name: 'Hospital Issuing CA', issuer: root });
  const devices = await createAuthority({ name: 'Devices CA' });
  const backend = await createAuthority({ name: 'Backend CA' });
  const old = { notBefore: Date.UTC(2020, 0, 1), notAfter: Date.UTC(2020, 1, 1) };
  const future = { notBefore: Date.UTC(2090, 0, 1), notAfter: Date.UTC(2090, 1, 1) };
  const serverEc = await issueCertificate(root, { ...SERVER, san: NAMES });
  const serverRsa = await issueCertificate(root, { ...SERVER, san: NAMES, key: await rsaKey() });
  const shortKey = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const crl = await issueCrl(issuing, { revoked: [{ serial: '1234' }] });

  await put('clients-ca.pem', root.certificate);
  await put('issuing-ca.pem', issuing.certificate);
  await put('devices-ca.pem', devices.certificate);
  await put('backend-ca.pem', backend.certificate);
  await put('clients.crl', crl);
  await put('tickets.secret', randomBytes(48), 0o600);
  for (const name of ['factors.key', 'sms.secret', 'hr.secret']) await put(name, randomBytes(32), 0o600);
  await put('devices.csv', 'id,state\nkiosk-7.hospital.test,active\n');
  const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await put('keys.json', JSON.stringify({ keys: [signing.publicKey.export({ format: 'jwk' }), { kty: 'oct', k: 'c2VjcmV0' }] }));
  await put('private-keys.json', JSON.stringify({ keys: [signing.privateKey.export({ format: 'jwk' })] }));
  await putPair('server-ec', serverEc);
  await putPair('server-rsa', serverRsa);
  await putPair('gateway', await issueCertificate(backend, { subject: [['CN', 'gateway']] }));

  await put('empty.pem', '');
  await put('garbage.pem', Buffer.from([0, 159, 146, 150, 255, 10, 45, 45, 45]), 0o600);
  await put('no-certificates.pem', 'Subject: CN=Hospital Root\n');
  await put('root.der', root.der);
  await put('cut.pem', serverEc.certificate.slice(0, 200));
  await put('cut.crl', crl.subarray(0, crl.length - 10));
  await put('short.secret', randomBytes(16), 0o600);
  await put('open.key', serverEc.key, 0o644);
  await put('group-writable.key', serverEc.key, 0o660);
  await put('both-open.pem', serverEc.chain + serverEc.key, 0o644);
  await put('encrypted.key', serverEc.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }), 0o600);
  await putPair('short-rsa', await issueCertificate(root, { ...SERVER, san: NAMES, key: shortKey, limits: 'off' }));
  await mkdir(path('a-directory'));
  execFileSync('mkfifo', [path('a-pipe')]);

  await putPair('expired', await issueCertificate(root, { ...SERVER, san: NAMES, ...old }));
  await putPair('future', await issueCertificate(root, { ...SERVER, san: NAMES, ...future }));
  await putPair('other-name', await issueCertificate(root, { ...SERVER, subject: [['CN', 'away']], san: { dns: 'Away.Elsewhere.test' } }));
  await putPair('server-only', await issueCertificate(backend, { ...SERVER, san: NAMES }));
  await put('pinned.pem', (await issueCertificate(root, { subject: [['CN', 'Dr Pinned']] })).certificate);
  await put('expired-ca.pem', (await createAuthority({ name: 'Expired CA', ...old })).certificate);

  return { directory, path, remove: () => rm(directory, { recursive: true }) };
}
