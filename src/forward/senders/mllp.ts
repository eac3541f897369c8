import { readHeader } from './hl7.ts';
import { NONE, type Finding, type Scanner } from './scanner.ts';

const START = 0x0b;
const END = 0x1c;
const CR = 0x0d;
const LF = 0x0a;
const ESC = 0x1b;

/** A header segment is a few hundred octets long; it is held back as a whole. */
const LONGEST_HEADER = 4_096;

const ORDINARY = 0;
/** Ends a segment, for us or for a receiver that splits lines more generously: CR, LF, FF, GS, RS. */
const BREAK = 1;
const STOP = 2;
/** Any other control character: some receivers begin a message at each MSH behind one, wherever in a segment it stands. */
const CONTROL = 3;
/**
 * A blank, or (part of) a character beyond ASCII. At the beginning of a line receivers strip the blanks of Unicode and byte order
 * marks, and drop what they cannot decode.
 */
const SKIPPED = 4;
const CLASS = new Uint8Array(256).map((_, octet) => (octet < 0x20 ? CONTROL : octet === 0x20 || octet >= 0x7f ? SKIPPED : ORDINARY));
for (const octet of [CR, LF, 0x0c, 0x1d, 0x1e]) CLASS[octet] = BREAK;
for (const octet of [START, END]) CLASS[octet] = STOP;

/** In the middle of a segment: what need not be looked at. Octets of 0x80 to 0xa9 may be the last ones of a line end in some encoding. */
const DATA = new Uint8Array(256).map((_, octet) => (octet < 0x20 || (octet >= 0x80 && octet <= 0xa9) ? 0 : 1));

