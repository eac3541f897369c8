import type { KeyObject } from 'node:crypto';
import { resolve } from 'node:path';
import type { Certificate } from '../pki/certificate.ts';
import { LARGEST_KEY_SET, type TokenKey } from '../pki/jwks.ts';
import { exposureWarnings } from './exposure.ts';
import { privacyFault, readFileOrDirectory, readRegularFile, type EntryContent, type FileContent } from './files.ts';
import type { FileReference, FileUse, PassphraseSource } from './file-references.ts';
import { LARGEST_INVENTORY } from './inventory.ts';
import { pathKey, printable, show, type Fault, type Path } from './issue.ts';
import {
  holdsPrivateKey, pairFault, readChain, readCrl, readIntermediates, readKeys, readPassword, readSecret, readTrust, type Chain, type Findings, type Purpose,
} from './material.ts';
import { openKey, openPkcs12, type OpenedKey, type PrivateKey } from './own-keys.ts';
import { passphraseIn, readPassphrases, type Passphrase, type Passphrases } from './passphrases.ts';
import type { OwnPairConfig } from './schema.ts';
import { readTokenUri } from './token-keys.ts';
import { readTrustContent, type BundleFacts } from './trust-files.ts';

const MIB = 1024 ** 2;
export const LARGEST_FILE = 8 * MIB;
export const LARGEST_CRL = 512 * MIB;
const LARGEST: { readonly [Use in FileUse]?: number } = { 'crl': LARGEST_CRL, 'inventory': LARGEST_INVENTORY, 'key-set': LARGEST_KEY_SET };

/** Every file once, by absolute path: a file that is named twice is the same in both places. */
async function readFiles(references: readonly FileReference[], directory: string): Promise<ReadonlyMap<string, EntryContent>> {
  const wanted = new Map<string, FileReference>();
  for (const reference of references) if (reference.use !== 'token-key') wanted.set(resolve(directory, reference.name), reference);
  const read = [...wanted].map(async ([path, { name, use }]) =>
    [path, await (TRUST_READERS[use] === undefined ? readRegularFile : readFileOrDirectory)(path, name, LARGEST[use] ?? LARGEST_FILE)] as const);
  return new Map(await Promise.all(read));
}

/** What is doubtful about where the secrets lie, each at the first place that names it. */
async function exposures(references: readonly FileReference[], directory: string, contentOf: (name: string) => FileContent | undefined): Promise<readonly Fault[]> {
  const secrets = new Map(references.toReversed().flatMap((reference) => {
    const content = contentOf(reference.name);
    return content?.kind === 'ok' && reference.use !== 'token-key' && isSecret(reference.use, content.bytes) ? [[reference.name, { path: reference.path, owner: content.owner }] as const] : [];
  }));
  const found = await Promise.all([...secrets].map(async ([name, { path, owner }]) =>
    placed(await exposureWarnings(resolve(directory, name), name, owner, process.geteuid?.() ?? 0), path)));
  return found.flat();
}

/** What the files turned out to hold, by the name they have in the configuration. Only for names without a fault. */
export interface CheckedFiles {
  /** `undefined` where a command that was not run opens it. */
  chain(name: string): Chain | undefined;
  /** A certificate of the gateway's own with its key; `undefined` where none is configured, or a command that was not run opens it. */
  pair(own: OwnPairConfig): { readonly chain: Chain; readonly key: string } | undefined;
  certificates(use: FileUse, name: string): readonly Certificate[];
  /** What the SPIFFE bundle says of itself; undefined where it is none. */
  bundle(use: FileUse, name: string): BundleFacts | undefined;
  bytes(name: string): Uint8Array;
  keys(name: string): readonly TokenKey[];
  /** The keys that stay in tokens. */
  tokens(): readonly KeyObject[];
}

export interface CheckOptions {
  /** Milliseconds since the epoch, for warnings about validity. */
  readonly now: number;
  /** The group whose members may read private keys; default: the process's own. */
  readonly group?: number;
  /** Whether commands that tell passphrases are run; without them, what they would open is left out, with a warning. */
  readonly runCommands?: boolean;
}

