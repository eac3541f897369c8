import { closeSync, existsSync, fchmodSync, fchownSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, writeSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { flushDirectory } from '../../store/whole-file.ts';

/** A certificate with its chain, and its private key; PEM. */
export interface Pair {
  readonly certificate: string;
  readonly key: string;
}

/** The two files that the device's programs read, and the directory beside the key where all versions of them are. */
export interface PairFiles {
  readonly certificate: string;
  readonly key: string;
  readonly directory: string;
}

/** Called behind every change on disk, with its name: a test ends the process there. */
export type Step = (name: string) => void;

const CERTIFICATE = 'certificate.pem';
const KEY = 'key.pem';
const CURRENT = 'current';
const NEXT = 'next';
const PREVIOUS = 'previous';
const UNCONFIRMED = 'unconfirmed';
const REQUEST = 'request.der';

export function pairFiles(certificate: string, key: string): PairFiles {
  const keyFile = resolve(key);
  return { certificate: resolve(certificate), key: keyFile, directory: join(dirname(keyFile), `.${basename(keyFile)}.renewal`) };
}

/** What the files hold now. Throws when one cannot be read or the two do not belong together. */
export function readPair({ certificate, key }: PairFiles): Pair {
  const pair = { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
  if (/ENCRYPTED/.test(pair.key)) throw new Error(`${key}: the private key is encrypted; unattended renewal needs one that is not, readable by its owner alone`);
  if (!belongTogether(pair)) throw new Error(`${certificate}: not the certificate of ${key}`);
  return pair;
}

function belongTogether({ certificate, key }: Pair): boolean {
  return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
}

/** What an earlier run has begun: a key with its request, and the certificate where one has come. */
export interface Begun {
  /** Of the version. */
  readonly name: string;
  readonly key: string;
  readonly request: Buffer;
  readonly certificate?: string;
}

/**
 * Keeps a new key and its request, as the version `name`, before anything is sent: should the answer get lost, the same request asks for the same
 * certificate again. The link `next` leads to it.
 */
export function begin(files: PairFiles, name: string, key: string, request: Uint8Array, step: Step = () => undefined): void {
  const { directory } = files;
  makeDirectory(directory);
  forget(files);
  const draft = join(directory, `${name}.new`);
  makeDirectory(draft);
  write(join(draft, KEY), key, keyMode(files));
  write(join(draft, REQUEST), request, { mode: 0o600 });
  flushDirectory(draft);
  step('key and request written');
  renameSync(draft, join(directory, name));
  flushDirectory(directory);
  step('version in place');
  pointTo(directory, NEXT, name);
  step('begun');
}

/** What has been begun and is not in force; undefined when there is nothing. */
export function begun({ directory }: PairFiles): Begun | undefined {
  const name = versionOf(directory, NEXT);
  // Ended between the swap and what follows it: what was begun is in force.
  if (name === undefined || name === versionOf(directory, CURRENT)) return undefined;
  const file = (part: string): string => join(directory, name, part);
  if (!existsSync(file(KEY)) || !existsSync(file(REQUEST))) return undefined;
  return {
    name, key: readFileSync(file(KEY), 'utf8'), request: readFileSync(file(REQUEST)),
    ...(existsSync(file(CERTIFICATE)) ? { certificate: readFileSync(file(CERTIFICATE), 'utf8') } : {}),
  };
}

/** Keeps the certificate that came for what was begun, until it has been seen working. */
export function receive({ directory }: PairFiles, name: string, chain: string, step: Step = () => undefined): void {
  const file = join(directory, name, CERTIFICATE);
  rmSync(`${file}.new`, { force: true });
  write(`${file}.new`, chain, { mode: 0o644 });
  renameSync(`${file}.new`, file);
  flushDirectory(join(directory, name));
  step('received');
}

/** Drops what was begun, and what ended runs have left. */
export function forget({ directory }: PairFiles): void {
  rmSync(join(directory, NEXT), { force: true });
  const current = versionOf(directory, CURRENT);
  const previous = versionOf(directory, PREVIOUS);
  prune(directory, [current, previous]);
}

/**
 * Puts the version `name`, which has received its certificate, in the place of the current pair, in one rename: both files are links through the one link
 * `current`, so that there is no moment at which one is new and the other old, whatever ends the process. Plain files become such links first,
 * while they still lead to what they held. Throws, with the old pair in place again, when the files do not then read as a pair.
 */
export function replacePair(files: PairFiles, name: string, step: Step = () => undefined): void {
  const { directory } = files;
  const previous = adopt(files, readPair(files), step);
  pointTo(directory, PREVIOUS, previous);
  step('previous kept');
  rmSync(join(directory, UNCONFIRMED), { force: true });
  write(join(directory, UNCONFIRMED), name, { mode: 0o644 });
  step('to be confirmed');
  pointTo(directory, CURRENT, name);
  step('swapped');
  try {
    readPair(files);
  } catch (error) {
    pointTo(directory, CURRENT, previous);
    throw error;
  }
  rmSync(join(directory, NEXT), { force: true });
  step('finished');
  rmSync(join(directory, name, REQUEST), { force: true });
  prune(directory, [name, previous]);
  step('pruned');
}

/** Puts the version `name` in place where there was no pair before. What is cut off is finished by doing it again. */
export function placeFirst(files: PairFiles, name: string, step: Step = () => undefined): void {
  const { directory } = files;
  rmSync(join(directory, UNCONFIRMED), { force: true });
  write(join(directory, UNCONFIRMED), name, { mode: 0o644 });
  pointTo(directory, CURRENT, name);
  step('current made');
  link(files.key, join(directory, CURRENT, KEY));
  step('key linked');
  link(files.certificate, join(directory, CURRENT, CERTIFICATE));
  readPair(files);
  rmSync(join(directory, NEXT), { force: true });
  rmSync(join(directory, name, REQUEST), { force: true });
  prune(directory, [name]);
}

/** The version that a run of `placeFirst` was putting in place when it was cut off. */
export function cutOff({ directory }: PairFiles): string | undefined {
  const name = versionOf(directory, NEXT);
  return name !== undefined && name === versionOf(directory, CURRENT) ? name : undefined;
}

/** Since when the pair in force is waiting for the CA to be told that it works, ms since the epoch; undefined when it is not. */
export function unconfirmed({ directory }: PairFiles): number | undefined {
  const file = join(directory, UNCONFIRMED);
  // A run that was ended before the swap has left word of a version that never came into force.
  if (!existsSync(file) || readFileSync(file, 'utf8') !== versionOf(directory, CURRENT)) return undefined;
  return statSync(file).mtimeMs;
}

export function confirmed({ directory }: PairFiles): void {
  rmSync(join(directory, UNCONFIRMED), { force: true });
}

/** Makes links of the two files where they are none yet; the name of the version that they lead to. */
function adopt(files: PairFiles, pair: Pair, step: Step): string {
  const { directory } = files;
  makeDirectory(directory);
  const target = (name: string): string => join(directory, CURRENT, name);
  const linked = leadsTo(files.certificate, target(CERTIFICATE)) && leadsTo(files.key, target(KEY));
  const current = versionOf(directory, CURRENT);
  if (linked && current !== undefined) return current;
  const name = `first-${new X509Certificate(pair.certificate).serialNumber.toLowerCase()}`;
  if (!existsSync(join(directory, name))) {
    const draft = join(directory, `${name}.new`);
    rmSync(draft, { recursive: true, force: true });
    makeDirectory(draft);
    write(join(draft, KEY), pair.key, keyMode(files));
    write(join(draft, CERTIFICATE), pair.certificate, { mode: 0o644 });
    flushDirectory(draft);
    step('copies written');
    renameSync(draft, join(directory, name));
    flushDirectory(directory);
    step('copies in place');
  }
  // One of the two may be a link already, if a run was ended between them: it leads to the same octets before and after.
  pointTo(directory, CURRENT, name);
  step('current made');
  link(files.key, target(KEY));
  step('key linked');
  link(files.certificate, target(CERTIFICATE));
  step('certificate linked');
  return name;
}

function leadsTo(file: string, target: string): boolean {
  try {
    return resolve(dirname(file), readlinkSync(file)) === target;
  } catch {
    return false;
  }
}

function link(file: string, target: string): void {
  const draft = `${file}.renewal-new`;
  rmSync(draft, { force: true });
  // Relative where nothing can come of it: above another directory there may be a link, and ".." would lead elsewhere.
  const within = relative(dirname(file), target);
  symlinkSync(within.startsWith('..') ? target : within, draft);
  renameSync(draft, file);
  flushDirectory(dirname(file));
}

function pointTo(directory: string, which: string, name: string): void {
  link(join(directory, which), join(directory, name));
}

/** The version that one of the links leads to. */
function versionOf(directory: string, which: string): string | undefined {
  try {
    return basename(readlinkSync(join(directory, which)));
  } catch {
    return undefined;
  }
}

/** Versions that are not kept go, leftovers of ended runs included. */
function prune(directory: string, kept: readonly (string | undefined)[]): void {
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory)) {
    if (/^(first|renewed)-/.test(name) && !kept.includes(name)) rmSync(join(directory, name), { recursive: true, force: true });
  }
  flushDirectory(directory);
}

interface Mode {
  readonly mode: number;
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/** Whoever could read the old key can read the new one, and nobody else; the first is its owner's. */
function keyMode({ key }: PairFiles): Mode {
  const before = statSync(key, { throwIfNoEntry: false });
  if (before === undefined) return { mode: 0o600 };
  const { mode, uid, gid } = before;
  return { mode: mode & 0o640, owner: { uid, gid } };
}

// The directories are no secret, and programs of other users read through them; the keys in them have their own modes.
function makeDirectory(directory: string): void {
  if (existsSync(directory)) return;
  mkdirSync(directory, { mode: 0o755 });
  flushDirectory(dirname(directory));
}

function write(file: string, content: string | Uint8Array, { mode, owner }: Mode): void {
  const handle = openSync(file, 'wx', 0o600);
  try {
    if (owner !== undefined && process.getuid?.() === 0) fchownSync(handle, owner.uid, owner.gid);
    fchmodSync(handle, mode);
    const bytes = Buffer.from(content);
    for (let written = 0; written < bytes.length;) written += writeSync(handle, bytes, written);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