/** The segments that name a sender: of a message, of a batch of messages, of a file of batches. */
const HEADERS = ['MSH', 'BHS', 'FHS'];
/** In small letters they are refused, unless a word of a text goes on, or a punctuation mark and a blank follow as in prose. */
const SMALL_HEADER = /^(?:MSH|BHS|FHS)(?:\||[!-/:-@[-`{-~][!-~\u0080-\u00ff])/i;
/** What may yet become a header. */
const PART_OF_HEADER = /^(?:[MBF]|MS|[BF]H|(?:MSH|BHS|FHS)[!-/:-@[-`{-~]?)$/i;
const HIDDEN = 'a header segment behind a blank, a control character or one beyond ASCII, or in small letters';

type State = 'between' | 'header' | 'body' | 'line' | 'escape' | 'name' | 'end';

/**
 * Follows HL7 v2 messages in MLLP frames (0x0B … 0x1C 0x0D). Every header segment is found, the second one of a frame too:
 * receivers take batches apart. A segment is a header when it begins with MSH, BHS or FHS, whatever follows: what follows is the
 * separator that it declares (HL7 v2.5.1 section 2.5.4). In the middle of a segment the same letters are text.
 *
 * Where receivers are known to differ about where a message begins or ends, it is malformed: a frame within a frame, an end without
 * its carriage return, a frame that does not begin with a header, anything but line ends between frames, a header in small
 * letters, and one that begins where only some receivers begin a segment: behind blanks or characters beyond ASCII at the beginning of
 * a line, behind a control character, or behind what ends a line in some encoding.
 */
export function createMllpScanner(): Scanner {
  return follow('between', false);
}

function follow(beginning: State, declared: boolean): Scanner {
  let state = beginning;
  /** Whether the message declares UTF-8. */
  let utf8 = declared;
  /** What was held back of earlier chunks: a frame's start and its header, or what may become a header. */
  let held: Buffer = NONE;
  /** Octets that are held in front of the segment: the frame's start. */
  let lead = 0;
  /** Whether a segment begins here for some receivers only. */
  let doubtful = false;
  /** The last two octets of the chunk before. */
  let earlier: readonly [number, number] = [0, 0];

  function* scan(chunk: Buffer): Generator<Finding, void, void> {
    /** Where of the chunk what has not gone on begins, and where what is held back begins; -1: nothing is. */
    let from = 0;
    let hold = held.length > 0 ? 0 : -1;
    const segment = (to: number): Buffer => Buffer.concat([held, chunk.subarray(hold, to)]).subarray(lead);
    const before = (at: number): number => (at >= 0 ? chunk[at] : earlier[at + 2]) as number;
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
          if (CLASS[octet] !== BREAK && CLASS[octet] !== STOP) break;
          if (octet === START) return yield malformed('an MLLP frame begins within another');
          const whole = segment(at);
          if (!HEADERS.includes(whole.toString('latin1', 0, 3))) return yield malformed('a frame that does not begin with MSH, BHS or FHS');
          const header = readHeader(whole);
          if (header.kind === 'malformed') return yield header;
          utf8 = header.utf8;
          if (hidesHeader(whole, utf8)) return yield malformed(HIDDEN);
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
          while (at < chunk.length && DATA[chunk[at] as number] === 1) at++;
          if (at === chunk.length) break;
          const last = chunk[at] as number;
          if (last === START) return yield malformed('an MLLP frame begins within another');
          if (last === END) state = 'end';
          else if (CLASS[last] === BREAK || CLASS[last] === CONTROL) {
            doubtful = CLASS[last] === CONTROL;
            state = 'line';
          } else if (endsLine(before(at - 2), before(at - 1), last, utf8)) {
            doubtful = true;
            // The fourth octet of a character in GB 18030 is still to come.
            state = last === 0x81 || last === 0xa6 ? 'escape' : 'line';
          }
          break;
        }
        case 'line':
          if (octet === START) return yield malformed('an MLLP frame begins within another');
          if (octet === END) state = 'end';
          else if (CLASS[octet] === BREAK) doubtful = false;
          else if (CLASS[octet] !== ORDINARY) {
            doubtful = true;
            // Of ISO 2022, as Japanese senders use it: no character for who knows it. In the middle of a segment the letters behind it are text.
            if (octet === ESC) state = 'escape';
          } else if (mayBegin(octet, chunk[at + 1])) {
            hold = at;
            lead = 0;
            state = 'name';
          } else state = 'body';
          break;
        case 'escape':
          // At least one of these, then one more octet.
          if (octet >= 0x20 && octet <= 0x2f) break;
          state = 'line';
          if (before(at - 1) === ESC || octet < 0x30 || octet > 0x7e) at--;
          break;
        case 'name': {
          const name = segment(at + 1).toString('latin1');
          if (SMALL_HEADER.test(name) || (doubtful && HEADERS.includes(name))) return yield malformed(HIDDEN);
          if (HEADERS.includes(name)) {
            state = 'header';
            break;
          }
          if (PART_OF_HEADER.test(name)) break;
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
    earlier = [before(chunk.length - 2), before(chunk.length - 1)];
    const to = hold === -1 ? chunk.length : hold;
    if (to > from) yield { kind: 'octets', octets: chunk.subarray(from, to) };
    // Copied: a few octets must not keep the whole chunk.
    if (hold !== -1) held = Buffer.concat([held, chunk.subarray(hold)]);
  }

  return { scan, whole: () => state === 'between' };
}

/** Whether another header stands in a header segment, where some receivers begin a segment. */
function hidesHeader(segment: Buffer, utf8: boolean): boolean {
  for (const { kind } of follow('body', utf8).scan(segment.subarray(3))) if (kind === 'malformed') return true;
  return false;
}

/**
 * Whether three octets, all but the last in any segment, end a line for a receiver that decodes before it splits: U+0085 (0x85 in ISO 8859, whatever
 * stands before it, unless the message declares UTF-8 and it can only be the end of another character), U+2028, U+2029; these in GB 18030 but for their last
 * octet; controls in more octets of UTF-8 than they need, which lenient decoders take.
 */
function endsLine(first: number, second: number, third: number, utf8: boolean): boolean {
  if (third === 0x85 && (!utf8 || second < 0x80 || second === 0xc2)) return true;
  if (third === 0xa8 || third === 0xa9) return first === 0xe2 && second === 0x80;
  if (third === 0x81 && second === 0x30) return first === 0x81;
  if (third === 0xa6) return first === 0x81 && second === 0x36;
  return third < 0xa0 && (second === 0xc0 || (second === 0x80 && (first === 0xe0 || first === 0x80)));
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
