import { readAnswerHead } from '../../src/forward/fast/answer-head.ts';
import { ChunkScanner } from '../../src/forward/fast/chunks.ts';
import { readRequestHead, type RequestHead } from '../../src/forward/fast/request-head.ts';
import { generate, type Input, type Seeds } from './http1-generator.ts';
import { askServer, Peer, summary, type PeerMessage } from './http1-peer.ts';

/** What a comparison came to. `taken`: the fast path took at least one whole message, and node:http saw the same. */
export type Comparison = { readonly kind: 'taken' | 'left' } | { readonly kind: 'disagreement'; readonly detail: string };

const TAKEN: Comparison = { kind: 'taken' };
const LEFT: Comparison = { kind: 'left' };

function disagreement(detail: string): Comparison {
  return { kind: 'disagreement', detail };
}

/** Holds the fast path's reading of an input to node:http's. */
export function compare(input: Input): Comparison {
  return input.kind === 'requests' ? compareRequests(input.octets) : compareAnswer(input.octets, input.head);
}

/**
 * Reads a connection's requests as the fast path does, message by message, and lets node:http read the same octets: each
 * message that the fast path takes must be one there too, with the same fields and body and the same last octet; and none
 * that the fast path still waits for may be whole there.
 */
function compareRequests(octets: string): Comparison {
  const peer = Peer.server();
  let start = 0;
  for (let taken = 0; ; taken++) {
    const rest = octets.slice(start);
    const reading = readRequestHead(rest);
    if (reading.kind === 'unusual') return taken > 0 ? TAKEN : LEFT;
    if (reading.kind === 'incomplete') {
      peer.feed(rest);
      return peer.messages.length === taken ? (taken > 0 ? TAKEN : LEFT) : disagreement(`waits for the end of a head that node:http has read: ${JSON.stringify(peer.messages.at(-1))}`);
    }
    const end = reading.length + reading.bodyLength;
    peer.feed(rest.slice(0, end - 1));
    if (peer.completed() !== taken) return disagreement(`message ${taken} ends before octet ${start + end} in node:http`);
    peer.feed(rest.slice(end - 1, end));
    const difference = differenceOfRequests(reading, rest, peer, taken);
    if (difference !== undefined) return disagreement(`message ${taken}: ${difference}`);
    if (rest.length < end || reading.close) return TAKEN;
    start += end;
  }
}

function differenceOfRequests(reading: RequestHead, rest: string, peer: Peer, index: number): string | undefined {
  if (peer.refused !== undefined) return `node:http refuses it: ${peer.refused}`;
  const message = peer.messages[index];
  if (message === undefined || peer.messages.length !== index + 1) return `node:http sees ${peer.messages.length} messages`;
  const end = reading.length + reading.bodyLength;
  const whole = rest.length >= end;
  if (message.complete !== whole) return `it is ${whole ? 'whole' : 'not whole'}, other than in node:http`;
  if (message.upgrade) return 'node:http sees an upgrade';
  const mine = summary(reading.method, reading.target, reading.fields);
  const theirs = summary(message.method, message.target, message.fields);
  if (mine !== theirs) return `${mine} is ${theirs} in node:http`;
  if (message.body !== rest.slice(reading.length, end)) return `its body is ${JSON.stringify(message.body)} in node:http`;
  if (message.keepAlive === reading.close) return `the connection ${message.keepAlive ? 'stays' : 'ends'} in node:http`;
  return undefined;
}

/** The same for an answer; its chunks are read octet by octet by both. */
function compareAnswer(octets: string, head: boolean): Comparison {
  const peer = Peer.client(head);
  const reading = readAnswerHead(octets, { head });
  if (reading.kind === 'unusual') return LEFT;
  if (reading.kind === 'incomplete') {
    peer.feed(octets);
    return peer.messages.every((message) => message.status < 200) ? LEFT : disagreement('waits for the end of a head that node:http has read');
  }
  peer.feed(octets.slice(0, reading.length - 1));
  if (peer.messages.length > 0) return disagreement('the head ends earlier in node:http');
  peer.feed(octets.slice(reading.length - 1, reading.length));
  const message = peer.messages[0];
  if (message === undefined || peer.refused !== undefined) return disagreement(`node:http refuses the head: ${peer.refused}`);
  const mine = summary('', String(reading.status), reading.fields);
  const theirs = summary('', String(message.status), message.fields);
  if (mine !== theirs) return disagreement(`${mine} is ${theirs} in node:http`);
  if (message.upgrade) return disagreement('node:http sees an upgrade');
  if (message.keepAlive === reading.close) return disagreement(`the connection ${message.keepAlive ? 'stays' : 'ends'} in node:http`);
  const rest = octets.slice(reading.length);
  if (reading.body.kind === 'chunked') return compareChunks(rest, peer, message);
  const length = reading.body.kind === 'none' ? 0 : reading.body.octets;
  return compareLength(rest, length, peer, message);
}

function compareLength(rest: string, length: number, peer: Peer, message: PeerMessage): Comparison {
  if (length > 0) {
    peer.feed(rest.slice(0, length - 1));
    if (message.complete) return disagreement('the body ends earlier in node:http');
    peer.feed(rest.slice(length - 1, length));
  }
  if (peer.refused !== undefined) return disagreement(`node:http refuses the body: ${peer.refused}`);
  if (message.complete !== (rest.length >= length)) return disagreement('the body ends elsewhere in node:http');
  return message.body === rest.slice(0, length) ? TAKEN : disagreement(`the body is ${JSON.stringify(message.body)} in node:http`);
}