type Held = { readonly chain?: Chain; readonly key?: string; readonly token?: KeyObject; readonly certificates?: readonly Certificate[]; readonly bundle?: BundleFacts; readonly bytes?: Uint8Array; readonly keys?: readonly TokenKey[] };

/** What a file holds, and what is wrong with the passphrase that it is opened with. */
interface Look extends Findings<Held> {
  readonly passphraseFaults?: readonly string[];
  readonly passphraseWarnings?: readonly string[];
}

/** What is wrong with the files, what is doubtful, and what they hold. */
export interface Checked {
  readonly faults: readonly Fault[];
  readonly warnings: readonly Fault[];
  readonly files: CheckedFiles;
  /** Whether certificates are missing since the commands that open them were not run. */
  readonly incomplete: boolean;
}

/** Reads the files of a configuration, has its passphrases told, and checks what the files hold, and which belong together. */
export async function readAndCheck(references: readonly FileReference[], directory: string, options: CheckOptions): Promise<Checked & { readonly contents: ReadonlyMap<string, EntryContent> }> {
  const contents = await readFiles(references, directory);
  const contentOf = (name: string): EntryContent | undefined => contents.get(resolve(directory, name));
  const fileOf = (name: string): FileContent | undefined => {
    const content = contentOf(name);
    return content?.kind === 'directory' ? undefined : content;
  };
  const sources = references.flatMap(({ passphrase }) => (passphrase === undefined ? [] : [passphrase]));
  const passphrases = await readPassphrases(sources, { contentOf: fileOf, directory, run: options.runCommands === true });
  const checked = checkFiles(references, contentOf, passphrases, options);
  return { ...checked, warnings: [...checked.warnings, ...await exposures(references, directory, fileOf)], contents };
}

/** Checks what the files of a configuration hold, and which of them belong together. */
function checkFiles(references: readonly FileReference[], contentOf: (name: string) => EntryContent | undefined, passphrases: Passphrases, options: CheckOptions): Checked {
  const faults: Fault[] = [];
  const warnings: Fault[] = [];
  const held = new Map<string, Held>();
  const closed = new Set<string>();
  for (const { path, use, name, passphrase } of references) {
    const opener = passphrase === undefined ? undefined : { source: passphrase, told: passphrases(passphrase) };
    const look = use === 'token-key' ? checkTokenKey(name, opener) : checkFile(use, name, contentOf(name), opener, options);
    faults.push(...placed(look.faults, path), ...placed(look.passphraseFaults, passphrase?.path ?? path));
    warnings.push(...placed(look.warnings, path), ...placed(look.passphraseWarnings, passphrase?.path ?? path));
    if (look.value !== undefined) held.set(heldKey(use, name), look.value);
    else if (opener?.told.kind === 'not-run') closed.add(name);
  }
  faults.push(...pairFaults(references, held));
  return { faults, warnings, files: checkedFiles(held, closed), incomplete: closed.size > 0 };
}

function placed(messages: readonly string[] | undefined, path: Path): readonly Fault[] {
  return messages?.map((message) => ({ path, message })) ?? [];
}

/** A key that stays in a token: its name is all that there is to read. */
function checkTokenKey(name: string, opener: Opener | undefined): Look {
  const uri = readTokenUri(name);
  if (uri.kind === 'fault') return { faults: [uri.message], warnings: [] };
  return openWith(opener, (passphrase) => openKey(Buffer.from(uri.pem), name, passphrase), heldKeyOf);
}

interface Opener {
  readonly source: PassphraseSource;
  readonly told: Passphrase;
}

