import { BackupError } from './fault.ts';

/** A member of an archive. */
export interface Member {
  /** Relative, with `/` between its parts, none of them `.` or `..`. */
  readonly name: string;
  readonly kind: 'file' | 'directory';
  /** The permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the epoch. */
  readonly mtime: number;
  /** Octets; of a directory 0. */
  readonly size: number;
}

export interface Content extends Member {
  /** Exactly `size` octets. */
  readonly content: Iterable<Uint8Array>;
}

const BLOCK = 512;
const MOST_PAX = 65_536;
const PAX_NAME = 'PaxHeader';

/** An archive in the pax format (POSIX.1-2024, pax, "ustar interchange format"), which every tar reads. Throws when a content is not as long as it was said to be. */
export function* writeTar(members: Iterable<Content>): Generator<Buffer> {
  for (const member of members) {
    const records = paxRecords(member);
    if (records.length > 0) {
      yield header({ ...member, name: PAX_NAME, size: records.length, mode: 0o600 }, 'x');
      yield padded(records);
    }
    yield header(member, member.kind === 'file' ? '0' : '5');
    let length = 0;
    for (const piece of member.content) {
      length += piece.length;
      yield Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    }
    if (length !== member.size) throw new BackupError('changing', `/${member.name} changed while it was read; try again`);
    if (length % BLOCK > 0) yield Buffer.alloc(BLOCK - (length % BLOCK));
  }
  yield Buffer.alloc(2 * BLOCK);
}

/** What becomes of a member that is read. */
export interface Taker {
  take(piece: Buffer): void;
  end(): void;
}

/** Reads what `writeTar` writes, and nothing else: no links, no devices, no names that lead out. Throws a BackupError. */
export function readTar(pieces: Iterable<Buffer>, begin: (member: Member) => Taker): void {
  const source = reader(pieces);
  let long: Partial<Member> = {};
  for (;;) {
    const block = source.exactly(BLOCK);
    if (block.every((octet) => octet === 0)) return source.onlyZeros();
    const { member, type } = parseHeader(block);
    if (type === 'x') {
      if (member.size > MOST_PAX) throw damaged('a header is too long');
      long = parsePax(source.exactly(member.size));
      source.skipPadding(member.size);
      continue;
    }
    // A file of ours runs as nobody else.
    const whole: Member = { ...member, ...long, mode: member.mode & (type === '0' ? 0o777 : 0o7777), kind: type === '0' ? 'file' : 'directory' };
    long = {};
    const fault = nameFault(whole.name);
    if (fault !== undefined) throw new BackupError('unsafe_path', `the archive holds a file by the name of ${JSON.stringify(whole.name)}: ${fault}`);
    if (whole.kind === 'directory' && whole.size !== 0) throw damaged('a directory has a content');
    const taker = begin(whole);
    source.pass(whole.size, (piece) => taker.take(piece));
    taker.end();
    source.skipPadding(whole.size);
  }
}

/** Why a name could lead out of the place where an archive is unpacked; undefined when it cannot. */
export function nameFault(name: string): string | undefined {
  if (name === '') return 'it is empty';
  if (name.startsWith('/')) return 'it is absolute';
  if (name.includes('\0')) return 'it has an octet 0';
  return name.split('/').some((part) => part === '' || part === '.' || part === '..') ? 'it leads elsewhere' : undefined;
}

function reader(pieces: Iterable<Buffer>) {
  const iterator = pieces[Symbol.iterator]();
  let held: Buffer = Buffer.alloc(0);

  function some(most: number): Buffer {
    while (held.length === 0) {
      const { done, value } = iterator.next();
      if (done === true) throw damaged('the archive is not whole');
      held = value;
    }
    const piece = held.subarray(0, most);
    held = held.subarray(piece.length);
    return piece;
  }

  function pass(length: number, each: (piece: Buffer) => void): void {
    for (let left = length; left > 0;) {
      const piece = some(left);
      left -= piece.length;
      each(piece);
    }
  }

  function exactly(length: number): Buffer {
    const parts: Buffer[] = [];
    pass(length, (piece) => parts.push(piece));
    return parts.length === 1 ? parts[0] as Buffer : Buffer.concat(parts);
  }

  return {
    pass, exactly,
    skipPadding(length: number) {
      if (length % BLOCK > 0) exactly(BLOCK - (length % BLOCK));
    },
    /** To the very end: what stands behind the archive must be looked at, too. */
    onlyZeros() {
      const zeros = (piece: Buffer): void => {
        if (piece.some((octet) => octet !== 0)) throw damaged('something stands behind the end of the archive');
      };
      zeros(held);
      for (let next = iterator.next(); next.done !== true; next = iterator.next()) zeros(next.value);
    },
  };
}

