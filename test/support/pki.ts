import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, issueCertificate } from '../../src/ca/issue.ts';
import type { Authority, CertificateOptions, Issued } from '../../src/ca/issue.ts';
import { pem } from '../../src/ca/der.ts';
import { generateKey } from '../../src/ca/keys.ts';
import { parseCertificate } from '../../src/pki/certificate.ts';
import { twinOf } from '../../src/pki/twin.ts';

export * from '../../src/ca/issue.ts';

const rsaKeys = new Map<number, Promise<string>>();

/** The nth RSA-2048 key of this process (PEM): generating one costs a tenth of a second or more, so each is made once. */
export function rsaKey(index = 0): Promise<string> {
  const known = rsaKeys.get(index);
  if (known !== undefined) return known;
  const made = generateKey('rsa').then(({ privateKey }) => privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
  rsaKeys.set(index, made);
  return made;
}

export interface TestPkiOptions {
  /** DNS names of the gateway's own certificates; default `localhost` and `api.demo.wardgate.test`. 127.0.0.1 and ::1 are always in. */
  readonly names?: readonly string[];
  /** Put into each client certificate's authorityInfoAccess. */
  readonly ocsp?: string;
  /** Put into each client certificate's cRLDistributionPoints. */
  readonly crl?: string;
  /** Fields added to every client certificate. */
  readonly client?: Partial<CertificateOptions>;
}

export interface TestPki {
  readonly root: Authority;
  readonly issuing: Authority;
  readonly serverEc: Issued;
  readonly serverRsa: Issued;
  /** CN=Dr Wang,OU=Doctors,O=Hospital */
  readonly doctor: Issued;
  /** CN=Patient 1001,OU=Patients,O=Hospital with SAN urn:patient:1001 */
  readonly patient: Issued;
  /** CN=Kiosk 7,OU=Devices,O=Hospital with SAN dns kiosk-7.devices.hospital.test */
  readonly device: Issued;
  /** CN=Visitor,OU=Visitors,O=Hospital: valid, but no role matches it */
  readonly unmapped: Issued;
  /** A doctor's certificate meant to be put on the CRL, the deny list or the responder's list. */
  readonly revokedDoctor: Issued;
  readonly backendCa: Authority;
  /** CN=records.internal, serverAuth, SAN records.internal, localhost, 127.0.0.1 */
  readonly backendServer: Issued;
  /** CN=wardgate,OU=Gateways, clientAuth: what the gateway shows to the backend */
  readonly gatewayClient: Issued;
  /** An OCSP delegate of the issuing CA (id-kp-OCSPSigning, nocheck is left to the test). */
  readonly responder: Issued;
  /** Issues another client certificate under the issuing CA. */
  issueClient(options: CertificateOptions): Promise<Issued>;
}

/** A hospital's PKI in memory. Takes about 20 ms, and the RSA key once a process. */
export async function testPki(options: TestPkiOptions = {}): Promise<TestPki> {
  const names = options.names ?? ['localhost', 'api.demo.wardgate.test'];
  const [root, backendCa] = await Promise.all([
    createAuthority({ name: [['CN', 'Hospital Root'], ['O', 'Hospital']] }),
    createAuthority({ name: [['CN', 'Backend Root'], ['O', 'Hospital']] }),
  ]);
  const issuing = await createAuthority({ name: [['CN', 'Hospital Issuing CA'], ['O', 'Hospital']], issuer: root, pathLen: 0 });
  const issueClient = (client: CertificateOptions) => issueCertificate(issuing, {
    ...(options.ocsp === undefined ? {} : { ocsp: options.ocsp }), ...(options.crl === undefined ? {} : { crlDistributionPoints: [options.crl] }), ...options.client, ...client,
  });
  const server = { subject: [['CN', names[0] ?? 'localhost']], san: { dns: names, ip: ['127.0.0.1', '::1'] }, eku: ['serverAuth'] } as const;
  const person = (name: string, unit: string) => [['CN', name], ['OU', unit], ['O', 'Hospital']] as const;
  const [serverEc, serverRsa, doctor, patient, device, unmapped, revokedDoctor, backendServer, gatewayClient, responder] = await Promise.all([
    issueCertificate(issuing, server),
    issueCertificate(issuing, { ...server, key: await rsaKey() }),
    issueClient({ subject: person('Dr Wang', 'Doctors') }),
    issueClient({ subject: person('Patient 1001', 'Patients'), san: { uri: 'urn:patient:1001' } }),
    issueClient({ subject: person('Kiosk 7', 'Devices'), san: { dns: 'kiosk-7.devices.hospital.test' } }),
    issueClient({ subject: person('Visitor', 'Visitors') }),
    issueClient({ subject: person('Dr Left', 'Doctors') }),
    issueCertificate(backendCa, { subject: [['CN', 'records.internal']], san: { dns: ['records.internal', 'localhost'], ip: '127.0.0.1' }, eku: ['serverAuth'] }),
    issueCertificate(backendCa, { subject: person('wardgate', 'Gateways'), san: { dns: 'gateway.internal' } }),
    issueCertificate(issuing, { subject: person('Hospital OCSP', 'Responders'), eku: ['OCSPSigning'] }),
  ]);
  return { root, issuing, serverEc, serverRsa, doctor, patient, device, unmapped, revokedDoctor, backendCa, backendServer, gatewayClient, responder, issueClient };
}

/** File names that `writePki` writes, all in one directory. */
export interface PkiFiles {
  readonly directory: string;
  /** Absolute path of a file in the directory. */
  path(name: string): string;
}

/**
 * Writes the fixture as PEM: `root.pem issuing.pem backend-ca.pem`, and for each leaf `NAME.pem` (chain) and `NAME.key` (mode 0600) with
 * the names `server-ec server-rsa doctor patient device unmapped revoked backend gateway responder`. Without a directory it makes a
 * temporary one, which the caller removes.
 */
export async function writePki(pki: TestPki, directory?: string): Promise<PkiFiles> {
  const target = directory ?? await mkdtemp(join(tmpdir(), 'wardgate-pki-'));
  await mkdir(target, { recursive: true, mode: 0o700 });
  const path = (name: string) => join(target, name);
  const leaves: Readonly<Record<string, Issued>> = {
    'server-ec': pki.serverEc, 'server-rsa': pki.serverRsa, doctor: pki.doctor, patient: pki.patient, device: pki.device, unmapped: pki.unmapped,
    revoked: pki.revokedDoctor, backend: pki.backendServer, gateway: pki.gatewayClient, responder: pki.responder,
  };
  await Promise.all([
    writeFile(path('root.pem'), pki.root.certificate), writeFile(path('issuing.pem'), pki.issuing.certificate), writeFile(path('backend-ca.pem'), pki.backendCa.certificate),
    ...Object.entries(leaves).flatMap(([name, leaf]) => writeLeaf(path(name), leaf)),
  ]);
  return { directory: target, path };
}

/** Writes `PREFIX.pem` (chain) and `PREFIX.key` (mode 0600). */
export function writeLeaf(prefix: string, leaf: Issued): Promise<void>[] {
  return [writeFile(`${prefix}.pem`, leaf.chain), writeFile(`${prefix}.key`, leaf.key, { mode: 0o600 })];
}

/** A client that shows its certificate with the other form of its issuer's signature: (r, n - s) in place of (r, s). */
export function inOtherForm({ issuing }: TestPki, client: Issued): Issued {
  return { ...client, chain: `${pem('CERTIFICATE', twinOf(parseCertificate(client.der)) as Buffer)}${issuing.certificate}` };
}
