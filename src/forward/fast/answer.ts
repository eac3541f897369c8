import { STATUS_CODES } from 'node:http';
import { clientHeaders, sameRules, trailerFields, type AnswerRules } from '../headers.ts';
import { latin1, startsWith, writeLatin1, writeOctets } from '../octets.ts';
import { readAnswerHead, type AnswerHead } from './answer-head.ts';
import { readTrailers } from './chunks.ts';
import type { OutgoingMemory } from './memory.ts';

/** An answer head that has been read, and what of it goes to the client. */
export interface KnownAnswer {
  /** The head as it came, its blank line included. */
  readonly octets: Buffer;
  readonly head: AnswerHead;
  /** Status line and fields for the client, up to the name of the field with the request's id. */
  readonly prefix: Buffer;
  readonly rules: AnswerRules;
  readonly headRequest: boolean;
}

/** `more`: the head is not whole yet. `unusual`: for Node's parser. */
export type AnswerReading = KnownAnswer | 'more' | 'unusual';

const BLANK_LINE = '\r\n\r\n';
/** A longer head is no answer any more. */
const MOST_ANSWER_HEAD = 65_536;

/**
 * Reads the head of an answer from the octets received so far. `last` is what the same connection read before: a server's
 * answers are mostly alike, and the octets of the same head need not be read twice.
 */
export function readAnswer(octets: Buffer, last: KnownAnswer | undefined, rules: AnswerRules, headRequest: boolean): AnswerReading {
  if (last !== undefined && startsWith(octets, last.octets) && last.headRequest === headRequest && sameRules(last.rules, rules)) return last;
  const end = octets.indexOf(BLANK_LINE);
  if (end === -1) return octets.length > MOST_ANSWER_HEAD ? 'unusual' : 'more';
  const head = readAnswerHead(latin1(octets, 0, end + BLANK_LINE.length), { head: headRequest });
  if (head.kind !== 'head') return 'unusual';
  return { octets: Buffer.from(octets.subarray(0, head.length)), head, prefix: clientPrefix(head, rules), rules, headRequest };
}

function clientPrefix({ status, fields, body }: AnswerHead, rules: AnswerRules): Buffer {
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
  const out = clientHeaders(status, fields, { ...rules, requestId: '' });
  for (let index = 0; index < out.length; index += 2) if (out[index] !== 'x-request-id') text += `${out[index]}: ${out[index + 1]}\r\n`;
  if (body.kind === 'chunked') text += 'transfer-encoding: chunked\r\n';
  return Buffer.from(`${text}x-request-id: `, 'latin1');
}

/** What a client's head has beyond its prefix. */
const REST = '\r\nconnection: close\r\n\r\n';

/** The whole head for the client and octets of body after it, as one, in room of `memory`. */
export function clientOctets(memory: OutgoingMemory, answer: KnownAnswer, requestId: string, close: boolean, body: Buffer): Buffer {
  const { prefix } = answer;
  const rest = close ? REST : BLANK_LINE;
  const all = memory.take(prefix.length + requestId.length + rest.length + body.length);
  const at = writeLatin1(all, rest, writeLatin1(all, requestId, writeOctets(all, prefix, 0)));
  all.set(body, at);
  return all;
}

/** The trailer section for the client: fields that frame or route a message have no business there (RFC 9110 section 6.5.1). */
export function clientTrailer(text: string): string {
  const out = trailerFields(readTrailers(text));
  let trailer = '';
  for (let index = 0; index < out.length; index += 2) trailer += `${out[index]}: ${out[index + 1]}\r\n`;
  return trailer;
}
