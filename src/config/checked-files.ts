import { resolve } from 'node:path';
import type { Certificate } from '../pki/certificate.ts';
import { LARGEST_KEY_SET, type TokenKey } from '../pki/jwks.ts';
import { privacyFault, readRegularFile, type FileContent } from './files.ts';
import type { FileReference, FileUse } from './file-references.ts';
import { LARGEST_INVENTORY } from './inventory.ts';
import { pathKey, printable, type Fault, type Path } from './issue.ts';
import {
  holdsPrivateKey, pairFault, readChain, readCrl, readIntermediates, readKeys, readPassword, readPrivateKey, readSecret, readTrust, type Chain, type Findings,
} from './material.ts';

const MIB = 1024 ** 2;
export const LARGEST_FILE = 8 * MIB;
export const LARGEST_CRL = 512 * MIB;
const LARGEST: { readonly [Use in FileUse]?: number } = { 'crl': LARGEST_CRL, 'inventory': LARGEST_INVENTORY, 'key-set': LARGEST_KEY_SET };

/** Every file once, by absolute path: a file that is named twice is the same in both places. */
export async function readFiles(references: readonly FileReference[], directory: string): Promise<ReadonlyMap<string, FileContent>> {
  const wanted = new Map<string, FileReference>();
  for (const reference of references) wanted.set(resolve(directory, reference.name), reference);
  const read = [...wanted].map(async ([path, { name, use }]) =>
    [path, await readRegularFile(path, name, LARGEST[use] ?? LARGEST_FILE)] as const);
  return new Map(await Promise.all(read));
}

/** What the files turned out to hold, by the name they have in the configuration. Only for names without a fault. */
export interface CheckedFiles {
  chain(name: string): Chain;
  key(name: string): string;
  certificates(use: FileUse, name: string): readonly Certificate[];
  bytes(name: string): Uint8Array;
  keys(name: string): readonly TokenKey[];
}

export interface CheckOptions {
  /** Milliseconds since the epoch, for warnings about validity. */
  readonly now: number;
  /** The group whose members may read private keys; default: the process's own. */
  readonly group?: number;
}

type Held = { readonly chain?: Chain; readonly key?: string; readonly certificates?: readonly Certificate[]; readonly bytes?: Uint8Array; readonly keys?: readonly TokenKey[] };

/** What is wrong with the files, what is doubtful, and what they hold. */
export interface Checked {
  readonly faults: readonly Fault[];
  readonly warnings: readonly Fault[];
  readonly files: CheckedFiles;
}

/** Checks what the files of a configuration hold, and which of them belong together. */
export function checkFiles(references: readonly FileReference[], contentOf: (name: string) => FileContent | undefined, options: CheckOptions): Checked {
  const faults: Fault[] = [];
  const warnings: Fault[] = [];
  const held = new Map<string, Held>();
  for (const { path, use, name } of references) {
    const findings = checkFile(use, name, contentOf(name), options);
    faults.push(...findings.faults.map((message) => ({ path, message })));
    warnings.push(...findings.warnings.map((message) => ({ path, message })));
    if (findings.value !== undefined) held.set(heldKey(use, name), findings.value);
  }
  faults.push(...pairFaults(references, held));
  return { faults, warnings, files: checkedFiles(held) };
}

function checkFile(use: FileUse, name: string, content: FileContent | undefined, options: CheckOptions): Findings<Held> {
  if (content === undefined) return { faults: [], warnings: [] };
  if (content.kind === 'fault') return { faults: [content.message], warnings: [] };
  const { bytes, mode, group } = content;
  const findings = readHeld(use, name, bytes, options.now);
  const secret = use === 'ticket-secret' || use === 'secret' || use === 'password' || (use !== 'crl' && use !== 'inventory' && use !== 'key-set' && holdsPrivateKey(bytes));
  const open = secret ? privacyFault(mode, group, options.group ?? process.getegid?.() ?? -1, name) : undefined;
  return open === undefined ? findings : { ...findings, faults: [open, ...findings.faults] };
}

function readHeld(use: FileUse, name: string, bytes: Uint8Array, now: number): Findings<Held> {
  switch (use) {
    case 'server-certificate': return wrap(readChain(bytes, name, 'server', now), (chain) => ({ chain }));
    case 'client-certificate': return wrap(readChain(bytes, name, 'client', now), (chain) => ({ chain }));
    case 'key': return wrap(readPrivateKey(bytes, name), (key) => ({ key }));
    case 'client-trust': return wrap(readTrust(bytes, name, 'client', now), (certificates) => ({ certificates }));
    case 'upstream-trust': return wrap(readTrust(bytes, name, 'server', now), (certificates) => ({ certificates }));
    case 'authorities':
    case 'intermediates': return wrap(readIntermediates(bytes, name, now), (certificates) => ({ certificates }));
    case 'ticket-secret': return wrap(readSecret(bytes, name, 'ticket secret'), (secret) => ({ bytes: secret }));
    case 'secret': return wrap(readSecret(bytes, name, 'secret'), (secret) => ({ bytes: secret }));
    case 'password': return wrap(readPassword(bytes, name), (password) => ({ bytes: password }));
    case 'crl': return wrap(readCrl(bytes, name), (crl) => ({ bytes: crl }));
    case 'key-set': return wrap(readKeys(bytes, name), (keys) => ({ keys }));
    // What is wrong in it has places of its own.
    case 'inventory': return { value: { bytes }, faults: [], warnings: [] };
  }
}

function wrap<T>(findings: Findings<T>, hold: (value: T) => Held): Findings<Held> {
  const { value, faults, warnings } = findings;
  return value === undefined ? { faults, warnings } : { value: hold(value), faults, warnings };
}

/** Keys that do not belong to the certificate beside them. */
function pairFaults(references: readonly FileReference[], held: ReadonlyMap<string, Held>): Fault[] {
  return references.filter((reference) => reference.use === 'key').flatMap((key) => {
    const beside = references.find((other) => other.use.endsWith('-certificate') && sameParent(other.path, key.path));
    const chain = beside === undefined ? undefined : held.get(heldKey(beside.use, beside.name))?.chain;
    const pem = held.get(heldKey('key', key.name))?.key;
    if (beside === undefined || chain === undefined || pem === undefined) return [];
    const message = pairFault(chain, pem, beside.name, key.name);
    return message === undefined ? [] : [{ path: key.path, message }];
  });
}

function sameParent(a: Path, b: Path): boolean {
  return pathKey(a.slice(0, -1)) === pathKey(b.slice(0, -1));
}

function heldKey(use: FileUse, name: string): string {
  return `${use} ${name}`;
}

function checkedFiles(held: ReadonlyMap<string, Held>): CheckedFiles {
  const find = (uses: readonly FileUse[], name: string): Held => uses.map((use) => held.get(heldKey(use, name))).find((value) => value !== undefined) ?? {};
  return {
    chain: (name) => present(find(['server-certificate', 'client-certificate'], name).chain, name),
    key: (name) => present(find(['key'], name).key, name),
    certificates: (use, name) => present(find([use], name).certificates, name),
    bytes: (name) => present(find(['ticket-secret', 'secret', 'password', 'crl', 'inventory'], name).bytes, name),
    keys: (name) => present(find(['key-set'], name).keys, name),
  };
}

function present<T>(value: T | undefined, name: string): T {
  // Not reached while every file of the schema is in `fileReferences`; a file nobody checked must not be served.
  if (value === undefined) throw new Error(`the file ${printable(name)} was not checked`);
  return value;
}