/** What may be a directory of files, or (but for intermediates) a SPIFFE bundle, and how one of its files in PEM is read. */
const TRUST_READERS: Partial<Record<FileUse, (bytes: Uint8Array, name: string, now: number) => Findings<readonly Certificate[]>>> = {
  'client-trust': (bytes, name, now) => readTrust(bytes, name, 'client', now),
  'upstream-trust': (bytes, name, now) => readTrust(bytes, name, 'server', now),
  'authorities': readIntermediates,
  'intermediates': readIntermediates,
};

function checkFile(use: Exclude<FileUse, 'token-key'>, name: string, content: EntryContent | undefined, opener: Opener | undefined, options: CheckOptions): Look {
  if (content === undefined) return { faults: [], warnings: [] };
  if (content.kind === 'fault') return { faults: [content.message], warnings: [] };
  const reader = TRUST_READERS[use];
  if (reader !== undefined) return readTrustContent(content, name, (bytes, called) => reader(bytes, called, options.now));
  if (content.kind === 'directory') return { faults: [`${show(name)} is a directory; expected a file`], warnings: [] };
  const { bytes, mode, group } = content;
  const findings = readHeld(use, name, bytes, opener, options.now);
  const open = isSecret(use, bytes) ? privacyFault(mode, group, options.group ?? process.getegid?.() ?? -1, name) : undefined;
  return open === undefined ? findings : { ...findings, faults: [open, ...findings.faults] };
}

/** Whether only the owner may read a file. */
function isSecret(use: FileUse, bytes: Uint8Array): boolean {
  switch (use) {
    case 'ticket-secret':
    case 'secret':
    case 'password':
    case 'passphrase':
    case 'token-pin':
    case 'server-pkcs12':
    case 'client-pkcs12': return true;
    case 'crl':
    case 'inventory':
    case 'key-set': return false;
    default: return holdsPrivateKey(bytes);
  }
}

function readHeld(use: Exclude<FileUse, 'token-key'>, name: string, bytes: Uint8Array, opener: Opener | undefined, now: number): Look {
  switch (use) {
    case 'server-certificate': return wrap(readChain(bytes, name, 'server', now), (chain) => ({ chain }));
    case 'client-certificate': return wrap(readChain(bytes, name, 'client', now), (chain) => ({ chain }));
    case 'key': return openWith(opener, (passphrase) => openKey(bytes, name, passphrase), heldKeyOf);
    case 'server-pkcs12': return readPair(bytes, name, 'server', opener, now);
    case 'client-pkcs12': return readPair(bytes, name, 'client', opener, now);
    case 'token-pin':
    case 'passphrase': {
      const read = passphraseIn(bytes, show(name));
      return { faults: read.kind === 'fault' ? [read.message] : [], warnings: [] };
    }
    case 'ticket-secret': return wrap(readSecret(bytes, name, 'ticket secret'), (secret) => ({ bytes: secret }));
    case 'secret': return wrap(readSecret(bytes, name, 'secret'), (secret) => ({ bytes: secret }));
    case 'password': return wrap(readPassword(bytes, name), (password) => ({ bytes: password }));
    case 'crl': return wrap(readCrl(bytes, name), (crl) => ({ bytes: crl }));
    case 'key-set': return wrap(readKeys(bytes, name), (keys) => ({ keys }));
    case 'client-trust': case 'upstream-trust': case 'authorities': case 'intermediates': throw new Error(`${use} is read elsewhere`);
    // What is wrong in it has places of its own.
    case 'inventory': return { value: { bytes }, faults: [], warnings: [] };
  }
}

function heldKeyOf({ pem, token }: PrivateKey): Findings<Held> {
  return { value: { key: pem, ...(token === undefined ? {} : { token }) }, faults: [], warnings: [] };
}

function readPair(bytes: Uint8Array, name: string, purpose: Purpose, opener: Opener | undefined, now: number): Look {
  return openWith(opener, (passphrase) => openPkcs12(bytes, name, passphrase), ({ chain, key }) => wrap(readChain(Buffer.from(chain), name, purpose, now), (read) => ({ chain: read, key })));
}

