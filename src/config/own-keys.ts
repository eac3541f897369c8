import { constants, createPrivateKey, sign, X509Certificate, type KeyObject } from 'node:crypto';
import { fromBER, Sequence } from 'asn1js';
import { algorithmOf, children, damaged, ProtectionError, refuseCostly, weakness, type Algorithm } from '../pki/password-encryption.ts';
import { readPkcs12, type Pkcs12 } from '../pki/pkcs12.ts';
import { pemBlocks } from '../pki/pem.ts';
import { show } from './issue.ts';
import { encodePem, holdsPrivateKey } from './material.ts';

/** A key that was opened, or why not; `at` says whether the file is to blame, or the passphrase. */
export type OpenedKey<T> =
  | { readonly kind: 'ok'; readonly value: T; readonly warnings: readonly string[] }
  | { readonly kind: 'fault'; readonly at: 'file' | 'passphrase'; readonly message: string };

/** A key, or what names it to OpenSSL. */
export interface PrivateKey {
  /** PKCS#8, or the PEM of a key that stays in its token. */
  readonly pem: string;
  /** The key in its token, which stays logged in as long as this is held. */
  readonly token?: KeyObject;
}

/** A certificate with its chain, and its key. */
export interface OwnPair {
  /** PEM, leaf first. */
  readonly chain: string;
  /** PEM, PKCS#8. */
  readonly key: string;
}

const TOKEN_KEY = '-----BEGIN PKCS#11 PROVIDER URI-----';
const CONVERT = 'openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt';

/**
 * Reads a private key in PEM, encrypted or not. The value is the key in PKCS#8, or for one that never leaves its token the
 * PEM that names it. What OpenSSL says of a key is left out: it does not belong on a terminal or in a log.
 */
export function openKey(bytes: Uint8Array, name: string, passphrase: string | undefined): OpenedKey<PrivateKey> {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  if (!holdsPrivateKey(bytes)) return broken(bytes[0] === 0x30 ? `${show(name)} is DER; expected PEM, or the file in pkcs12` : `${show(name)} holds no private key in PEM form`);
  if (text.includes(TOKEN_KEY)) return openTokenKey(text, name, passphrase);
  // tpm2-openssl holds a place in the TPM for every copy of the key: a reload runs out of them, and threads end for it; 1.1.1 reads a key and does not sign.
  if (text.includes('-----BEGIN TSS2 PRIVATE KEY-----')) return broken(`${show(name)} is a key in a TPM that the provider tpm2 reads, which cannot serve a gateway of threads and reloads; expected pkcs11:token=NAME;object=LABEL, which a TPM serves by its PKCS#11 module (docs/keys.md)`);
  const protection = protectionOf(text);
  if (protection.kind === 'refused') return broken(`${show(name)} ${protection.why}`);
  if (protection.kind === 'none' && passphrase !== undefined) return { kind: 'fault', at: 'passphrase', message: `${show(name)} is not encrypted: there is nothing for a passphrase to open` };
  if (protection.kind === 'encrypted' && passphrase === undefined) return broken(`${show(name)} is encrypted; expected passphrase_file or passphrase_command beside it`);
  const warnings = protection.kind === 'encrypted' && protection.weak !== undefined ? [`${show(name)} ${protection.weak}; encrypt it anew: ${CONVERT}`] : [];
  try {
    const key = createPrivateKey({ key: text, format: 'pem', ...(passphrase === undefined ? {} : { passphrase: Buffer.from(passphrase) }) });
    return { kind: 'ok', value: { pem: key.export({ type: 'pkcs8', format: 'pem' }).toString() }, warnings };
  } catch {
    return protection.kind === 'encrypted'
      ? { kind: 'fault', at: 'passphrase', message: `this passphrase does not open ${show(name)}` }
      : broken(`${show(name)} holds a private key that cannot be read`);
  }
}

/**
 * Finds a key that stays in its token, by what OpenSSL's provider for PKCS#11 was loaded with, and has it sign once: what TLS needs of
 * an RSA key (PSS) not every token can do.
 */
function openTokenKey(pem: string, name: string, passphrase: string | undefined): OpenedKey<PrivateKey> {
  if (passphrase !== undefined) return { kind: 'fault', at: 'passphrase', message: `${show(name)} stays in its token: there is nothing for a passphrase to open` };
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    const loaded = process.execArgv.some((argument) => argument.startsWith('--openssl-config'));
    return broken(`${show(name)} cannot be had: ${loaded ? 'no such key is in a token that OpenSSL has, its PIN is wrong, or the provider did not load' : 'wardgate --openssl-config FILE loads the provider that has it'} (docs/keys.md)`);
  }
  try {
    const type = key.asymmetricKeyType;
    const scheme = type === 'rsa' ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST } : {};
    sign(type === 'ed25519' || type === 'ed448' ? null : 'sha256', Buffer.from('wardgate'), { key, ...scheme });
  } catch {
    return broken(`${show(name)} is there, but its token does not sign with it as TLS needs (docs/keys.md)`);
  }
  return { kind: 'ok', value: { pem, token: key }, warnings: [] };
}

type Protection =
  | { readonly kind: 'none' }
  | { readonly kind: 'encrypted'; /** What is to be said of it, after its name. */ readonly weak?: string }
  | { readonly kind: 'refused'; readonly why: string };

/**
 * How a key in PEM is encrypted. OpenSSL's own form of before PKCS#8 makes the key of one round of MD5, so that passphrases
 * are tried by the billion; single DES is no encryption, and Node's OpenSSL does not have it.
 */
