import { createHash, type KeyObject } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { authorityKey } from '../pki/certificate.ts';
import type { TokenKey } from '../pki/jwks.ts';
import { formatName } from '../pki/name.ts';
import type { CertificateState } from '../pki/standing.ts';
import { assemble, withTrust } from './assemble.ts';
import { certificateWarnings } from './certificate-lint.ts';
import { readAndCheck, type CheckedFiles, type CheckOptions } from './checked-files.ts';
import { coverageWarnings } from './coverage.ts';
import { profileWarnings } from './profile-warnings.ts';
import { readRegularFile, type EntryContent } from './files.ts';
import { fileReferences, type FileReference, type FileUse } from './file-references.ts';
import type { Device } from './device.ts';
import { formatPath, pathKey, printable, show, type Fault, type Issue } from './issue.ts';
import { inOrder, readConfig, type LoadOptions } from './load.ts';
import { inventoryOf } from './read-again.ts';
import type { Config } from './schema.ts';
import { decodeUtf8 } from './text.ts';
import { olderBundles, type BundleFacts } from './trust-files.ts';
import { sharedSecretFaults } from './webhook-secrets.ts';

/** A configuration with everything it names, read and checked: what a gateway runs on. Structured-cloneable. */
export interface Snapshot {
  readonly file: string;
  /** Absolute; relative paths of the configuration start here. */
  readonly directory: string;
  /** SHA-256 over the configuration and every file it names, lowercase hex. */
  readonly digest: string;
  /** What the digest is made of: SHA-256, hex, of the configuration's text and of every file, by absolute path. */
  readonly digests: { readonly text: string; readonly files: Readonly<Record<string, string>> };
  readonly config: Config;
  /** By listener name; listeners without TLS have no entry. */
  readonly listeners: Readonly<Record<string, ListenerMaterial>>;
  readonly upstreams: Readonly<Record<string, UpstreamMaterial>>;
  readonly crls: readonly { readonly file: string; readonly bytes: Uint8Array }[];
  /** The CA certificates (DER) that something is bound to, by file as written. */
  readonly authorities: Readonly<Record<string, readonly Uint8Array[]>>;
  /** What SPIFFE bundles say of themselves, by file as written. */
  readonly bundles: Readonly<Record<string, BundleFacts>>;
  /** The inventory; absent where none is configured. */
  readonly devices?: readonly Device[];
  /** The secrets that events are signed with, by webhook; none for those that need no signature. */
  readonly webhooks: Readonly<Record<string, readonly Uint8Array[]>>;
  /** Where the keys of issuers of tokens come from, by name. */
  readonly tokens: Readonly<Record<string, KeySource>>;
  /** How the receivers of records are verified, by the name of the sink; none for files. */
  readonly sinks: Readonly<Record<string, UpstreamMaterial>>;
  /** How the receiver of checkpoints is verified. */
  readonly anchor?: UpstreamMaterial;
  /** How replicas reach what they share; absent: this gateway stands alone. */
  readonly store?: StoreMaterial;
  /** How the channels of alarms are verified and signed to, by name. */
  readonly alarmChannels: Readonly<Record<string, AlarmChannelMaterial>>;
  readonly tracing?: TracingMaterial;
  /**
   * Keys that stay in tokens (PKCS#11), held and not used: a token is logged in as long as some thread has a key of it, and threads that
   * log in at the same time break each other's sessions (docs/keys.md).
   */
  readonly tokenKeys: readonly KeyObject[];
  /** Present where a route requires a second factor. */
  readonly secondFactor?: SecondFactorMaterial;
}

/** How a channel of alarms is verified; what a webhook is signed with, or a mail server is logged in to with. */
export interface AlarmChannelMaterial extends UpstreamMaterial {
  readonly secret?: Uint8Array;
}

/** What second factors are sealed and sent with. */
export interface SecondFactorMaterial {
  /** The key to seal under first, then those of before; none: the gateway's own. */
  readonly keys: readonly Uint8Array[];
  readonly sms?: SmsTarget;
}

/** Where text messages go, how it is verified, and how calls are signed. */
export interface SmsTarget {
  /** https */
  readonly url: string;
  /** PEM of everything the webhook is verified by. */
  readonly trust: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly secret: Uint8Array;
  /** The text, with {code} for the code. */
  readonly template: string;
  /** Milliseconds for the whole of a call. */
  readonly timeout: number;
}

