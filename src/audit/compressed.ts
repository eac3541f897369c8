import { createHash } from 'node:crypto';
import { fstatSync, readSync } from 'node:fs';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress, zstdDecompressSync } from 'node:zlib';
import type { ReadAt } from './lines.ts';

/** What the name of a compressed segment has behind that of the plain one. */
export const COMPRESSED = '.zst';
const UNFINISHED = '.zst.new';

/*
 * Zstandard's seekable format (contrib/seekable_format of its reference implementation): frames that each decompress by themselves, then a frame that
 * decoders skip with the sizes of all. So any zstd reads the file, and we read any place of it, a frame at a time.
 */
const SKIPPABLE = 0x184d2a5e;
const SEEKABLE = 0x8f92eab1;
const FOOTER_OCTETS = 9;
const ENTRY_OCTETS = 8;
const FRAME_OCTETS = 1 << 20;
/** A frame of somebody else's must not fill the memory. */
const MOST_FRAME_OCTETS = 16 << 20;
const MOST_FRAMES = 1 << 20;

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

interface Frame {
  /** Where it lies in the file, and what it holds in the plain one. */
  readonly at: number;
  readonly octets: number;
  readonly plainAt: number;
  readonly plain: number;
}

/** A compressed segment that can be read at any place as if it were plain. */
export interface CompressedFile {
  readonly size: number;
  readonly read: ReadAt;
}

/** Thrown when a compressed segment cannot be read as one. */
export class CompressedError extends Error {}

/** Reads a compressed segment a frame at a time. Throws a CompressedError when it is none. */
export function openCompressed(file: number): CompressedFile {
  const frames = framesOf(file);
  const last = frames.at(-1);
  let held: { readonly frame: Frame; readonly plain: Buffer } | undefined;

  function plainOf(frame: Frame): Buffer {
    if (held?.frame !== frame) held = { frame, plain: inflate(readExactly(file, frame.at, frame.octets), frame) };
    return held.plain;
  }

  return {
    size: last === undefined ? 0 : last.plainAt + last.plain,
    read(into, offset, length, position) {
      const frame = frameAt(frames, position);
      if (frame === undefined) return 0;
      const from = position - frame.plainAt;
      return plainOf(frame).copy(into, offset, from, Math.min(frame.plain, from + length));
    },
  };
}

/** What `info: true` makes of it: `bytesWritten` are the octets that were read. */
interface Inflated {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

function inflate(octets: Buffer, { plain: expected, at }: Frame): Buffer {
  let plain: Buffer;
  let read: number;
  try {
    ({ buffer: plain, engine: { bytesWritten: read } } = zstdDecompressSync(octets, { maxOutputLength: expected, info: true }) as unknown as Inflated);
  } catch (error) {
    throw new CompressedError(`the octets from ${at} on cannot be decompressed: ${(error as Error).message}`, { cause: error });
  }
  // What follows is skipped here, and may be another program's format that zstdcat reads on with.
  if (read !== octets.length) throw new CompressedError(`the octets from ${at} on go on behind what is compressed in them`);
  if (plain.length !== expected) throw new CompressedError(`the octets from ${at} on hold ${plain.length} octets and not ${expected}`);
  return plain;
}

function frameAt(frames: readonly Frame[], position: number): Frame | undefined {
  let low = 0;
  let high = frames.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const frame = frames[middle] as Frame;
    if (position < frame.plainAt) high = middle - 1;
    else if (position >= frame.plainAt + frame.plain) low = middle + 1;
    else return frame;
  }
  return undefined;
}

function readExactly(file: number, position: number, length: number): Buffer {
  const octets = Buffer.allocUnsafe(length);
  for (let got = 0; got < length;) {
    const read = readSync(file, octets, got, length - got, position + got);
    if (read === 0) throw new CompressedError('the file ends in the middle');
    got += read;
  }
  return octets;
}