function protectionOf(text: string): Protection {
  const cipher = /^DEK-Info: *([A-Za-z0-9-]+)/m.exec(text)?.[1]?.toUpperCase();
  if (cipher !== undefined) {
    if (!/^(?:AES-(?:128|192|256)-CBC|DES-EDE3-CBC)$/.test(cipher)) return { kind: 'refused', why: `is encrypted by ${show(cipher)}, which protects nothing; encrypt it anew: ${CONVERT}` };
    return { kind: 'encrypted', weak: `is encrypted in OpenSSL's old form, of which passphrases can be guessed fast (one round of MD5)` };
  }
  if (!text.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----')) return { kind: 'none' };
  try {
    // All of them: which one OpenSSL takes is its own affair.
    const algorithms = pemBlocks(text).filter(({ label }) => label === 'ENCRYPTED PRIVATE KEY').map(({ der }) => encryptionOf(der));
    const [algorithm] = algorithms;
    if (algorithm === undefined) return UNREADABLE;
    if (algorithms.some(({ oid }) => /^1\.2\.840\.113549\.1\.5\.(?:1|3|4|6|10|11)$/.test(oid))) return { kind: 'refused', why: `is encrypted by single DES or RC2 (PKCS#5 version 1), which protects nothing; encrypt it anew: ${CONVERT}` };
    algorithms.forEach(refuseCostly);
    const weak = weakness(algorithm);
    return { kind: 'encrypted', ...(weak === undefined ? {} : { weak: `is encrypted by ${weak}, which is out of date` }) };
  } catch (error) {
    // What OpenSSL would read all the same nobody has looked at: it takes any number of rounds, and hours for them.
    return error instanceof ProtectionError && error.code === 'unsupported' ? { kind: 'refused', why: `cannot be read: ${error.message}` } : UNREADABLE;
  }
}

const UNREADABLE: Protection = { kind: 'refused', why: 'holds an encrypted key that cannot be read' };

function encryptionOf(der: Uint8Array): Algorithm {
  const { result } = fromBER(new Uint8Array(der).buffer);
  if (!(result instanceof Sequence)) throw damaged();
  return algorithmOf(children(result)[0]);
}

/** Reads a certificate, its chain and its key from a PKCS#12 file; without a passphrase it is tried with an empty one. */
export function openPkcs12(bytes: Uint8Array, name: string, passphrase: string | undefined): OpenedKey<OwnPair> {
  let held: Pkcs12;
  try {
    held = readPkcs12(bytes, passphrase ?? '');
  } catch (error) {
    if (!(error instanceof ProtectionError)) return broken(`${show(name)} cannot be read as PKCS#12`);
    if (error.code !== 'passphrase') return broken(`${show(name)} cannot be read as PKCS#12: ${error.message}`);
    if (passphrase === undefined) return broken(`${show(name)} is encrypted; expected passphrase_file or passphrase_command beside it`);
    return { kind: 'fault', at: 'passphrase', message: `this passphrase does not open ${show(name)}` };
  }
  const [key, another] = held.keys;
  if (key === undefined) return broken(`${show(name)} holds no private key`);
  if (another !== undefined) return broken(`${show(name)} holds ${held.keys.length} private keys; expected one`);
  return pairOf(key, held, name);
}

function pairOf(der: Uint8Array, { certificates, weak }: Pkcs12, name: string): OpenedKey<OwnPair> {
  let key: KeyObject;
  let read: readonly X509Certificate[];
  try {
    key = createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' });
    read = certificates.map((certificate) => new X509Certificate(certificate));
  } catch {
    return broken(`${show(name)} holds a key or a certificate that cannot be read`);
  }
  const leaf = read.find((certificate) => certificate.checkPrivateKey(key));
  if (leaf === undefined) return broken(`${show(name)} holds no certificate of its key`);
  const chain = chainFrom(leaf, read);
  const warnings = [
    ...(weak === undefined ? [] : [`${show(name)} protects its key by ${weak}, which is out of date; export it anew with AES (openssl pkcs12 -export, keytool of Java 17)`]),
    ...beside(read, chain, name),
  ];
  return { kind: 'ok', value: { chain: chain.map(({ raw }) => encodePem(raw)).join(''), key: key.export({ type: 'pkcs8', format: 'pem' }).toString() }, warnings };
}

/** The leaf and its issuers, as far as they are there; without the root, which nobody needs to be sent. */
function chainFrom(leaf: X509Certificate, held: readonly X509Certificate[]): readonly X509Certificate[] {
  const chain = [leaf];
  for (let last = leaf; chain.length <= held.length;) {
    const issuer = held.find((other) => !chain.includes(other) && last.checkIssued(other) && last.verify(other.publicKey));
    if (issuer === undefined || isRoot(issuer)) return chain;
    chain.push(issuer);
    last = issuer;
  }
  return chain;
}

function beside(held: readonly X509Certificate[], chain: readonly X509Certificate[], name: string): readonly string[] {
  const others = held.filter((certificate) => !isRoot(certificate) && !chain.some(({ fingerprint256 }) => fingerprint256 === certificate.fingerprint256)).length;
  return others === 0 ? [] : [`${show(name)} holds ${others === 1 ? 'a certificate that is' : `${others} certificates that are`} in no chain of its key; not used`];
}

function isRoot(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate);
}

function broken(message: string): { readonly kind: 'fault'; readonly at: 'file'; readonly message: string } {
  return { kind: 'fault', at: 'file', message };
}
