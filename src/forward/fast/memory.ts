import type { Writable } from 'node:stream';

/** Octets of one TLS record: what one read from an upstream brings at most. */
const PIECE_OCTETS = 16_384;
/** Pieces that are kept for reuse: 4 MiB a thread. */
const MOST_KEPT = 256;

/**
 * Memory for octets on their way to clients, used again when they have left: new buffers would keep the garbage collector
 * busier than the encryption keeps the processor.
 */
export class OutgoingMemory {
  readonly #kept: ArrayBuffer[] = [];

  /** Room for so many octets, not cleared. */
  take(length: number): Buffer {
    if (length > PIECE_OCTETS) return Buffer.allocUnsafe(length);
    return Buffer.from(this.#kept.pop() ?? new ArrayBuffer(PIECE_OCTETS), 0, length);
  }

  /** These octets, one after the other, in such room. */
  join(pieces: readonly Uint8Array[]): Buffer {
    let length = 0;
    for (const piece of pieces) length += piece.length;
    const all = this.take(length);
    let at = 0;
    for (const piece of pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  /** Writes what was put into such room, and takes the room back; false when the writer should wait for `drain`. */
  write(to: Writable, octets: Buffer): boolean {
    if (to.writableLength > 0) return to.write(octets, () => this.#keep(octets));
    // With nothing queued before them they are encrypted during the call.
    const more = to.write(octets);
    this.#keep(octets);
    return more;
  }

  /** The same for octets in a buffer that is read into again at once. */
  writeCopy(to: Writable, octets: Buffer): boolean {
    if (to.writableLength === 0) return to.write(octets);
    // Otherwise another's would be sent in their place.
    return this.write(to, this.join([octets]));
  }

  #keep({ buffer }: Buffer): void {
    // Larger room is not kept.
    if (buffer.byteLength === PIECE_OCTETS && this.#kept.length < MOST_KEPT) this.#kept.push(buffer as ArrayBuffer);
  }
}
