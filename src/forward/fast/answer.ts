import { STATUS_CODES } from 'node:http';
import { clientHeaders, sameRules, trailerFields, type AnswerRules } from '../headers.ts';
import { writeLatin1, writeOctets } from '../octets.ts';
import { recogniseHead, type AnswerHead, type RecognisedHead } from './answer-head.ts';
import { readTrailers } from './chunks.ts';
import type { OutgoingMemory } from './memory.ts';

/** An answer head that has been read, and what of it goes to the client. */
export interface KnownAnswer extends RecognisedHead {
  /** Status line and fields for the client, up to the name of the field with the request's id. */
  readonly prefix: Buffer;
  readonly rules: AnswerRules;
}

/** `more`: the head is not whole yet. `unusual`: for Node's parser. */
export type AnswerReading = KnownAnswer | 'more' | 'unusual';

/** Reads the head of an answer from the octets received so far. `last` is what the same connection read before. */
export function readAnswer(received: Buffer, last: KnownAnswer | undefined, rules: AnswerRules, toHead: boolean): AnswerReading {
  const found = recogniseHead(received, last, toHead);
  if (found === 'more' || found === 'unusual') return found;
  if (found === last && sameRules(last.rules, rules)) return last;
  const { octets, head } = found;
  return { octets, head, toHead, prefix: clientPrefix(head, rules), rules };
}

function clientPrefix({ status, fields, body }: AnswerHead, rules: AnswerRules): Buffer {
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
  const out = clientHeaders(status, fields, { ...rules, requestId: '' });
  for (let index = 0; index < out.length; index += 2) if (out[index] !== 'x-request-id') text += `${out[index]}: ${out[index + 1]}\r\n`;
  if (body.kind === 'chunked') text += 'transfer-encoding: chunked\r\n';
  return Buffer.from(`${text}x-request-id: `, 'latin1');
}

/** What a client's head has beyond its prefix. */
const REST = '\r\n\r\n';
const CLOSING_REST = '\r\nconnection: close\r\n\r\n';

/** The whole head for the client and octets of body after it, as one, in room of `memory`. */
export function clientOctets(memory: OutgoingMemory, answer: KnownAnswer, requestId: string, close: boolean, body: Buffer): Buffer {
  const { prefix } = answer;
  const rest = close ? CLOSING_REST : REST;
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