function header(member: Member, type: '0' | '5' | 'x'): Buffer {
  const block = Buffer.alloc(BLOCK);
  const name = Buffer.from(member.name);
  block.write(name.length <= 100 && isAscii(member.name) ? member.name : PAX_NAME, 0, 100, 'latin1');
  const number = (value: number, at: number, digits: number): void => void block.write(`${(value < 8 ** digits ? value : 0).toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  number(member.mode, 100, 7);
  number(member.uid, 108, 7);
  number(member.gid, 116, 7);
  number(member.size, 124, 11);
  number(member.mtime, 136, 11);
  block.write(`        ${type}`, 148, 'latin1');
  block.write('ustar\u000000', 257, 'latin1');
  const sum = block.reduce((total, octet) => total + octet, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function parseHeader(block: Buffer): { readonly member: Omit<Member, 'kind'>; readonly type: '0' | '5' | 'x' } {
  const text = (at: number, length: number): string => block.toString('latin1', at, at + length).replace(/\0.*$/s, '');
  const number = (at: number, length: number): number => {
    const digits = text(at, length).trim();
    if (!/^[0-7]+$/.test(digits)) throw damaged('a header has no number where one belongs');
    return Number.parseInt(digits, 8);
  };
  const sum = block.reduce((total, octet, at) => total + (at >= 148 && at < 156 ? 0x20 : octet), 0);
  const type = String.fromCharCode(block[156] ?? 0);
  if (text(257, 6) !== 'ustar' || number(148, 8) !== sum) throw damaged('a header is none');
  if (type !== '0' && type !== '5' && type !== 'x') throw new BackupError('unsafe_path', `the archive holds something that is neither a file nor a directory: ${JSON.stringify(text(0, 100))}`);
  if (text(345, 155) !== '' || text(157, 100) !== '') throw damaged('a header says more than it may');
  return { member: { name: text(0, 100), mode: number(100, 8) & 0o7777, uid: number(108, 8), gid: number(116, 8), size: number(124, 12), mtime: number(136, 12) }, type };
}

/** What does not fit into the fields of a header. */
function paxRecords({ name, size, uid, gid }: Member): Buffer {
  const records = [
    ...(Buffer.byteLength(name) > 100 || !isAscii(name) ? [`path=${name}`] : []), ...(size >= 8 ** 11 ? [`size=${size}`] : []), ...(uid >= 8 ** 7 ? [`uid=${uid}`] : []), ...(gid >= 8 ** 7 ? [`gid=${gid}`] : []),
  ];
  return Buffer.from(records.map((record) => {
    const rest = Buffer.byteLength(record) + 2;
    const length = [1, 2, 3, 4, 5].map((digits) => rest + digits).find((whole) => rest + String(whole).length === whole);
    return `${length} ${record}\n`;
  }).join(''));
}

function parsePax(octets: Buffer): Partial<Member> {
  const found: { -readonly [Key in keyof Member]?: Member[Key] } = {};
  for (let at = 0; at < octets.length;) {
    const [, digits = ''] = /^(\d{1,5}) /.exec(octets.toString('latin1', at, at + 6)) ?? [];
    const end = at + Number(digits);
    const [, key = '', value = ''] = /^(path|size|uid|gid)=([^\n\0]+)\n$/.exec(octets.toString('utf8', at + digits.length + 1, end)) ?? [];
    if (digits === '' || end > octets.length || key === '') throw damaged('a long header is none');
    if (key === 'path') found.name = value;
    else if (/^\d{1,15}$/.test(value)) found[key as 'size' | 'uid' | 'gid'] = Number(value);
    else throw damaged('a long header has no number where one belongs');
    at = end;
  }
  return found;
}

function padded(octets: Buffer): Buffer {
  return Buffer.concat([octets, Buffer.alloc((BLOCK - (octets.length % BLOCK)) % BLOCK)]);
}

function isAscii(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

function damaged(what: string): BackupError {
  return new BackupError('damaged', `what the backup holds is no archive that wardgate made: ${what}`);
}
