import { readLines, type Stretch } from './lines.ts';

/** Where segments are read from, by their names. */
interface Segments {
  read<Result>(segment: string, use: (stretch: Stretch) => Result): Result | undefined;
}

/** What is read at once. */
export const PIECE_OCTETS = 1 << 20;

/** Reads the lines of a segment a piece at a time, yielding between: a segment may be larger than the memory, and reading it longer than a thread may be kept busy. */
export function segmentPieces(evidence: Segments, segment: string, each: (octets: Buffer, start: number, end: number) => void): Generator<void> {
  return linePieces((use) => evidence.read(segment, use), each);
}

/** The same of any file of lines. */
export function* linePieces(open: <Result>(use: (stretch: Stretch) => Result) => Result | undefined, each: (octets: Buffer, start: number, end: number) => void): Generator<void> {
  for (let from = 0, more = true; more;) {
    more = false;
    let read = 0;
    open((stretch) => readLines({ ...stretch, from: stretch.from + from }, Buffer.alloc(0), (octets, start, end) => {
      each(octets, start, end);
      read += end + 1 - start;
      more = read >= PIECE_OCTETS;
      return !more;
    }));
    from += read;
    yield;
  }
}

/** Goes through pieces on a thread that has other things to do between them; undefined when it is to stop before the end. */
export async function unhurried<Result>(pieces: Generator<void, Result>, stop: () => boolean = () => false): Promise<Result | undefined> {
  for (;;) {
    const { done, value } = pieces.next();
    if (done === true) return value;
    if (stop()) return undefined;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The same at once. */
export function atOnce<Result>(pieces: Generator<void, Result>): Result {
  for (;;) {
    const { done, value } = pieces.next();
    if (done === true) return value;
  }
}
