import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { readSync } from 'node:fs';
import { z } from 'zod';
import { BackupError } from './fault.ts';
import { lock, unlock, type Lock, type Secret } from './lock.ts';

/*
 * docs/backup.md describes every octet. Chunks are encrypted as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015): the nonce is a counter and
 * whether it is the last one, so that none can be left out, repeated, moved or cut off.
 */
const MAGIC = Buffer.from('WARDGATE-BACKUP\n');
const VERSION = 1;
const CHUNK = 65_536;
const TAG = 16;
const MAC = 32;
const MOST_HEADER = 65_536;
const KEY = 32;
const FIXED = MAGIC.length + 1 + 4;

const headerSchema = z.strictObject({ format: z.literal('wardgate-backup'), version: z.literal(VERSION), made: z.iso.datetime(), lock });

/** What is known of a backup without opening it; nobody vouches for it yet. */
export interface BackupHeader {
  /** ISO 8601. */
  readonly made: string;
  readonly lock: Lock;
}

/** Encrypts octets: the pieces of the file, one after the other. `lockKey` locks the key of the file. */
export function* sealBackup(made: string, lockKey: (key: Buffer) => object, plain: Iterable<Uint8Array>): Generator<Buffer> {
  const key = randomBytes(KEY);
  const json = Buffer.from(JSON.stringify({ format: 'wardgate-backup', version: VERSION, made, lock: lockKey(key) }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  const head = Buffer.concat([MAGIC, Buffer.of(VERSION), length, json]);
  yield head;
  yield macOf(key, head);
  const payload = payloadKey(key);
  let held = Buffer.alloc(0);
  let counter = 0;
  for (const piece of plain) {
    held = held.length === 0 ? Buffer.from(piece) : Buffer.concat([held, piece]);
    let at = 0;
    // One octet more than a chunk: only then it is known not to be the last.
    for (; held.length - at > CHUNK; at += CHUNK) yield sealChunk(payload, counter++, false, held.subarray(at, at + CHUNK));
    held = held.subarray(at);
  }
  yield sealChunk(payload, counter, true, held);
}

/** Reads the header of an open file. Throws a BackupError when it is none. */
export function readHeader(file: number): BackupHeader {
  return headOf(file).header;
}

/** A backup whose key is at hand; `chunks` may be read again and again. */
export interface OpenBackup {
  readonly header: BackupHeader;
  /** The octets inside, in order; throws a BackupError at the first that is not as it was written. All of it is good only when it has ended. */
  chunks(): Generator<Buffer>;
}

/** Opens a backup. Throws a BackupError for a wrong secret or a header that was changed. */
export function openBackup(file: number, secret: Secret): OpenBackup {
  const { header, head, end } = headOf(file);
  const key = unlock(header.lock, secret);
  if (key.length !== KEY || !timingSafeEqual(macOf(key, head), exactly(file, end, MAC))) throw new BackupError('damaged', 'the header is not as it was written');
  const payload = payloadKey(key);
  return { header, chunks: () => openChunks(file, end + MAC, payload) };
}

function headOf(file: number): { readonly header: BackupHeader; readonly head: Buffer; readonly end: number } {
  const fixed = upTo(file, 0, FIXED);
  if (fixed.length < FIXED || !fixed.subarray(0, MAGIC.length).equals(MAGIC)) throw new BackupError('not_a_backup', 'this is no backup that wardgate made');
  if (fixed[MAGIC.length] !== VERSION) throw new BackupError('not_a_backup', `this backup is of version ${fixed[MAGIC.length]}; this program reads version ${VERSION}`);
  const length = fixed.readUInt32BE(MAGIC.length + 1);
  if (length > MOST_HEADER) throw new BackupError('damaged', `the header would be ${length} octets long`);
  const head = exactly(file, 0, FIXED + length);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(head.subarray(FIXED)));
  } catch (error) {
    throw new BackupError('damaged', 'the header is no JSON', error);
  }
  const parsed = headerSchema.safeParse(value);
  if (!parsed.success) throw new BackupError('damaged', `the header is not one of a backup: ${parsed.error.issues[0]?.path.join('.') ?? ''}`, parsed.error);
  return { header: parsed.data, head, end: FIXED + length };
}

function* openChunks(file: number, from: number, key: Buffer): Generator<Buffer> {
  let at = from;
  let sealed = upTo(file, at, CHUNK + TAG);
  for (let counter = 0; ; counter++) {
    at += sealed.length;
    const next = sealed.length < CHUNK + TAG ? Buffer.alloc(0) : upTo(file, at, CHUNK + TAG);
    const last = next.length === 0;
    const plain = openChunk(key, counter, last, sealed);
    if (plain === undefined) throw new BackupError('damaged', `the backup is damaged, or not whole, at octet ${at - sealed.length} or behind it`);
    // An empty one says nothing that the one before could not have said, and only an empty backup needs it.
    if (last && plain.length === 0 && counter > 0) throw new BackupError('damaged', 'the backup ends in an empty chunk');
    yield plain;
    if (last) return;
    sealed = next;
  }
}

function sealChunk(key: Buffer, counter: number, last: boolean, plain: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce(counter, last));
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function openChunk(key: Buffer, counter: number, last: boolean, sealed: Buffer): Buffer | undefined {
  const cut = sealed.length - TAG;
  if (cut < 0) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce(counter, last), { authTagLength: TAG }).setAuthTag(sealed.subarray(cut));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(0, cut)), decipher.final()]);
  } catch {
    return undefined;
  }
}

function nonce(counter: number, last: boolean): Buffer {
  const octets = Buffer.alloc(12);
  octets.writeUIntBE(counter, 5, 6);
  octets[11] = last ? 1 : 0;
  return octets;
}

function macOf(key: Buffer, head: Buffer): Buffer {
  return createHmac('sha256', Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), 'wardgate backup v1 header', KEY))).update(head).digest();
}

function payloadKey(key: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), 'wardgate backup v1 payload', KEY));
}

function exactly(file: number, at: number, length: number): Buffer {
  const octets = upTo(file, at, length);
  if (octets.length < length) throw new BackupError('damaged', 'the backup is not whole');
  return octets;
}

/** So many octets, or what there is of them. */
function upTo(file: number, at: number, length: number): Buffer {
  const octets = Buffer.alloc(length);
  let read = 0;
  while (read < length) {
    const more = readSync(file, octets, read, length - read, at + read);
    if (more === 0) break;
    read += more;
  }
  return octets.subarray(0, read);
}
