import { latin1, startsWith } from '../octets.ts';

/** How the end of an answer's body is known. */
export type AnswerBody =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly octets: number }
  | { readonly kind: 'chunked' };

/** An answer head that the fast path takes. */
export interface AnswerHead {
  readonly kind: 'head';
  /** Octets of the head, its blank line included. */
  readonly length: number;
  readonly status: number;
  /** Name, value, name, value…, as received, blanks around values trimmed. */
  readonly fields: readonly string[];
  readonly body: AnswerBody;
  /** Whether the upstream ends the connection after this answer. */
  readonly close: boolean;
}

/** `unusual`: for Node's own parser to make something of. */
export type AnswerHeadReading = AnswerHead | { readonly kind: 'incomplete' } | { readonly kind: 'unusual' };

/** An answer head that has been read, with the octets that it was. */
export interface RecognisedHead {
  /** As it came, its blank line included. */
  readonly octets: Buffer;
  readonly head: AnswerHead;
  /** Whether it answers a HEAD request. */
  readonly toHead: boolean;
}

const INCOMPLETE = { kind: 'incomplete' } as const;
const UNUSUAL = { kind: 'unusual' } as const;
const NONE: AnswerBody = { kind: 'none' };
const CHUNKED: AnswerBody = { kind: 'chunked' };

// Final answers only; the reason phrase tells nothing and goes no further.
const STATUS_LINE = /^HTTP\/1\.1 ([2-5][0-9]{2}) [ -~]*\r\n/;
// Values may be empty, and hold blanks, tabs and octets above ASCII between visible characters: servers send all of that.
// No tabs around them: behind "chunked" Node's parser takes one for a part of the coding's name.
const FIELD_LINE = /([!#$%&'*+\-.^_`|~0-9A-Za-z]+): *((?:[!-~\u0080-\u00ff](?:[ -~\t\u0080-\u00ff]*[!-~\u0080-\u00ff])?)?) *\r\n/y;
const MOST_FIELDS = 200;
/** Fields that make an answer something else than the common shape; Node's parser takes Proxy-Connection for Connection. */
const UNUSUAL_FIELDS = new Set(['upgrade', 'trailer', 'proxy-connection']);
const LENGTH = /^(?:0|[1-9][0-9]{0,14})$/;

const BLANK_LINE = '\r\n\r\n';
/** A longer head is no answer any more. */
const MOST_ANSWER_HEAD = 65_536;

/**
 * Recognises the head that the octets received so far begin with; `more` while it is not whole, `unusual` for Node's parser. `last` is
 * what was recognised before, and is given back for the same octets: a server's answers are mostly alike, and need not be read twice.
 */
export function recogniseHead<Last extends RecognisedHead>(octets: Buffer, last: Last | undefined, toHead: boolean): Last | RecognisedHead | 'more' | 'unusual' {
  if (last !== undefined && last.toHead === toHead && startsWith(octets, last.octets)) return last;
  const end = octets.indexOf(BLANK_LINE);
  if (end === -1) return octets.length > MOST_ANSWER_HEAD ? 'unusual' : 'more';
  const head = readAnswerHead(latin1(octets, 0, end + BLANK_LINE.length), { head: toHead });
  return head.kind === 'head' ? { octets: Buffer.from(octets.subarray(0, head.length)), head, toHead } : 'unusual';
}

/**
 * Recognises the common shape of a final HTTP/1.1 answer (RFC 9112) in the latin1 text of the octets received; `head`
 * says that it answers a HEAD request. Answers that end with their connection, interim ones and everything that two
 * parsers might read differently are `unusual`.
 */
export function readAnswerHead(text: string, request: { readonly head: boolean }): AnswerHeadReading {
  const end = text.indexOf('\r\n\r\n');
  const line = STATUS_LINE.exec(text);
  // Once a line has ended: what is no HTTP/1.1 may not have an end that is waited for here.
  if (line === null) return end === -1 && !text.includes('\n') ? INCOMPLETE : UNUSUAL;
  if (end === -1) return INCOMPLETE;
  const status = Number(line[1]);
  const fields: string[] = [];
  let octets: number | undefined;
  let chunked = false;
  let close = false;
  FIELD_LINE.lastIndex = line[0].length;
  while (FIELD_LINE.lastIndex < end + 2) {
    const field = FIELD_LINE.exec(text);
    if (field === null || fields.length >= MOST_FIELDS * 2) return UNUSUAL;
    const [, name = '', value = ''] = field;
    const plain = name.toLowerCase();
    if (plain === 'content-length') {
      if (octets !== undefined || !LENGTH.test(value)) return UNUSUAL;
      octets = Number(value);
    } else if (plain === 'transfer-encoding') {
      if (chunked || value !== 'chunked') return UNUSUAL;
      chunked = true;
    } else if (plain === 'connection') {
      const option = value.toLowerCase();
      if (option !== 'keep-alive' && option !== 'close') return UNUSUAL;
      close ||= option === 'close';
    } else if (UNUSUAL_FIELDS.has(plain)) return UNUSUAL;
    fields.push(name, value);
  }
  if (FIELD_LINE.lastIndex !== end + 2 || (chunked && octets !== undefined)) return UNUSUAL;
  const body = bodyOf(status, request.head, octets, chunked);
  if (body === undefined) return UNUSUAL;
  // An upstream that does not say how long its answer is may send a body that answers to HEAD must not have.
  const framed = chunked || octets !== undefined || status === 204 || status === 304;
  return { kind: 'head', length: end + 4, status, fields, body, close: close || !framed };
}

function bodyOf(status: number, head: boolean, octets: number | undefined, chunked: boolean): AnswerBody | undefined {
  // RFC 9112 section 6.3: these have no body, whatever their fields say.
  if (head || status === 204 || status === 304) return NONE;
  // RFC 9110 section 15.3.6: what there is of it all the same goes no further.
  if (status === 205 && octets !== 0) return undefined;
  if (chunked) return CHUNKED;
  if (octets === undefined) return undefined;
  return { kind: 'length', octets };
}