/** Where an issuer's keys come from; another place, or another trust, has another `id`. */
export type KeySource =
  | { readonly kind: 'file'; readonly id: string; /** As written. */ readonly file: string; readonly keys: readonly TokenKey[] }
  | { readonly kind: 'url'; readonly id: string; readonly url: string; /** PEM of everything it is verified by. */ readonly trust: string };

/** How the collector of spans is reached and verified. */
export interface TracingMaterial {
  /** PEM of everything it is verified by. */
  readonly trust?: string;
  readonly certificate?: string;
  readonly key?: string;
  /** Value of the Authorization header. */
  readonly authorization?: string;
}

export interface StoreMaterial {
  readonly url: string;
  readonly prefix: string;
  readonly password?: string;
  /** What gateways vouch for their changes with. */
  readonly key?: Uint8Array;
  /** PEM of everything the store is verified by. */
  readonly trust?: string;
}

export interface ListenerMaterial {
  readonly certificates: readonly ServerCertificate[];
  /** What clients verify them to (DER); none: nobody said. */
  readonly roots: readonly Uint8Array[];
  /** The bytes of the secret file, when there is one. */
  readonly ticketSecret?: Uint8Array;
  /** The first is the default, its name ''. */
  readonly realms: readonly Realm[];
}

export interface ServerCertificate {
  /** PEM, leaf first. */
  readonly certificate: string;
  /** PEM, PKCS#8; of a key that stays in its token, what names it to OpenSSL. */
  readonly key: string;
  /** Lowercase dNSName SANs (the common name where there are no SANs), and IP addresses as text. */
  readonly names: readonly string[];
  readonly keyType: 'ec' | 'rsa' | 'ed25519' | 'other';
  /** The file that holds it, as written. */
  readonly file: string;
  /** Of the leaf, lowercase hex. */
  readonly sha256: string;
  readonly notAfter: number;
  /** Whether it names an OCSP responder. */
  readonly ocsp: boolean;
  /** Why it gives way to another for its name; absent: nothing is wrong with it. What is read from files says nothing of it. */
  readonly standing?: Exclude<CertificateState, 'usable'>;
}

/** The client CAs of one server name. */
export interface Realm {
  /** '' for the default, else a lowercase host name. */
  readonly name: string;
  readonly anchors: readonly Uint8Array[];
  /** Which entry of `trust`, as written, each of the anchors came from. */
  readonly from?: readonly string[];
  readonly intermediates: readonly Uint8Array[];
}

export interface UpstreamMaterial {
  /** PEM of everything the upstream is verified by. */
  readonly trust: string;
  readonly certificate?: string;
  readonly key?: string;
}

export interface SnapshotOptions extends LoadOptions, CheckOptions {
  /** Whether every certificate is looked at closely, for warnings: what an operator asks for, and a start does not wait for. */
  readonly lint?: true;
}

export type SnapshotResult =
  | { readonly kind: 'ok'; readonly snapshot: Snapshot; readonly warnings: readonly Issue[] }
  | { readonly kind: 'invalid'; readonly issues: readonly Issue[] };

/** `trust`: whom clients are trusted by has changed and can be taken, although other files cannot. */
export type MaterialResult = Exclude<SnapshotResult, { kind: 'invalid' }> | { readonly kind: 'invalid'; readonly issues: readonly Issue[]; readonly trust?: Snapshot };

const LARGEST_CONFIG = 1024 ** 2;

/**
 * Reads a configuration and every file it names, checks them, and reports all issues at once, each at the line that names
 * the file. Binds nothing, writes nothing, never throws for what is in the files.
 */
