import { createHash } from 'node:crypto';
import { BackupError } from './fault.ts';
import { MANIFEST, manifestSchema, SUMS, type Manifest } from './manifest.ts';
import { readTar, type Member, type Taker } from './tar.ts';

/** A file or directory of a backup; `sha256` is of files. */
export interface Entry extends Member {
  readonly sha256?: string;
}

/** What is in a backup; all of it has been read, and is as it was written. */
export interface Survey {
  readonly manifest: Manifest;
  readonly entries: readonly Entry[];
}

const MOST_TEXT = 64 * 1024 ** 2;
const MOST_ENTRIES = 1_000_000;

/** Reads a backup from end to end, and writes nothing. Throws a BackupError for anything that is not as it was written. */
export function survey(chunks: Iterable<Buffer>): Survey {
  const entries: Entry[] = [];
  const texts = new Map<string, string>();
  const names = new Set<string>();
  readTar(chunks, (member) => {
    const { name, kind, size } = member;
    if (names.has(name) || entries.length >= MOST_ENTRIES) throw new BackupError('damaged', `${JSON.stringify(name)} is in the backup twice, or too much is`);
    names.add(name);
    const isText = name === MANIFEST || name === SUMS;
    if (isText && size > MOST_TEXT) throw new BackupError('damaged', `${name} is too long`);
    const hash = createHash('sha256');
    const kept: Buffer[] = [];
    return {
      take(piece) {
        hash.update(piece);
        if (isText) kept.push(Buffer.from(piece));
      },
      end() {
        if (isText) texts.set(name, Buffer.concat(kept).toString('utf8'));
        entries.push(kind === 'file' ? { ...member, sha256: hash.digest('hex') } : member);
      },
    };
  });
  return { manifest: manifestOf(texts.get(MANIFEST)), entries: summed(entries, texts.get(SUMS)) };
}

/** Hands over the contents of files, one after the other; `begin` says where to, or undefined for what is not wanted. */
export function unpack(chunks: Iterable<Buffer>, begin: (member: Member) => Taker | undefined): void {
  readTar(chunks, (member) => begin(member) ?? NOWHERE);
}

const NOWHERE: Taker = { take: () => undefined, end: () => undefined };

function manifestOf(text: string | undefined): Manifest {
  try {
    return manifestSchema.parse(JSON.parse(text ?? ''));
  } catch (error) {
    throw new BackupError('damaged', `the backup has no ${MANIFEST} that says what it is of`, error);
  }
}

/** Every file with the sum that was made of it when it was read; the entries without those that are about the others. */
function summed(entries: readonly Entry[], sums: string | undefined): readonly Entry[] {
  const lines = new Map((sums ?? '').split('\n').slice(0, -1).map((line) => [line.slice(66), line.slice(0, 64)] as const));
  const files = entries.filter(({ kind, name }) => kind === 'file' && name !== SUMS);
  const wrong = files.find(({ name, sha256 }) => lines.get(name) !== sha256);
  if (wrong !== undefined || lines.size !== files.length || entries.at(-1)?.name !== SUMS || entries[0]?.name !== MANIFEST) {
    throw new BackupError('damaged', wrong === undefined ? `${SUMS} is about other files` : `/${wrong.name} is not what ${SUMS} says`);
  }
  return entries.filter(({ name }) => name !== SUMS && name !== MANIFEST);
}
