import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { BadRecord } from './bad-record.ts';
import { PUBLIC_KEY_FILE, REGISTER_FILE } from './checkpoint.ts';
import { readLines, type Stretch } from './lines.ts';
import { linePieces } from './pieces.ts';
import { differsCompressed, readSegment, segmentNames } from './segment-file.ts';

/** What there is to verify: an audit directory, or an export that was made of one. */
export interface Evidence {
  /** Names of segments, in order; those of a directory are listed before the register is read. */
  readonly segments: readonly string[];
  /** Reads a segment; undefined when it is not there. */
  read<Result>(segment: string, use: (stretch: Stretch) => Result): Result | undefined;
  /** The lines of the register; `torn` octets behind the last line feed. */
  register(each: (line: string) => void): { readonly torn: number };
  /** Those of its lines that are wanted, in pieces as they stand there: years of it may be larger than the memory. */
  registerPieces(isWanted: (line: string) => boolean): Generator<Buffer>;
  /** Only some checkpoints are there, and each stands for itself. */
  readonly partial: boolean;
  /** The public key that came along; undefined when none did. */
  readonly key: string | undefined;
  /** Single records of an export that was filtered. */
  picked(each: (picked: Picked) => void): void;
  /** Whether a segment is there twice, compressed and plain, and not the same. */
  differs(segment: string): boolean;
  /** Of an export: the first line that is no part of it, which nothing else would look at. */
  readonly stray?: BadRecord;
  /** A filtered export shows single records and no whole segment. */
  readonly filtered: boolean;
  /** Of an export that was sealed: what it says of itself. */
  readonly seal?: SealedExport;
  close(): void;
}

/** A record of a filtered export: its segment, the hash of the one before it, and, where there is one, the proof of its place (tree.ts). */
export interface Picked {
  readonly segment: string;
  readonly previous: string;
  readonly record: Buffer;
  readonly proof?: readonly string[];
}

/** A sealed export: its last line, which may not be there any more, and what lies before it. */
export interface SealedExport {
  readonly manifest: string | undefined;
  readonly file: number;
  readonly octets: number;
}

/** The first line of an export. `filter`: what was asked for; absent when it is everything. */
export interface ExportHead {
  readonly event: 'export';
  readonly format: 1;
  /** ISO 8601. */
  readonly time: string;
  /** SPKI, PEM. */
  readonly key?: string;
  readonly filter?: Readonly<Record<string, string>>;
  /** It has only the checkpoints that its records need. */
  readonly register?: 'partial';
  /** It ends with a manifest (seal.ts). */
  readonly seal?: { readonly case: string; readonly who: string };
}

/** Beginnings of the lines of an export that are no records. No record begins like that: each begins with its time. */
const CHECKPOINT_LINE = '{"checkpoint":';
export const SEGMENT_LINE = '{"segment":';
const MANIFEST_LINE = '{"manifest":';
const PREVIOUS_FIELD = ',"previous":"';
const PROOF_FIELD = '","proof":"';
const CLOSING_BRACE = 0x7d;
const RECORD_FIELD = '","record":';

/** A line of a filtered export; `record` as it stands in its segment. */
export function pickedLine(segment: string, previous: string, record: string, proof?: readonly string[]): string {
  return `${SEGMENT_LINE}${JSON.stringify(segment)}${PREVIOUS_FIELD}${previous}${proof === undefined ? '' : `${PROOF_FIELD}${proof.join('.')}`}${RECORD_FIELD}${record}}`;
}

/** Opens a directory or an export. Throws when there is no such thing. */
export function openEvidence(path: string): Evidence {
  return statSync(path).isDirectory() ? openDirectory(path) : openExport(path);
}

function openDirectory(directory: string): Evidence {
  return {
    segments: segmentNames(directory),
    filtered: false,
    read: (segment, use) => readSegment(directory, segment, use),
    differs: (segment) => differsCompressed(directory, segment),
    register: (each) => withFile(join(directory, REGISTER_FILE), (file) => {
      const { rest, tooLong } = readLines({ file, from: 0, to: fstatSync(file).size }, Buffer.alloc(0), (octets, start, end) => {
        each(octets.toString('utf8', start, end));
        return true;
      });
      // No checkpoint: what lies behind it would otherwise be passed over in silence.
      if (tooLong) each('');
      return { torn: rest.length };
    }) ?? { torn: 0 },
    registerPieces: (isWanted) => piecesOf((use) => withFile(join(directory, REGISTER_FILE), (file) => use({ file, from: 0, to: fstatSync(file).size })), '', isWanted),
    partial: false,
    get key() {
      return withFile(join(directory, PUBLIC_KEY_FILE), (file) => readFileSync(file, 'utf8'));
    },
    picked: () => undefined,
    close: () => undefined,
  };
}

function* piecesOf(read: <Result>(use: (stretch: Stretch) => Result) => Result | undefined, beginning: string, isWanted: (line: string) => boolean): Generator<Buffer> {
  let made: Buffer[] = [];
  for (const _ of linePieces(read, (octets, start, end) => {
    if (octets.toString('latin1', start, start + beginning.length) !== beginning) return;
    if (isWanted(octets.toString('utf8', start, end))) made.push(Buffer.from(octets.subarray(start, end + 1)));
  })) {
    if (made.length > 0) yield Buffer.concat(made);
    made = [];
  }
}

function withFile<Result>(path: string, use: (file: number) => Result): Result | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return use(file);
  } finally {
    closeSync(file);
  }
}

