import { createHash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { REGISTER_FILE } from '../audit/checkpoint.ts';
import { fileReferences } from '../config/file-references.ts';
import { formatIssue, readConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { asOwnerOf } from '../store/as-owner.ts';
import { BackupError } from './fault.ts';
import { ASIDE, isWithin, MANIFEST, REGISTER_COPY, RUNS, STAGE, SUMS, type Manifest } from './manifest.ts';
import { openRegular, pieces, piecesOf, takeFile, takeState, type Taken } from './read-file.ts';
import type { Content, Member } from './tar.ts';

export interface GatherOptions {
  /** The configuration file. */
  readonly config: string;
  /** Directories elsewhere, such as that of a CA. */
  readonly also: readonly string[];
  /** Whether the segments of the audit go in. */
  readonly audit: boolean;
  /** ms since the epoch */
  readonly now: number;
  readonly host: string;
  readonly version: string;
}

/** What goes into a backup; `members` can be gone through once. */
export interface Gathered {
  readonly manifest: Manifest;
  readonly files: number;
  readonly members: Iterable<Content>;
  /** Lets go of the files that it holds. */
  close(): void;
}

/** How often a configuration that is being changed is read again. */
const TRIES = 5;
/** Plain segments that are held open: there are more where nothing is compressed, and then nothing goes, but what is pruned. */
const MOST_HELD = 256;
/** All but the segments of the audit is in memory for a moment. */
const MOST_OCTETS = 1024 ** 3;

/**
 * Reads an installation, beside a running gateway too: the configuration with every file it names as they were at one moment, journals to their last whole
 * line, databases as of a transaction. Throws a BackupError.
 */
export function gather(options: GatherOptions): Gathered {
  const named = stable(resolve(options.config));
  const { config, directory } = named;
  const at = (path: string): string => resolve(directory, path);
  const [state, audit, socket] = [at(config.state), at(config.audit.directory), at(config.admin.socket)];
  const also = options.also.map((path) => resolve(path));
  const owned = [state, ...also.filter((path) => !isWithin(state, path))];
  const manifest: Manifest = {
    format: 'wardgate-backup-contents', version: 1, made: new Date(options.now).toISOString(), host: options.host, wardgate: options.version,
    configuration: named.file, state, audit: { directory: audit, segments: options.audit }, socket, owned,
    outside: [...named.files.keys()].filter((path) => ![directory, ...owned].some((known) => isWithin(known, path))),
  };
  const left = new Set([join(state, 'lock'), join(state, 'sessions.db'), join(state, RUNS), join(state, REGISTER_COPY), socket, audit]);
  const found = owned.flatMap((path) => walk(path, (one) => left.has(one) || isUnfinished(basename(one))));
  // In an empty place they are made anew, for the same owner.
  const homes = [...new Set([...named.files.keys()].map((path) => dirname(path)))].filter((path) => !owned.some((known) => isWithin(known, path))).sort();
  const members = [
    memberOf(MANIFEST, Buffer.from(`${JSON.stringify(manifest, undefined, 1)}\n`), options.now),
    ...homes.map(directoryMember), ...[...named.files].map(([path, taken]) => fileMember(path, taken)),
    ...found.flatMap((one) => (named.files.has(one.path) ? [] : unlessGone(() => [one.kind === 'directory' ? directoryMember(one.path) : fileMember(one.path, takeState(one.path))]))),
  ];
  const size = members.reduce((sum, member) => sum + member.size, 0);
  if (size > MOST_OCTETS) throw new BackupError('unreadable', `${state} holds more than ${MOST_OCTETS / 1024 ** 3} GiB beside the audit; what is it?`);
  const evidence = auditFiles(audit, state, options.audit);
  return { manifest, files: [...members, ...evidence.members].filter(({ kind }) => kind === 'file').length - 1, members: withSums([...members, ...evidence.members], options.now), close: evidence.close };
}

interface Named {
  readonly file: string;
  readonly directory: string;
  readonly config: Config;
  /** Everything that the configuration names, and itself. */
  readonly files: ReadonlyMap<string, Taken>;
}

/** Reads them until none has changed between the first that was read and the last. */
function stable(file: string): Named {
  for (let tries = 0; tries < TRIES; tries++) {
    const named = readNamed(file);
    if ([...named.files].every(([path, { stats }]) => stampOf(path) === stampText(stats))) return named;
  }
  throw new BackupError('changing', `${file}, or a file that it names, changes all the time; try again`);
}

function readNamed(file: string): Named {
  const taken = takeFile(file);
  const { value, config, issues } = readConfig(taken.octets.toString('utf8'), file);
  if (config === undefined) throw new BackupError('unreadable', issues.map((issue) => formatIssue(issue)).join('\n'));
  const directory = dirname(file);
  const paths = new Set(fileReferences(value).flatMap(({ use, name }) => (use === 'token-key' ? [] : [resolve(directory, name)])));
  const files = new Map([[file, taken]]);
  for (const path of [...paths].flatMap(filesOf)) files.set(path, takeFile(path));
  return { file, directory, config, files };
}

/** A directory that is named stands for the files in it. */
function filesOf(path: string): readonly string[] {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) throw new BackupError('unreadable', `${path}: no such file, and the configuration names it`);
  return stats.isDirectory() ? asOwnerOf(path, () => readdirSync(path, { withFileTypes: true })).map(({ name }) => join(path, name)).filter((one) => statSync(one, { throwIfNoEntry: false })?.isFile() === true).sort() : [path];
}

function stampOf(path: string): string | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? undefined : stampText(stats);
}