/** Opens something with its passphrase, if that was told, and goes on with what is inside. */
function openWith<T>(opener: Opener | undefined, open: (passphrase: string | undefined) => OpenedKey<T>, take: (value: T) => Findings<Held>): Look {
  const none = { faults: [], warnings: [] };
  const told = opener?.told;
  // What is wrong with a file of a passphrase is said where that file is looked at.
  if (told?.kind === 'fault') return opener?.source.kind === 'file' ? none : { ...none, passphraseFaults: [told.message] };
  if (told?.kind === 'not-run') return opener?.source.kind === 'file' ? none : { ...none, passphraseWarnings: ['not run, so that nothing is known of what it opens; wardgate check --run-commands runs it'] };
  const opened = open(told?.text);
  if (opened.kind === 'fault') return opened.at === 'passphrase' ? { ...none, passphraseFaults: [opened.message] } : { ...none, faults: [opened.message] };
  const taken = take(opened.value);
  return { ...taken, warnings: [...opened.warnings, ...taken.warnings] };
}

function wrap<T>(findings: Findings<T>, hold: (value: T) => Held): Findings<Held> {
  const { value, faults, warnings } = findings;
  return value === undefined ? { faults, warnings } : { value: hold(value), faults, warnings };
}

/** Keys that do not belong to the certificate beside them, and pairs that OpenSSL does not take. */
function pairFaults(references: readonly FileReference[], held: ReadonlyMap<string, Held>): Fault[] {
  return references.filter(({ use }) => use.endsWith('key') || use.endsWith('-pkcs12')).flatMap((key) => {
    const beside = key.use.endsWith('key') ? references.find((other) => other.use.endsWith('-certificate') && sameParent(other.path, key.path)) : key;
    const chain = beside === undefined ? undefined : held.get(heldKey(beside.use, beside.name))?.chain;
    const pem = held.get(heldKey(key.use, key.name))?.key;
    if (beside === undefined || chain === undefined || pem === undefined) return [];
    const message = pairFault(chain, pem, beside.name, key.name);
    return message === undefined ? [] : [{ path: key.path, message }];
  });
}

const CHAINS: readonly FileUse[] = ['server-certificate', 'client-certificate', 'server-pkcs12', 'client-pkcs12'];

function sameParent(a: Path, b: Path): boolean {
  return pathKey(a.slice(0, -1)) === pathKey(b.slice(0, -1));
}

function heldKey(use: FileUse, name: string): string {
  return `${use} ${name}`;
}

function checkedFiles(held: ReadonlyMap<string, Held>, closed: ReadonlySet<string>): CheckedFiles {
  const find = (uses: readonly FileUse[], name: string): Held => uses.map((use) => held.get(heldKey(use, name))).find((value) => value !== undefined) ?? {};
  const chain = (name: string): Chain => present(find(CHAINS, name).chain, name);
  return {
    chain: (name) => (closed.has(name) ? undefined : chain(name)),
    pair: ({ certificate, key, pkcs12 }) => {
      const [shown, secret] = [certificate ?? pkcs12, key ?? pkcs12];
      if (shown === undefined || secret === undefined || closed.has(secret)) return undefined;
      return { chain: chain(shown), key: present(find(['key', 'token-key', 'server-pkcs12', 'client-pkcs12'], secret).key, secret) };
    },
    certificates: (use, name) => present(find([use], name).certificates, name),
    bundle: (use, name) => find([use], name).bundle,
    bytes: (name) => present(find(['ticket-secret', 'secret', 'password', 'crl', 'inventory'], name).bytes, name),
    tokens: () => [...held.values()].flatMap(({ token }) => (token === undefined ? [] : [token])),
    keys: (name) => present(find(['key-set'], name).keys, name),
  };
}

function present<T>(value: T | undefined, name: string): T {
  // Not reached while every file of the schema is in `fileReferences`; a file nobody checked must not be served.
  if (value === undefined) throw new Error(`the file ${printable(name)} was not checked`);
  return value;
}
