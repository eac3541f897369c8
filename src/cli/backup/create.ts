import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { sealBackup } from '../../backup/container.ts';
import { gather, type Gathered } from '../../backup/gather.ts';
import { lockForHolders, lockWithPassphrase, readHolder } from '../../backup/lock.ts';
import { noteRun } from '../../backup/runs.ts';
import { writeTar as tarOf } from '../../backup/tar.ts';
import { VERSION } from '../../version.ts';
import { auditPlaces, type AuditPlaces } from '../archive.ts';
import { counted } from '../counted.ts';
import { usage } from '../usage.ts';
import { onRecord, sizeText, timeText } from './ground.ts';
import { passphrasesOf, type PassphraseOptions } from './passphrase.ts';

export interface CreateOptions extends PassphraseOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly out?: string;
  readonly directory?: string;
  /** Files of public keys. */
  readonly to?: readonly string[];
  readonly need?: string;
  readonly also?: readonly string[];
  readonly audit?: boolean;
  readonly dryRun?: boolean;
  readonly who: string;
}

/** `wardgate backup create`: one encrypted file, never over another one; on record before it has its name. */
export async function create(options: CreateOptions, print: (text: string) => void): Promise<number> {
  const began = performance.now();
  const { to = [], json } = options;
  const need = options.need === undefined ? to.length : Number(options.need);
  if (to.length > 0 && !(Number.isInteger(need) && need >= 1 && need <= to.length)) return usage(`--need: expected a number from 1 to ${to.length}, how many of the keys of --to open it`);
  if (to.length === 0 && options.need !== undefined) return usage('--need: goes with --to');
  if (options.dryRun !== true && (options.out === undefined) === (options.directory === undefined)) return usage('expected either --out FILE or --directory DIR');
  const places = auditPlaces(options.config);
  const now = Date.now();
  const gathered = gather({ config: options.config, also: options.also ?? [], audit: options.audit === true, now, host: hostname(), version: VERSION });
  try {
    return options.dryRun === true ? listed(gathered, json === true, print) : await make(gathered, options, { need, places, began }, print);
  } finally {
    gathered.close();
  }
}

interface Making {
  readonly need: number;
  readonly places: AuditPlaces;
  /** ms, of the process's own clock */
  readonly began: number;
}

async function make(gathered: Gathered, options: CreateOptions, { need, places, began }: Making, print: (text: string) => void): Promise<number> {
  const { to = [], json } = options;
  const out = resolve(options.out ?? join(options.directory ?? '', `wardgate-${hostname()}-${gathered.manifest.made.replaceAll(/[-:]|\.\d+/g, '')}.wgb`));
  if (existsSync(out)) throw new Error(`${out}: is there already; a backup is never written over another one`);
  const lockKey = await lockOf(options, need);
  mkdirSync(dirname(out), { recursive: true, mode: 0o700 });
  const { sha256, octets } = write(out, gathered, lockKey);
  try {
    await onRecord(places, options.who, `made a backup of ${counted(gathered.files, 'file')}, ${to.length === 0 ? 'locked with a passphrase' : `which ${need} of ${counted(to.length, 'key')} open`}: SHA-256 ${sha256}`);
    giveName(out);
  } finally {
    rmSync(unfinished(out), { force: true });
  }
  const ms = Math.round(performance.now() - began);
  noteRun(places.state, 'create', { at: gathered.manifest.made, sha256, ms });
  const { manifest, files } = gathered;
  if (json === true) print(JSON.stringify({ file: out, sha256, octets, files, made: manifest.made, audit: manifest.audit.segments, outside: manifest.outside, ms }));
  else {
    print([
      `${out}: ${counted(files, 'file')}, ${sizeText(octets)}, in ${timeText(ms)}`, `SHA-256 ${sha256}`, ...manifest.outside.map((path) => `outside the directory of the configuration: ${path}`),
      `to test it: wardgate backup verify ${out}${to.length === 0 ? '' : `, with the keys of ${need} of those (--with)`}`,
    ].join('\n'));
  }
  return 0;
}

function listed({ manifest, members, files }: Gathered, json: boolean, print: (text: string) => void): number {
  const rows = [...members].map(({ name, kind, size, mode }) => ({ path: `/${name}`, kind, size, mode: mode.toString(8).padStart(4, '0') })).slice(1, -1);
  print(json ? JSON.stringify({ manifest, entries: rows }) : [...rows.map(({ path, kind, size, mode }) => `${mode} ${String(kind === 'file' ? size : '').padStart(10)} ${path}${kind === 'file' ? '' : '/'}`), `${counted(files, 'file')} would go into a backup`].join('\n'));
  return 0;
}

async function lockOf(options: CreateOptions, need: number): Promise<(key: Buffer) => object> {
  const holders = (options.to ?? []).map((file) => readHolder(readFileSync(file, 'utf8'), file));
  if (new Set(holders.map(({ key }) => key.toString('hex'))).size < holders.length) throw new Error('--to: the same key is named twice');
  if (holders.length > 0) return (key) => lockForHolders(key, holders, need);
  const passphrase = await passphrasesOf(options).fresh('Passphrase for the backup');
  return (key) => lockWithPassphrase(key, passphrase);
}

function unfinished(out: string): string {
  return `${out}.unfinished`;
}

function write(out: string, { manifest, members }: Gathered, lockKey: (key: Buffer) => object): { readonly sha256: string; readonly octets: number } {
  rmSync(unfinished(out), { force: true });
  const file = openSync(unfinished(out), 'wx', 0o600);
  const hash = createHash('sha256');
  let octets = 0;
  try {
    for (const piece of sealBackup(manifest.made, lockKey, tarOf(members))) {
      hash.update(piece);
      octets += piece.length;
      for (let at = 0; at < piece.length;) at += writeSync(file, piece, at);
    }
    fsyncSync(file);
    return { sha256: hash.digest('hex'), octets };
  } catch (error) {
    rmSync(unfinished(out), { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

/** Never over another one; sticks and shares may know no links. */
function giveName(out: string): void {
  try {
    linkSync(unfinished(out), out);
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? '') || existsSync(out)) throw error;
    renameSync(unfinished(out), out);
  }
}