function framesOf(file: number): readonly Frame[] {
  const { size } = fstatSync(file);
  if (size < FOOTER_OCTETS + 8) throw new CompressedError('it is no compressed segment');
  const footer = readExactly(file, size - FOOTER_OCTETS, FOOTER_OCTETS);
  const count = footer.readUInt32LE(0);
  const table = 8 + count * ENTRY_OCTETS + FOOTER_OCTETS;
  if (footer.readUInt32LE(5) !== SEEKABLE || footer[4] !== 0 || count > MOST_FRAMES || table > size) throw new CompressedError('it is no compressed segment, or its end is not there');
  const entries = readExactly(file, size - table, table - FOOTER_OCTETS);
  if (entries.readUInt32LE(0) !== SKIPPABLE || entries.readUInt32LE(4) !== table - 8) throw new CompressedError('its table of frames is not in order');
  const frames: Frame[] = [];
  let at = 0;
  let plainAt = 0;
  for (let entry = 8; entry < entries.length; entry += ENTRY_OCTETS) {
    const frame = { at, octets: entries.readUInt32LE(entry), plainAt, plain: entries.readUInt32LE(entry + 4) };
    if (frame.plain === 0 || frame.plain > MOST_FRAME_OCTETS || frame.octets > 2 * MOST_FRAME_OCTETS) throw new CompressedError('its table of frames is not in order');
    frames.push(frame);
    at += frame.octets;
    plainAt += frame.plain;
  }
  if (at !== size - table) throw new CompressedError('its table of frames is not that of the file');
  return frames;
}

/** What compressing a segment has come to; octets of the file. */
export interface Compressed {
  readonly plain: number;
  readonly compressed: number;
}

/**
 * Compresses a segment that nobody writes any more, of which `octets` are known: beside it first, flushed, read back and compared; then it takes the plain one's
 * place. A process that dies on the way leaves the plain one, alone or with what is made anew. Undefined, and nothing done, where the segment has
 * another size, which is for `verify` to say, or where it is to stop. Most of the work is done off the thread.
 */
export async function compressSegment(directory: string, segment: string, octets: number, stop: () => boolean = () => false): Promise<Compressed | undefined> {
  const plain = join(directory, segment);
  const unfinished = join(directory, `${segment}${UNFINISHED}`);
  const source = await open(plain, 'r');
  try {
    if ((await source.stat()).size !== octets) return undefined;
    const written = await writeFrames(source, octets, unfinished, stop);
    if (written === undefined) {
      await rm(unfinished, { force: true });
      return undefined;
    }
    const readBack = await plainHash(unfinished);
    if (readBack !== written.hash) throw new Error(`${unfinished}: what was compressed is not what was read back`);
    await rename(unfinished, `${plain}${COMPRESSED}`);
    await flushDirectory(directory);
    await rm(plain);
    await flushDirectory(directory);
    return { plain: octets, compressed: written.compressed };
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw error;
  } finally {
    await source.close();
  }
}

async function writeFrames(source: FileHandle, octets: number, path: string, stop: () => boolean): Promise<{ readonly hash: string; readonly compressed: number } | undefined> {
  const digest = createHash('sha256');
  const sizes: [number, number][] = [];
  const target = await open(path, 'w', 0o600);
  let compressed = 0;
  try {
    for (let at = 0; at < octets;) {
      if (stop()) return undefined;
      const piece = await readPiece(source, at, Math.min(FRAME_OCTETS, octets - at));
      digest.update(piece);
      const frame = await compress(piece, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
      await target.writeFile(frame);
      sizes.push([frame.length, piece.length]);
      at += piece.length;
      compressed += frame.length;
    }
    const table = tableOf(sizes);
    await target.writeFile(table);
    await target.sync();
    return { hash: digest.digest('base64url'), compressed: compressed + table.length };
  } finally {
    await target.close();
  }
}

function tableOf(sizes: readonly (readonly [number, number])[]): Buffer {
  const table = Buffer.alloc(8 + sizes.length * ENTRY_OCTETS + FOOTER_OCTETS);
  table.writeUInt32LE(SKIPPABLE, 0);
  table.writeUInt32LE(table.length - 8, 4);
  sizes.forEach(([octets, plain], index) => {
    table.writeUInt32LE(octets, 8 + index * ENTRY_OCTETS);
    table.writeUInt32LE(plain, 12 + index * ENTRY_OCTETS);
  });
  table.writeUInt32LE(sizes.length, table.length - FOOTER_OCTETS);
  table.writeUInt32LE(SEEKABLE, table.length - 4);
  return table;
}

async function plainHash(path: string): Promise<string> {
  const digest = createHash('sha256');
  const handle = await open(path, 'r');
  try {
    for (const frame of framesOf(handle.fd)) digest.update(await decompress(await readPiece(handle, frame.at, frame.octets), { maxOutputLength: MOST_FRAME_OCTETS }));
    return digest.digest('base64url');
  } finally {
    await handle.close();
  }
}

async function readPiece(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const piece = Buffer.allocUnsafe(length);
  for (let got = 0; got < length;) {
    const { bytesRead } = await file.read(piece, got, length - got, position + got);
    if (bytesRead === 0) throw new Error('the file has become shorter while it was read');
    got += bytesRead;
  }
  return piece;
}

async function flushDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
