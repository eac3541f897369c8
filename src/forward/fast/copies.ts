import type { Writable } from 'node:stream';

/** Octets of one TLS record: what one read from an upstream brings at most. */
const COPY_OCTETS = 16_384;
/** Copies that are kept for reuse: 4 MiB a thread. */
const MOST_KEPT = 256;

/**
 * Writes octets out of a buffer that is read into again at once. Where they cannot leave during the call they are copied, into
 * memory that is used again when they have left: a new buffer each time would keep the garbage collector busier than
 * the encryption keeps the processor.
 */
export class CopyingWriter {
  readonly #kept: Buffer[] = [];

  /** As `Writable.write`: false when the writer should wait for `drain`. */
  write(to: Writable, octets: Buffer): boolean {
    // With nothing queued the octets are encrypted during the call. Otherwise another's would be sent in their place.
    if (to.writableLength === 0) return to.write(octets);
    if (octets.length > COPY_OCTETS) return to.write(Buffer.from(octets));
    const copy = this.#kept.pop() ?? Buffer.allocUnsafeSlow(COPY_OCTETS);
    copy.set(octets);
    return to.write(copy.subarray(0, octets.length), () => {
      if (this.#kept.length < MOST_KEPT) this.#kept.push(copy);
    });
  }
}