export async function loadSnapshot(file: string, options: SnapshotOptions): Promise<SnapshotResult> {
  const content = await readRegularFile(file, file, LARGEST_CONFIG);
  if (content.kind === 'fault') return notRead(file, content.message);
  const decoded = decodeUtf8(content.bytes);
  if (decoded.kind === 'fault') return notRead(file, decoded.message, decoded.line);
  const read = readConfig(decoded.text, file, options);
  const directory = dirname(resolve(file));
  const references = fileReferences(read.value);
  const { contents, ...checked } = await readAndCheck(references, directory, options);
  const faults = [...checked.faults, ...(read.config === undefined ? [] : [...await stateFaults(read.config, directory), ...await keyDirectoryFaults(read.config, directory)])];
  const inventory = read.config?.devices === undefined || faults.length > 0 ? undefined : await inventoryOf(read.config.devices, (name) => checked.files.bytes(name));
  const issues = [...inOrder([...read.issues, ...faults.map(read.place)]), ...(inventory?.kind === 'invalid' ? inventory.issues : [])];
  if (read.config === undefined || issues.length > 0) return { kind: 'invalid', issues };
  const doubtful = [...trustDomainFaults(read.config, checked.files), ...sharedSecretFaults(read.config, checked.files)];
  if (doubtful.length > 0) return { kind: 'invalid', issues: inOrder(doubtful.map(read.place)) };
  const linted = options.lint === true ? certificateWarnings(read.config, references, checked.files, options.now) : [];
  // Of certificates that were not opened nobody can say what they cover.
  const served = checked.incomplete ? [] : [...coverageWarnings(read.config, (name) => checked.files.chain(name)?.names ?? []), ...profileWarnings(read.config, (name) => checked.files.chain(name)?.keyType ?? 'other')];
  const warnings = [...checked.warnings, ...linted, ...served];
  return {
    kind: 'ok',
    snapshot: assemble(read.config, { file, directory, ...digests(sha256(content.bytes).toString('hex'), contents), crls: crlsOf(read.config, checked.files) }, checked.files, inventory?.kind === 'ok' ? inventory.devices : undefined),
    warnings: inOrder([...read.warnings, ...warnings.map(read.place)]),
  };
}

/**
 * Reads the certificates, keys, CAs and secrets of a snapshot again, by its configuration and not by the text of it, which may be
 * half edited. CRLs and the inventory, which change by themselves, are not read: the inventory stays the snapshot's, and there are no CRLs.
 */
export async function readMaterialAgain(before: Snapshot, options: SnapshotOptions): Promise<MaterialResult> {
  const { file, directory, config, devices } = before;
  const { contents, faults, warnings, files } = await readAndCheck(materialReferences(config), directory, options);
  // No line: what is in force was read from a text that may be another one by now.
  const place = ({ path, message }: Fault): Issue => ({ file, line: 0, column: 0, path: formatPath(path), message });
  if (faults.length > 0) {
    const trust = trustAlone(before, { contents, faults, files });
    return { kind: 'invalid', issues: faults.map(place), ...(trust === undefined ? {} : { trust }) };
  }
  const doubtful = [...trustDomainFaults(config, files), ...sharedSecretFaults(config, files)];
  if (doubtful.length > 0) return { kind: 'invalid', issues: doubtful.map(place) };
  const others = new Set(fileReferences(config).filter(({ use }) => !isMaterial(use)).map(({ name }) => resolve(directory, name)));
  const kept = Object.fromEntries(Object.entries(before.digests.files).filter(([path]) => others.has(path)));
  const snapshot = assemble(config, { file, directory, ...digests(before.digests.text, contents, kept), crls: [] }, files, devices);
  const older = olderBundles(before, snapshot);
  if (older.length > 0) return { kind: 'invalid', issues: older.map((message) => place({ path: [], message })) };
  return { kind: 'ok', snapshot, warnings: warnings.map(place) };
}

const CLIENT_TRUST: readonly FileUse[] = ['client-trust', 'intermediates', 'authorities'];

/**
 * A CA that was taken out must not stay trusted for as long as somebody's certificate lies beside the wrong key. The digests then leave out the files of CAs: once
 * everything can be read again it counts as changed. Undefined where the CAs cannot be taken either, or are those in force.
 */