function stampText({ dev, ino, size, mtimeNs }: Taken['stats']): string {
  return `${dev} ${ino} ${size} ${mtimeNs}`;
}

interface Found {
  readonly path: string;
  readonly kind: 'file' | 'directory';
}

/** Caches and the like come and go. */
function unlessGone<One>(look: () => readonly One[]): readonly One[] {
  try {
    return look();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Every file and directory, the directory itself first; sockets, pipes and links are nobody's state. */
function walk(directory: string, isLeft: (path: string) => boolean): readonly Found[] {
  if (!existsSync(directory)) return [];
  const below = [...unlessGone(() => asOwnerOf(directory, () => readdirSync(directory, { withFileTypes: true })))].sort((one, other) => (one.name < other.name ? -1 : 1)).flatMap((entry): readonly Found[] => {
    const path = join(directory, entry.name);
    if (isLeft(path)) return [];
    if (entry.isDirectory()) return walk(path, isLeft);
    return entry.isFile() ? [{ path, kind: 'file' }] : [];
  });
  return [{ path: directory, kind: 'directory' }, ...below];
}

/** What nobody has finished, what SQLite keeps beside its databases, what a restore left, and backups of before. */
function isUnfinished(name: string): boolean {
  return /\.(?:new|unfinished|tmp|wgb)$|-(?:wal|shm|journal)$/.test(name) || name.startsWith(ASIDE) || name.startsWith(STAGE);
}

interface AuditFiles {
  readonly members: readonly Content[];
  close(): void;
}

function auditFiles(directory: string, state: string, segments: boolean): AuditFiles {
  const nothing = (): void => undefined;
  if (!existsSync(join(directory, REGISTER_FILE))) return { members: [], close: nothing };
  if (!segments) return { members: [fileMember(join(state, REGISTER_COPY), takeFile(join(directory, REGISTER_FILE)))], close: nothing };
  for (let tries = 0; tries < TRIES * 10; tries++) {
    const register = takeFile(join(directory, REGISTER_FILE));
    const opened = openAll(directory, asOwnerOf(directory, () => readdirSync(directory)).filter((name) => name !== REGISTER_FILE && !isUnfinished(name)).sort());
    if (opened === undefined) continue;
    // The same before and after: every segment is as long as the register says, or longer, and what it does not know holds no record.
    if (takeFile(join(directory, REGISTER_FILE)).octets.equals(register.octets)) return { members: [directoryMember(directory), fileMember(join(directory, REGISTER_FILE), register), ...opened.members], close: opened.close };
    opened.close();
  }
  throw new BackupError('changing', `${directory}: the register changes all the time; try again`);
}

/** Segments are compressed and removed meanwhile: those that still are plain are held open. Undefined when one is gone already. */
function openAll(directory: string, names: readonly string[]): AuditFiles | undefined {
  const held: number[] = [];
  const close = (): void => held.splice(0).forEach((file) => closeSync(file));
  const newest = new Set(names.filter((name) => name.endsWith('.jsonl')).slice(-MOST_HELD));
  try {
    const members = names.flatMap((name): readonly Content[] => {
      const path = join(directory, name);
      if (!newest.has(name)) {
        const stats = statSync(path);
        return stats.isFile() ? [{ ...attributes(path, 'file', stats), size: stats.size, content: pieces(path, stats.size) }] : [];
      }
      const file = openRegular(path);
      held.push(file);
      const stats = fstatSync(file);
      return [{ ...attributes(path, 'file', stats), size: stats.size, content: piecesOf(file, stats.size) }];
    });
    return { members, close };
  } catch (error) {
    close();
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function attributes(path: string, kind: Member['kind'], { mode, uid, gid, mtimeMs }: { readonly mode: number | bigint; readonly uid: number | bigint; readonly gid: number | bigint; readonly mtimeMs: number | bigint }): Omit<Member, 'size'> {
  return { name: path.slice(1), kind, mode: Number(mode) & (kind === 'file' ? 0o777 : 0o7777), uid: Number(uid), gid: Number(gid), mtime: Math.max(0, Math.floor(Number(mtimeMs) / 1_000)) };
}

function fileMember(path: string, { stats, octets }: Taken): Content {
  return { ...attributes(path, 'file', stats), size: octets.length, content: [octets] };
}

function directoryMember(path: string): Content {
  return { ...attributes(path, 'directory', statSync(path)), size: 0, content: [] };
}

function memberOf(name: string, octets: Buffer, now: number): Content {
  return { name, kind: 'file', mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mtime: Math.floor(now / 1_000), size: octets.length, content: [octets] };
}

/** The last member has the SHA-256 of every file before it, as sha256sum writes it. */
function* withSums(members: readonly Content[], now: number): Generator<Content> {
  const lines: string[] = [];
  for (const member of members) {
    if (member.kind === 'directory') {
      yield member;
      continue;
    }
    const hash = createHash('sha256');
    yield { ...member, content: hashed(member.content, (piece) => hash.update(piece)) };
    lines.push(`${hash.digest('hex')}  ${escaped(member.name)}\n`);
  }
  yield memberOf(SUMS, Buffer.from(lines.join('')), now);
}

function* hashed(content: Iterable<Uint8Array>, update: (piece: Uint8Array) => void): Generator<Uint8Array> {
  for (const piece of content) {
    update(piece);
    yield piece;
  }
}

/** A name with a line end would be two lines; nobody has one. */
function escaped(name: string): string {
  if (/[\n\\]/.test(name)) throw new BackupError('unreadable', `${JSON.stringify(name)}: a name with a line end or a backslash cannot be kept`);
  return name;
}
