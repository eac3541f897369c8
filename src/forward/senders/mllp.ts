import { readHeader } from './hl7.ts';
import { NONE, type Finding, type Scanner } from './scanner.ts';

const START = 0x0b;
const END = 0x1c;
const CR = 0x0d;
const LF = 0x0a;

/** A header segment is a few hundred octets long; it is held back as a whole. */
const LONGEST_HEADER = 4_096;

const ORDINARY = 0;
/** Ends a segment, for us or for a receiver that splits lines more generously: LF, FF, GS, RS. */
const BREAK = 1;
const STOP = 2;
/**
 * A blank, a control or (part of) a character beyond ASCII. Receivers split lines at U+0085, U+2028 and U+2029 too, strip the blanks
 * of Unicode and byte order marks, and decode in ways of their own: what stands behind any such octet may begin a segment.
 */
const DOUBTFUL = 3;
const CLASS = new Uint8Array(256).map((_, octet) => (octet <= 0x20 || octet >= 0x7f ? DOUBTFUL : ORDINARY));
for (const octet of [CR, LF, 0x0c, 0x1d, 0x1e]) CLASS[octet] = BREAK;
for (const octet of [START, END]) CLASS[octet] = STOP;

/** The segments that name a sender: of a message, of a batch of messages, of a file of batches. */
const HEADERS = ['MSH', 'BHS', 'FHS'];

/** Their beginnings, with whatever separators they declare; a line of text may well begin with "MSH: 12 pg/ml". */
const LIKE_HEADER = /^(?:MSH|BHS|FHS)(?:\||[!-/:-@[-`{-~]{3})/i;
/** What may yet become one. */
const PART_OF_HEADER = /^(?:[MBF]|MS|[BF]H|(?:MSH|BHS|FHS)[!-/:-@[-`{-~]{0,2})$/i;
/** A header within a header segment, behind an octet that is DOUBTFUL. */
// eslint-disable-next-line no-control-regex
const HIDDEN_HEADER = /[\u0000-\u0020\u007f-\u00ff](?:MSH|BHS|FHS)(?:\||[!-/:-@[-`{-~]{3})/i;
const HIDDEN = 'a header segment behind a blank, a control character or one beyond ASCII, or in small letters';

/**
 * Follows HL7 v2 messages in MLLP frames (0x0B … 0x1C 0x0D). Every header segment is found, the second one of a frame too:
 * receivers take batches apart. Where receivers are known to differ about where a message begins or ends, it is malformed: a
 * frame within a frame, an end without its carriage return, a frame that does not begin with a header, a header behind a
 * blank, a control or a character beyond ASCII, wherever it stands, or in small letters, and anything but line ends between frames.
 */
export function createMllpScanner(): Scanner {
  let state: 'between' | 'header' | 'body' | 'line' | 'name' | 'end' = 'between';
  /** What was held back of earlier chunks: a frame's start and its header, or what may become a header. */
  let held: Buffer = NONE;
  /** Octets that are held in front of the segment: the frame's start. */
  let lead = 0;
  /** Whether a DOUBTFUL octet stands between the last BREAK and here, with nothing ordinary behind it. */
  let doubtful = false;

  function* scan(chunk: Buffer): Generator<Finding, void, void> {
    /** Where of the chunk what has not gone on begins, and where what is held back begins; -1: nothing is. */
    let from = 0;
    let hold = held.length > 0 ? 0 : -1;
    const segment = (to: number): Buffer => Buffer.concat([held, chunk.subarray(hold, to)]).subarray(lead);
    for (let at = 0; at < chunk.length; at++) {
      const octet = chunk[at] as number;
      switch (state) {
        case 'between':
          if (octet === START) {
            hold = at;
            lead = 1;
            state = 'header';
          } else if (octet !== CR && octet !== LF) return yield malformed('octets outside an MLLP frame');
          break;
        case 'header': {
          if (held.length + at - hold > LONGEST_HEADER) return yield malformed(`a header segment longer than ${LONGEST_HEADER} octets`);
          if (CLASS[octet] === ORDINARY || CLASS[octet] === DOUBTFUL) break;
          if (octet === START) return yield malformed('an MLLP frame begins within another');
          const whole = segment(at);
          if (!HEADERS.includes(whole.toString('latin1', 0, 3))) return yield malformed('a frame that does not begin with MSH, BHS or FHS');
          if (HIDDEN_HEADER.test(whole.toString('latin1'))) return yield malformed(HIDDEN);
          const header = readHeader(whole);
          if (header.kind === 'malformed') return yield header;
          // What came before goes first: it was let in.
          if (held.length === 0 && hold > from) yield { kind: 'octets', octets: chunk.subarray(from, hold) };
          yield { kind: 'sender', announced: header.sender };
          if (held.length > 0) yield { kind: 'octets', octets: held };
          from = held.length > 0 ? 0 : hold;
          held = NONE;
          hold = -1;
          doubtful = false;
          state = octet === END ? 'end' : 'line';
          break;
        }
        case 'body': {
          while (at < chunk.length && CLASS[chunk[at] as number] === ORDINARY) at++;
          if (at === chunk.length) break;
          if (chunk[at] === START) return yield malformed('an MLLP frame begins within another');
          doubtful = CLASS[chunk[at] as number] === DOUBTFUL;
          state = chunk[at] === END ? 'end' : 'line';
          break;
        }
        case 'line':
          if (octet === START) return yield malformed('an MLLP frame begins within another');
          if (octet === END) state = 'end';
          else if (CLASS[octet] === BREAK) doubtful = false;
          else if (CLASS[octet] === DOUBTFUL) doubtful = true;
          else if (mayBegin(octet, chunk[at + 1])) {
            hold = at;
            lead = 0;
            state = 'name';
          } else state = 'body';
          break;
        case 'name': {
          const name = segment(at + 1).toString('latin1');
          const like = LIKE_HEADER.test(name);
          if (!like && PART_OF_HEADER.test(name)) break;
          if (like) {
            if (doubtful || !HEADERS.includes(name.slice(0, 3))) return yield malformed(HIDDEN);
            state = 'header';
            break;
          }
          if (held.length > 0) {
            yield { kind: 'octets', octets: held };
            held = NONE;
            from = 0;
          }
          hold = -1;
          state = 'body';
          // To be looked at again: it may end the line or the frame.
          at--;
          break;
        }
        case 'end':
          if (octet !== CR) return yield malformed('an MLLP frame ends without its carriage return');
          state = 'between';
          break;
      }
    }
    const to = hold === -1 ? chunk.length : hold;
    if (to > from) yield { kind: 'octets', octets: chunk.subarray(from, to) };
    // Copied: a few octets must not keep the whole chunk.
    if (hold !== -1) held = Buffer.concat([held, chunk.subarray(hold)]);
  }

  return { scan, whole: () => state === 'between' };
}

/** Whether a header may begin so, by its first octet and the next one, if that has come: most words of a text are ruled out without holding them back. */
function mayBegin(octet: number, next: number | undefined): boolean {
  const letter = octet & 0xdf;
  if (letter !== 0x4d && letter !== 0x42 && letter !== 0x46) return false;
  return next === undefined || (next & 0xdf) === (letter === 0x4d ? 0x53 : 0x48);
}

function malformed(detail: string): Finding {
  return { kind: 'malformed', detail };
}