function compareChunks(rest: string, peer: Peer, message: PeerMessage): Comparison {
  const scanner = new ChunkScanner();
  const octets = Buffer.from(rest, 'latin1');
  let body = '';
  for (let at = 0; at < octets.length && !scanner.ended; at++) {
    scanner.scan(octets, at, at + 1, (from, to) => {
      body += rest.slice(from, to);
    });
    if (scanner.invalid) return TAKEN;
    peer.feed(rest.slice(at, at + 1));
    // A refusal counts once something more was made of the octets: both may notice at another octet of the same line.
    if (peer.refused !== undefined && (scanner.ended || body.length > message.body.length)) return disagreement(`node:http refuses the chunks: ${peer.refused}`);
    if (peer.refused === undefined && (body !== message.body || scanner.ended !== message.complete)) return disagreement(`chunks: ${JSON.stringify(body)}${scanner.ended ? ', ended,' : ''} is ${JSON.stringify(message.body)}${message.complete ? ', ended,' : ''} in node:http`);
  }
  if (!scanner.ended) return TAKEN;
  const trailers = scanner.trailer.split('\r\n').filter((line) => line !== '').flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).replace(/^[ \t]+|[ \t]+$/g, '')]);
  return JSON.stringify(trailers) === JSON.stringify(message.trailers) ? TAKEN : disagreement(`the trailers ${JSON.stringify(trailers)} are ${JSON.stringify(message.trailers)} in node:http`);
}

/** A head that comes in two parts must be read as the same one: nothing before its last octet, the same at it and ever after. */
export function compareSplits(input: Input): Comparison {
  const read = (text: string): ReturnType<typeof readRequestHead> | ReturnType<typeof readAnswerHead> => (input.kind === 'requests' ? readRequestHead(text) : readAnswerHead(text, input));
  const whole = read(input.octets);
  for (let length = 0; length < input.octets.length; length++) {
    const part = read(input.octets.slice(0, length));
    const expected = whole.kind === 'head' && length >= whole.length ? whole : { kind: 'incomplete' };
    if (part.kind !== 'unusual' && JSON.stringify(part) !== JSON.stringify(expected) && !(whole.kind === 'unusual' && part.kind === 'incomplete')) return disagreement(`${length} octets of it are ${JSON.stringify(part)}, the whole is ${JSON.stringify(whole)}`);
    if (part.kind === 'unusual' && whole.kind !== 'unusual') return disagreement(`${length} octets of it are unusual, the whole is ${JSON.stringify(whole)}`);
  }
  return whole.kind === 'head' ? TAKEN : LEFT;
}

/**
 * Holds the peer itself to a whole node:http server. The server makes requests of what its parser sees, except that it reads
 * nothing behind an upgrade or a CONNECT.
 */
export function createPeerCheck(): (octets: string) => Comparison {
  const ask = askServer();
  return (octets) => {
    const peer = Peer.server();
    peer.feed(octets);
    const mine = peer.messages.map((message) => summary(message.method, message.target, message.fields));
    const theirs = ask(octets);
    if (JSON.stringify(mine) !== JSON.stringify(theirs.requests)) return disagreement(`the parser sees ${mine.join(' ')}, the server ${theirs.requests.join(' ')}`);
    if ((peer.refused !== undefined) !== theirs.refused) return disagreement(`the parser ${peer.refused ?? 'does not refuse'}, the server ${theirs.refused ? 'refuses' : 'does not refuse'}`);
    return mine.length > 0 ? TAKEN : LEFT;
  };
}

/** The smallest input that still disagrees, found by leaving parts out. */
function shrink(input: Input, check: (input: Input) => Comparison): Input {
  let smallest = input;
  for (let size = Math.ceil(input.octets.length / 2); size > 0; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < smallest.octets.length;) {
      const less: Input = { ...smallest, octets: smallest.octets.slice(0, at) + smallest.octets.slice(at + size) };
      if (check(less).kind === 'disagreement') smallest = less;
      else at += size;
    }
  }
  return smallest;
}

export interface Found {
  readonly number: number;
  readonly what: 'reading' | 'splits' | 'peer';
  readonly input: Input;
  readonly detail: string;
}

export interface Report {
  readonly cases: number;
  /** Inputs of which the fast path took at least one message. */
  readonly taken: { readonly requests: number; readonly answer: number };
  readonly found: readonly Found[];
}

/** How many inputs go by between two that are also read split at every octet, and given to a whole server. */
const SPLITS_EVERY = 16;
const SERVER_EVERY = 32;
/** More disagreements than this tell nothing new. */
const MOST_FOUND = 20;

/** Runs inputs `from` up to, not including, `to` of a seed's sequence. */
export function fuzz(seed: number, from: number, to: number, seeds: Seeds): Report {
  const checkPeer = createPeerCheck();
  const found: Found[] = [];
  const taken = { requests: 0, answer: 0 };
  let number = from;
  for (; number < to && found.length < MOST_FOUND; number++) {
    const input = generate(seed, number, seeds);
    const checks: [Found['what'], (one: Input) => Comparison][] = [['reading', compare]];
    if (number % SPLITS_EVERY === 0) checks.push(['splits', compareSplits]);
    if (number % SERVER_EVERY === 0 && input.kind === 'requests') checks.push(['peer', (one) => checkPeer(one.octets)]);
    for (const [what, check] of checks) {
      const comparison = check(input);
      if (what === 'reading' && comparison.kind === 'taken') taken[input.kind]++;
      if (comparison.kind !== 'disagreement') continue;
      const small = shrink(input, check);
      const again = check(small);
      found.push({ number, what, input: small, detail: again.kind === 'disagreement' ? again.detail : comparison.detail });
    }
  }
  return { cases: number - from, taken, found };
}