function openExport(path: string): Evidence {
  const file = openSync(path, 'r');
  const { size } = fstatSync(file);
  const head = exportHead(file, path);
  const stretches = new Map<string, Stretch>();
  let open: string | undefined;
  let from = 0;
  let at = 0;
  const finish = (): void => {
    if (open !== undefined) stretches.set(open, { file, from, to: at });
    open = undefined;
  };
  let line = 0;
  let stray: BadRecord | undefined;
  const refuse = (kind: 'added' | 'repeated', segment: string, detail: string): void => void (stray ??= { file: segment, line, kind, detail });
  const { rest, tooLong } = readLines({ file, from: 0, to: size }, Buffer.alloc(0), (octets, start, end) => {
    const begins = (beginning: string): boolean => octets.toString('latin1', start, start + beginning.length) === beginning;
    const next = at + end + 1 - start;
    const last = next === size;
    line += 1;
    if (begins(MANIFEST_LINE) && last && head.seal !== undefined) finish();
    else if (head.filter === undefined && begins(SEGMENT_LINE)) {
      finish();
      open = segmentOf(octets.toString('utf8', start, end)) ?? '';
      if (open === '' || stretches.has(open)) refuse('repeated', open === '' ? EXPORT : open, 'a segment stands there twice, or without its name');
      from = next;
    } else if (open === undefined && line > 1 && !begins(CHECKPOINT_LINE) && !(head.filter !== undefined && begins(SEGMENT_LINE))) refuse('added', EXPORT, 'a line that belongs to no segment');
    at = next;
    return true;
  });
  line += 1;
  if (tooLong) refuse('added', EXPORT, 'a line that is longer than any record');
  if (rest.length > 0 && open === undefined) refuse('added', EXPORT, 'octets behind the last line');
  at += rest.length;
  finish();

  function each(beginning: string, use: (line: Buffer) => void): { readonly torn: number } {
    const { rest } = readLines({ file, from: 0, to: size }, Buffer.alloc(0), (octets, start, end) => {
      if (octets.toString('latin1', start, start + beginning.length) === beginning) use(octets.subarray(start, end));
      return true;
    });
    return { torn: rest.length };
  }

  return {
    segments: [...stretches.keys()],
    differs: () => false,
    ...(stray === undefined ? {} : { stray }),
    filtered: head.filter !== undefined,
    read: (segment, use) => {
      const stretch = stretches.get(segment);
      return stretch === undefined ? undefined : use(stretch);
    },
    register: (use) => each(CHECKPOINT_LINE, (line) => use(line.toString())),
    registerPieces: (isWanted) => piecesOf((use) => use({ file, from: 0, to: size }), CHECKPOINT_LINE, isWanted),
    partial: head.filter !== undefined && head.register === 'partial',
    key: head.key,
    picked: (use) => void each(SEGMENT_LINE, (line) => {
      const parsed = parsePicked(line);
      if (parsed === undefined) throw new Error(`${path}: a line of the export cannot be read: ${line.toString('utf8', 0, 80)}`);
      use(parsed);
    }),
    ...(head.seal === undefined ? {} : { seal: sealOf(file, size) }),
    close: () => closeSync(file),
  };
}

/** The name of an export where what is wrong is in none of its segments. */
const EXPORT = 'export';

function segmentOf(line: string): string | undefined {
  try {
    const { segment } = JSON.parse(line) as { readonly segment?: unknown };
    return typeof segment === 'string' ? segment : undefined;
  } catch {
    return undefined;
  }
}

function exportHead(file: number, path: string): ExportHead {
  const octets = Buffer.alloc(65_536);
  const text = octets.toString('utf8', 0, readSync(file, octets, 0, octets.length, 0));
  try {
    const head = JSON.parse(text.slice(0, text.indexOf('\n'))) as ExportHead;
    if (head.event === 'export' && head.format === 1) return head;
  } catch {
    // Said below.
  }
  closeSync(file);
  throw new Error(`${path}: neither an audit directory nor an export of one`);
}

function parsePicked(line: Buffer): Picked | undefined {
  const at = line.indexOf(PREVIOUS_FIELD);
  const behind = at + PREVIOUS_FIELD.length + 43;
  if (at === -1) return undefined;
  const proven = line.toString('latin1', behind, behind + PROOF_FIELD.length) === PROOF_FIELD;
  const record = proven ? line.indexOf('"', behind + PROOF_FIELD.length) : behind;
  if (record === -1 || line.at(-1) !== CLOSING_BRACE || line.toString('latin1', record, record + RECORD_FIELD.length) !== RECORD_FIELD) return undefined;
  try {
    const segment = JSON.parse(line.toString('utf8', SEGMENT_LINE.length, at)) as unknown;
    return typeof segment !== 'string' ? undefined : {
      segment, previous: line.toString('latin1', at + PREVIOUS_FIELD.length, behind), record: line.subarray(record + RECORD_FIELD.length, line.length - 1),
      ...(proven ? { proof: line.toString('latin1', behind + PROOF_FIELD.length, record).split('.').filter((hash) => hash !== '') } : {}),
    };
  } catch {
    return undefined;
  }
}

/** A manifest names every part: many thousands of segments at most. */
const MOST_MANIFEST_OCTETS = 16 << 20;

function sealOf(file: number, size: number): SealedExport {
  const tail = Buffer.alloc(Math.min(size, MOST_MANIFEST_OCTETS));
  const read = readSync(file, tail, 0, tail.length, size - tail.length);
  const start = tail.lastIndexOf(10, read - 2) + 1;
  const line = tail.toString('utf8', start, read - 1);
  const there = tail[read - 1] === 10 && line.startsWith(MANIFEST_LINE);
  return { file, manifest: there ? line : undefined, octets: there ? size - read + start : size };
}
