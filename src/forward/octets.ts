/** Node's Buffer has these and its types do not; `write` with an encoding costs twice as much for short texts. */
type Latin1Buffer = Buffer & { latin1Write(text: string, offset: number): number; latin1Slice(from: number, to: number): string };

/** Writes latin1 text into a buffer; returns where it ends. */
export function writeLatin1(into: Buffer, text: string, at: number): number {
  return at + (into as Latin1Buffer).latin1Write(text, at);
}

/** Copies a whole buffer into another; returns where it ends. */
export function writeOctets(into: Buffer, octets: Buffer, at: number): number {
  into.set(octets, at);
  return at + octets.length;
}

/** The latin1 text of a part of a buffer. */
export function latin1(octets: Buffer, from: number, to: number): string {
  return (octets as Latin1Buffer).latin1Slice(from, to);
}

/** Whether a buffer begins with another. */
export function startsWith(octets: Buffer, beginning: Buffer): boolean {
  return octets.length >= beginning.length && beginning.compare(octets, 0, beginning.length) === 0;
}