function trustAlone(before: Snapshot, { contents, faults, files }: Pick<Awaited<ReturnType<typeof readAndCheck>>, 'contents' | 'faults' | 'files'>): Snapshot | undefined {
  const { config, directory, digests: { text } } = before;
  const references = materialReferences(config).filter(({ use }) => CLIENT_TRUST.includes(use));
  const places = new Set(references.map(({ path }) => pathKey(path)));
  if (faults.some(({ path }) => places.has(pathKey(path))) || trustDomainFaults(config, files).length > 0) return undefined;
  const taken = withTrust(before, files);
  const trustOf = ({ listeners, authorities, bundles }: Snapshot): unknown => [Object.values(listeners).map(({ realms }) => realms), authorities, bundles];
  if (olderBundles(before, taken).length > 0 || isDeepStrictEqual(trustOf(before), trustOf(taken))) return undefined;
  const paths = new Set(references.map(({ name }) => resolve(directory, name)));
  const kept = Object.fromEntries(Object.entries(before.digests.files).filter(([path]) => !paths.has(path) && !paths.has(dirname(path))));
  const { digest } = digests(text, new Map([...contents].filter(([path]) => paths.has(path))), kept);
  return { ...taken, digest, digests: { text, files: kept } };
}

/** The files of a configuration that `readMaterialAgain` reads. */
export function materialReferences(config: Config): readonly FileReference[] {
  return fileReferences(config).filter(({ use }) => isMaterial(use));
}

function isMaterial(use: FileUse): boolean {
  return use !== 'crl' && use !== 'inventory';
}

function notRead(file: string, message: string, line = 1): SnapshotResult {
  return { kind: 'invalid', issues: [{ file, line, column: 1, path: formatPath([]), message: printable(message) }] };
}

/** The state directory is made at the start; something else in its place would stop that. */
async function stateFaults(config: Config, directory: string): Promise<Fault[]> {
  const state = await stat(resolve(directory, config.state)).catch(() => undefined);
  if (state === undefined || state.isDirectory()) return [];
  return [{ path: ['state'], message: `${JSON.stringify(config.state)} is not a directory` }];
}

/** Keys that answers are encrypted to are read when they are needed; a directory that is not there would refuse everybody. */
async function keyDirectoryFaults({ routes }: Config, directory: string): Promise<Fault[]> {
  const faults = await Promise.all(routes.map(async ({ encrypt }, index): Promise<Fault[]> => {
    if (encrypt?.keys === undefined) return [];
    const found = await stat(resolve(directory, encrypt.keys)).catch(() => undefined);
    return found?.isDirectory() === true ? [] : [{ path: ['routes', index, 'encrypt', 'keys'], message: `${JSON.stringify(encrypt.keys)} is not a directory` }];
  }));
  return faults.flat();
}

/** A CA that vouched for two trust domains could give each the names of the other. */
function trustDomainFaults({ trust_domains: domains }: Config, files: CheckedFiles): Fault[] {
  const bound = new Map<string, string>();
  return Object.entries(domains).flatMap(([domain, { trust }]) => trust.flatMap((file, index) => files.certificates('authorities', file).flatMap((authority): Fault[] => {
    const key = authorityKey(authority);
    const other = bound.get(key) ?? domain;
    bound.set(key, other);
    if (other === domain) return [];
    return [{ path: ['trust_domains', domain, 'trust', index], message: `${show(file)} holds ${show(formatName(authority.subject))}, which vouches for the trust domain ${show(other)}` }];
  })));
}

function crlsOf({ revocation }: Config, files: CheckedFiles): Snapshot['crls'] {
  return revocation.crl.files.map((file) => ({ file, bytes: files.bytes(file) }));
}

/** The digests of a configuration; `kept` are those of files that were not read this time. */
function digests(text: string, contents: ReadonlyMap<string, EntryContent>, kept: Readonly<Record<string, string>> = {}): Pick<Snapshot, 'digest' | 'digests'> {
  const read = [...contents].flatMap(([path, content]) => {
    const held = content.kind === 'ok' ? [{ path, bytes: content.bytes }] : content.kind === 'directory' ? content.files.map(({ name, bytes }) => ({ path: join(path, name), bytes })) : [];
    return held.map((one) => [one.path, sha256(one.bytes).toString('hex')] as const);
  });
  const files = Object.fromEntries(Object.entries({ ...kept, ...Object.fromEntries(read) }).sort(([a], [b]) => (a < b ? -1 : 1)));
  const hash = createHash('sha256').update(text, 'hex');
  // Hashes have one length, so that no file's end can pass for another's beginning.
  for (const [path, content] of Object.entries(files)) hash.update(sha256(Buffer.from(path))).update(content, 'hex');
  return { digest: hash.digest('hex'), digests: { text, files } };
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
