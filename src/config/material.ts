import { createPrivateKey, createPublicKey, X509Certificate, type KeyObject } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { parseCertificate, PkiError, type Certificate } from '../pki/certificate.ts';
import { readKeySet, type TokenKey } from '../pki/jwks.ts';
import { pemBlocks } from '../pki/pem.ts';
import { show } from './issue.ts';

/** What a file turned out to hold. Faults refuse the configuration, warnings do not; both name the file. */
export interface Findings<T> {
  readonly value?: T;
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

/** A certificate and the intermediates behind it, ready to be presented. */
export interface Chain {
  readonly leaf: Certificate;
  /** The leaf, then what follows it in the file. */
  readonly certificates: readonly Certificate[];
  /** PEM, leaf first. */
  readonly pem: string;
  readonly names: readonly string[];
  readonly keyType: 'ec' | 'rsa' | 'ed25519' | 'other';
}

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const ANY_USAGE = '2.5.29.37.0';
const PURPOSES = { server: SERVER_AUTH, client: CLIENT_AUTH } as const;

export type Purpose = keyof typeof PURPOSES;

/** Reads a certificate that the gateway itself presents, as a server or (to upstreams) as a client. `now` in ms. */
export function readChain(bytes: Uint8Array, name: string, purpose: Purpose, now: number): Findings<Chain> {
  const read = readCertificates(bytes, name, ['PRIVATE KEY', 'EC PRIVATE KEY', 'RSA PRIVATE KEY', 'EC PARAMETERS']);
  const leaf = read.value?.[0];
  if (read.value === undefined || leaf === undefined) return { faults: read.faults, warnings: [] };
  const keyType = publicKeyType(leaf);
  if (keyType === undefined) return fault(`${show(name)} holds a public key of a kind that cannot be used`);
  const warnings = validityWarnings(leaf, name, now);
  if (!mayBe(leaf, purpose)) warnings.push(`${show(name)} is not meant for a ${purpose}: its extended key usage says otherwise`);
  const pem = read.value.map((certificate) => encodePem(certificate.der)).join('');
  return { value: { leaf, certificates: read.value, pem, names: namesOf(leaf), keyType }, faults: [], warnings };
}

/** Whether a file of certificates holds a private key too, or the way to one in a token, so that it needs the same protection as one. */
export function holdsPrivateKey(bytes: Uint8Array): boolean {
  return /-----BEGIN (?:[A-Z0-9 ]*PRIVATE KEY|PKCS#11 PROVIDER URI)-----/.test(text(bytes));
}

/**
 * What is wrong with a certificate and a key as a pair; `undefined` when they belong together and OpenSSL takes them.
 * `keyName` is what messages call the key's file.
 */
export function pairFault(chain: Chain, key: string, certificateName: string, keyName: string): string | undefined {
  if (!new X509Certificate(chain.leaf.der).checkPrivateKey(createPrivateKey(key))) {
    return `${show(keyName)} is not the key of ${show(certificateName)}`;
  }
  try {
    createSecureContext({ cert: chain.pem, key });
    return undefined;
  } catch (error) {
    const cause = (error as { reason?: string }).reason ?? (error as Error).message;
    return `OpenSSL takes neither ${show(certificateName)} nor its key: ${cause}`;
  }
}

/** Reads CA certificates that clients or upstreams are trusted by, or single certificates pinned for themselves. */
export function readTrust(bytes: Uint8Array, name: string, peer: Purpose, now: number): Findings<readonly Certificate[]> {
  const read = readCertificates(bytes, name, []);
  if (read.value === undefined) return { faults: read.faults, warnings: [] };
  const strangers = read.value.filter((certificate) => !isAuthority(certificate) && !mayBe(certificate, peer));
  const faults = strangers.map((certificate) => `${show(name)} holds ${describe(certificate)}, which is neither a CA nor a certificate of a ${peer}`);
  const warnings = read.value.flatMap((certificate) => [
    ...validityWarnings(certificate, name, now),
    ...(isAuthority(certificate) ? [] : [`${show(name)} holds ${describe(certificate)}, which is no CA: it is trusted for itself alone (pinned)`]),
  ]);
  return faults.length > 0 ? { faults, warnings: [] } : { value: read.value, faults, warnings };
}

/** Reads intermediate CA certificates. One that is no CA can be on no path and was put there by mistake. */
export function readIntermediates(bytes: Uint8Array, name: string, now: number): Findings<readonly Certificate[]> {
  const read = readCertificates(bytes, name, []);
  if (read.value === undefined) return { faults: read.faults, warnings: [] };
  const faults = read.value.filter((certificate) => !isAuthority(certificate)).map((certificate) => `${show(name)} holds ${describe(certificate)}, which is no CA`);
  const warnings = read.value.flatMap((certificate) => validityWarnings(certificate, name, now));
  return faults.length > 0 ? { faults, warnings: [] } : { value: read.value, faults, warnings };
}

const SHORTEST_SECRET = 32;

/** Reads a secret that keys are made from; `what` is what messages call it. */
export function readSecret(bytes: Uint8Array, name: string, what: 'ticket secret' | 'secret'): Findings<Uint8Array> {
  if (bytes.length < SHORTEST_SECRET) return fault(`${show(name)} holds ${bytes.length} bytes; a ${what} is at least ${SHORTEST_SECRET}`);
  if (bytes.every((byte) => byte === bytes[0])) return fault(`${show(name)} holds the same byte again and again; a ${what} is random`);
  return found(bytes);
}

/** Reads a password: the text of the file without its line end. */
export function readPassword(bytes: Uint8Array, name: string): Findings<Uint8Array> {
  const text = Buffer.from(bytes).toString('utf8').replace(/\r?\n$/, '');
  if (text === '' || text.includes('\n')) return fault(`${show(name)} holds no password on a single line`);
  return found(Buffer.from(text));
}

/** Reads the public keys of an issuer of tokens. A set without any is a mistake in a file; what is not used of it is said. */
export function readKeys(bytes: Uint8Array, name: string): Findings<readonly TokenKey[]> {
  const read = readKeySet(bytes);
  if (read.kind === 'fault') return fault(`${show(name)}: ${read.detail}`);
  const ignored = read.ignored.map((one) => `${show(name)}: ${one}: it is left out`);
  return read.keys.length === 0 ? { faults: [`${show(name)} holds no key that tokens could be verified with`, ...ignored], warnings: [] } : { value: read.keys, faults: [], warnings: ignored };
}

/** Looks at the outside of a CRL, DER or PEM; what is in it is read once, off the data plane, where it is used. */
export function readCrl(bytes: Uint8Array, name: string): Findings<Uint8Array> {
  const whole = bytes[0] === 0x30 ? isWholeSequence(bytes) : isPemCrl(bytes);
  return whole ? found(bytes) : fault(`${show(name)} is no CRL, neither DER nor PEM, or not a whole one`);
}

/** Whether the bytes are one DER SEQUENCE and nothing after it: a file cut short in a download is not. */
function isWholeSequence(bytes: Uint8Array): boolean {
  const first = bytes[1] ?? 0;
  if (first < 0x80) return bytes.length === first + 2;
  const octets = bytes.subarray(2, 2 + (first & 0x7f));
  const length = octets.reduce((value, octet) => value * 256 + octet, 0);
  return octets.length > 0 && octets.length <= 4 && bytes.length === 2 + octets.length + length;
}

function isPemCrl(bytes: Uint8Array): boolean {
  const content = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const begin = content.indexOf('-----BEGIN X509 CRL-----');
  return begin !== -1 && content.indexOf('-----END X509 CRL-----', begin) !== -1;
}

function readCertificates(bytes: Uint8Array, name: string, beside: readonly string[]): Findings<readonly Certificate[]> {
  if (bytes[0] === 0x30) return fault(`${show(name)} is DER; expected PEM (openssl x509 -inform der)`);
  try {
    const blocks = pemBlocks(text(bytes));
    const other = blocks.find((block) => block.label !== 'CERTIFICATE' && !beside.includes(block.label));
    if (other !== undefined) return fault(`${show(name)} holds a ${other.label}; expected certificates only`);
    const ders = blocks.filter((block) => block.label === 'CERTIFICATE').map((block) => block.der);
    if (ders.length === 0) return fault(`${show(name)} holds no certificate in PEM form`);
    return found(ders.map(parseCertificate));
  } catch (error) {
    if (!(error instanceof PkiError)) throw error;
    return fault(`${show(name)}: ${error.message}`);
  }
}

function isAuthority(certificate: Certificate): boolean {
  return certificate.basicConstraints?.ca === true;
}

function mayBe(certificate: Certificate, purpose: Purpose): boolean {
  const usages = certificate.extendedKeyUsage;
  return usages === undefined || usages.includes(PURPOSES[purpose]) || usages.includes(ANY_USAGE);
}

function validityWarnings(certificate: Certificate, name: string, now: number): string[] {
  const what = `${show(name)} holds ${describe(certificate)}, which`;
  if (now > certificate.notAfter) return [`${what} expired on ${day(certificate.notAfter)}`];
  return now < certificate.notBefore ? [`${what} is not valid before ${day(certificate.notBefore)}`] : [];
}

function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

/** The certificate as an operator would call it. */
export function describe(certificate: Certificate): string {
  const attributes = certificate.subject.rdns.flat();
  const common = attributes.find((attribute) => attribute.type === 'CN') ?? attributes.at(-1);
  return common === undefined ? `the certificate with serial ${certificate.serial}` : show(common.value);
}

/** The names a client may know this server by: the SANs (RFC 9525), or the common name where there are none. */
function namesOf(certificate: Certificate): readonly string[] {
  const alternatives = certificate.subjectAltNames.flatMap((name) => (name.kind === 'dns' || name.kind === 'ip' ? [name.value.toLowerCase()] : []));
  if (certificate.subjectAltNames.length > 0) return alternatives;
  return certificate.subject.rdns.flat().filter((attribute) => attribute.type === 'CN').map((attribute) => attribute.value.toLowerCase());
}

function publicKeyType(certificate: Certificate): Chain['keyType'] | undefined {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(certificate.spki), format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
  const type = key.asymmetricKeyType;
  return type === 'ec' || type === 'rsa' || type === 'ed25519' ? type : 'other';
}

/** One certificate as PEM. */
export function encodePem(der: Uint8Array): string {
  const lines = Buffer.from(der).toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

/** PEM is ASCII; comments around it may be in anything, and must not stop the reading. */
function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

function found<T>(value: T): Findings<T> {
  return { value, faults: [], warnings: [] };
}

function fault(message: string): Findings<never> {
  return { faults: [message], warnings: [] };
}
