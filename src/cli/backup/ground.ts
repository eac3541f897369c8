import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { openBackup, readHeader, type OpenBackup } from '../../backup/container.ts';
import { readKeyFile, type OwnKey } from '../../backup/lock.ts';
import { auditPlaces, noteUse, type AuditPlaces } from '../archive.ts';
import { passphrasesOf, type PassphraseOptions } from './passphrase.ts';

/** What opens a backup. */
export interface OpenOptions extends PassphraseOptions {
  /** Files of private keys. */
  readonly with?: readonly string[];
}

/** An open file of a backup with its SHA-256. Its descriptor is the caller's to close. */
export interface BackupFile {
  readonly file: number;
  readonly sha256: string;
}

export function openFile(path: string): BackupFile {
  const file = openSync(path, 'r');
  const hash = createHash('sha256');
  const piece = Buffer.alloc(1024 ** 2);
  for (let at = 0, read = -1; read !== 0; at += read) {
    read = readSync(file, piece, 0, piece.length, at);
    hash.update(piece.subarray(0, read));
  }
  return { file, sha256: hash.digest('hex') };
}

/** Opens a backup with the passphrase or the keys that it needs; asks for what was not given. */
export async function unlocked({ file }: BackupFile, path: string, options: OpenOptions): Promise<OpenBackup> {
  const passphrases = passphrasesOf(options);
  const { lock } = readHeader(file);
  if (lock.kind === 'passphrase') return openBackup(file, { kind: 'passphrase', passphrase: await passphrases.next(`Passphrase of ${path}`) });
  const keys: OwnKey[] = [];
  for (const name of options.with ?? []) keys.push(readKeyFile(readFileSync(name, 'utf8'), name).open(await passphrases.next(`Passphrase of ${name}`)));
  return openBackup(file, { kind: 'keys', keys });
}

/** Where the audit of a configuration is; undefined where there is no configuration, as on a machine that was just set up. */
export function placesOf(config: string): AuditPlaces | undefined {
  return existsSync(config) ? auditPlaces(config) : undefined;
}

/** Puts on record what is done with a backup, where there is a record. False where there is none. */
export async function onRecord(places: AuditPlaces | undefined, who: string, detail: string): Promise<boolean> {
  if (places === undefined) return false;
  await noteUse(places, { who, detail });
  return true;
}

export function close({ file }: BackupFile): void {
  closeSync(file);
}

/** `1.5 MiB`. */
export function sizeText(octets: number): string {
  const units = ['octets', 'KiB', 'MiB', 'GiB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, octets)) / 10));
  return `${power === 0 ? octets : (octets / 1024 ** power).toFixed(1)} ${units[power]}`;
}

/** `12.3 s`. */
export function timeText(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
