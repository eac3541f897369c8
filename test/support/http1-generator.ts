/** A number from 0 up to, not including, `below`. */
export type Random = (below: number) => number;

/** mulberry32: reproducible from a seed. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The octets that one side of an HTTP/1.1 connection sends, one character an octet. */
export type Input =
  | { readonly kind: 'requests'; readonly octets: string }
  | { readonly kind: 'answer'; readonly octets: string; /** It answers a HEAD request. */ readonly head: boolean };

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random(from.length)] as T;
}

function chance(random: Random, percent: number): boolean {
  return random(100) < percent;
}

const METHODS = ['GET', 'GET', 'GET', 'POST', 'POST', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'PURGE', 'M-SEARCH', 'QUERY', 'PRI', 'SOURCE', 'DESCRIBE', 'get', 'GETS', ''];
const TARGETS = ['/', '/echo/x', '/a?b=c', '/a/../b', '/%2e%2e/', '/a#b', '*', 'http://localhost/a', 'localhost:443', '//a', '/\x80', '/a b', '/"<>\\^`{|}', ''];
const REQUEST_VERSIONS = ['HTTP/1.0', 'HTTP/0.9', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.10', 'RTSP/1.0', 'ICE/1.0', ''];
const STATUSES = ['200 OK', '200 ', '200', '201 Created', '204 No Content', '205 Reset Content', '206 Partial Content', '301 Moved', '304 Not Modified', '404 Not Found', '500 x', '599 y', '100 Continue', '101 Switching Protocols', '103 Early Hints', '099 z', '600 z', '999 z', '20 OK', '2000 OK', '-20 OK', '200 caf\xe9', '200 a\tb', '200\tOK'];
const ANSWER_VERSIONS = ['HTTP/1.0', 'HTTP/0.9', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.10', 'RTSP/1.0', 'ICE/1.0', 'ICY', ''];

const NAMES = ['Accept', 'User-Agent', 'Cookie', 'X', 'x-y', 'Content-Type', 'Authorization', 'Date', 'Server', 'Set-Cookie', 'Etag', '!#$%&\'*+-.^_`|~'];
const VALUES = ['a', 'a b', 'text/plain; charset=utf-8', '"q"', '', ' ', 'a\tb', 'caf\xe9', '\xff', 'a  b', 'a, b', 'chunked', '5', 'close'];

/** Fields that decide about framing or what becomes of the connection, well and badly written. */
const TELLING_LINES = [
  'Host: localhost', 'Host: other', 'host:localhost', 'Host:', 'Host : localhost', 'Host_: x',
  'Content-Length: 5', 'Content-Length: 0', 'content-length:5', 'Content-Length: 05', 'Content-Length: +5', 'Content-Length: 5, 5', 'Content-Length:', 'Content-Length: 99999999999999999999', 'Content-Length: 0x5', 'Content_Length: 5', 'Content-Length : 5', 'Content-Length: 5 ', 'Content-Length:\t5', 'Content-Length: 999999999999999', 'Content-Length: 9007199254740993',
  'Transfer-Encoding: chunked', 'transfer-encoding: Chunked', 'Transfer-Encoding: identity', 'Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: chunked, gzip', 'Transfer-Encoding:', 'Transfer-Encoding: chunked ', 'Transfer-Encoding:chunked', 'Transfer-Encoding:\tchunked', 'Transfer_Encoding: chunked', 'Transfer-Encoding : chunked', 'Transfer-Encoding: ,chunked', 'Transfer-Encoding: chunked,',
  'Connection: close', 'Connection: keep-alive', 'connection:Close', 'Connection: keep-alive, close', 'Connection: upgrade', 'Connection: Upgrade, x', 'Connection: x', 'Connection:', 'Connection: close\t', 'Proxy-Connection: close', 'Keep-Alive: timeout=5',
  'Upgrade: websocket', 'Upgrade: h2c', 'Upgrade:', 'Expect: 100-continue', 'Expect: x', 'TE: trailers', 'Trailer: X', 'HTTP2-Settings: AAA',
  'X : y', ' X: y', '\tX: y', ': y', 'X', 'X: y\r\n z', 'X: y\nZ: w', 'X: y\rZ: w', 'X: \0', 'X(): y', 'X\x7f: y', 'X: \x7f',
];

const CHUNKED = ['0\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n', 'A\r\n0123456789\r\n1\r\nx\r\n00\r\n\r\n', '5;a=b\r\nhello\r\n0;c\r\n\r\n', '5\r\nhello\r\n0\r\nX: y\r\n\r\n', '5;a="b;c"\r\nhello\r\n0\r\nX: y\r\nZ: w\r\n\r\n', '05\r\nhello\r\n000\r\n\r\n',
  '5 \r\nhello\r\n0\r\n\r\n', '5\nhello\r\n0\r\n\r\n', '5\r\nhello\n0\r\n\r\n', '5;\nx\r\nhello\r\n0\r\n\r\n', '-5\r\nhello\r\n0\r\n\r\n', 'FFFFFFFFFFFFFFFFF\r\nhello\r\n', 'fffffffffffff\r\nhello', '5\r\nhello\r\n0\r\nX\r\n\r\n', '5\r\nhello!!\r\n0\r\n\r\n', '5\r\nhello\r\n\r\n0\r\n\r\n', '5;;\r\nhello\r\n0\r\n\r\n', '5; a\r\nhello\r\n0\r\n\r\n',
  '5;a=\xff\r\nhello\r\n0\r\n\r\n', '5\r\nhello\r\n0\r\nX : y\r\n\r\n', '5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n', '5\r\nhello\r\n0\r\n X: y\r\n\r\n', '5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n'];

function fields(random: Random): string[] {
  const lines: string[] = [];
  for (let left = random(4); left > 0; left--) {
    const odd = chance(random, 10);
    lines.push(odd ? `${pick(random, NAMES)}:${pick(random, ['', ' ', '  ', '\t'])}${pick(random, VALUES)}${pick(random, ['', ' ', '\t'])}` : `${pick(random, NAMES)}: ${VALUES[random(4)]}`);
  }
  return lines;
}

function addTelling(random: Random, lines: string[]): void {
  for (let left = chance(random, 25) ? 1 + random(2) : 0; left > 0; left--) lines.splice(random(lines.length + 1), 0, pick(random, TELLING_LINES));
}

/** One request, mostly well-formed, in the shape that clients send. */
function request(random: Random): string {
  const method = chance(random, 95) ? METHODS[random(10)] as string : pick(random, METHODS);
  const target = chance(random, 95) ? TARGETS[random(3)] as string : pick(random, TARGETS);
  const version = chance(random, 98) ? 'HTTP/1.1' : pick(random, REQUEST_VERSIONS);
  const lines = fields(random);
  if (chance(random, 98)) lines.splice(random(lines.length + 1), 0, chance(random, 90) ? 'Host: localhost' : 'hOST:localhost:443');
  let body = '';
  if (chance(random, 30)) {
    body = pick(random, ['hello', '', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'a\r\n\r\nb']);
    lines.push(`${chance(random, 80) ? 'Content-Length' : 'CONTENT-length'}: ${body.length}`);
  } else if (chance(random, 5)) {
    body = pick(random, CHUNKED);
    lines.push('Transfer-Encoding: chunked');
  }
  addTelling(random, lines);
  return `${method} ${target} ${version}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
}

/** One answer, mostly well-formed. */
function answer(random: Random): string {
  const version = chance(random, 98) ? 'HTTP/1.1' : pick(random, ANSWER_VERSIONS);
  const lines = fields(random);
  let body = '';
  if (chance(random, 45)) {
    body = pick(random, CHUNKED);
    lines.splice(random(lines.length + 1), 0, `${chance(random, 80) ? 'Transfer-Encoding' : 'transfer-ENCODING'}: chunked`);
  } else if (chance(random, 90)) {
    body = pick(random, ['hello', '', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', 'a\r\n\r\nb']);
    lines.splice(random(lines.length + 1), 0, `Content-Length: ${body.length}`);
  }
  addTelling(random, lines);
  return `${version} ${chance(random, 70) ? pick(random, ['200 OK', '200 ', '201 Created', '404 Not Found']) : pick(random, STATUSES)}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
}

/** Octets that mean something to a parser. */
const TELLING = ['\r', '\n', '\r\n', '\n\n', '\r\r\n', '\n\r', ' ', '\t', '\0', '\x01', '\x08', '\x0b', '\x0c', '\x1f', '\x7f', '\x80', '\x85', '\xa0', '\xff', ':', ';', ',', '=', '"', '/', '?', '#', '%', '+', '-', '0', '1', '5', 'x', 'a', 'f', 'HTTP/1.1', 'GET ', '\r\n\r\n', '\r\n ', ' \r\n', '0\r\n\r\n'];

function mutate(random: Random, text: string, seeds: readonly string[]): string {
  const at = random(text.length + 1);
  const until = Math.min(text.length, at + 1 + random(12));
  switch (random(11)) {
    case 0: return text.slice(0, at) + String.fromCharCode(random(256)) + text.slice(at + 1);
    case 1: return text.slice(0, at) + pick(random, TELLING) + text.slice(at);
    case 2: return text.slice(0, at) + pick(random, TELLING) + text.slice(at + 1);
    case 3: return text.slice(0, at) + text.slice(until);
    case 4: return text.slice(0, until) + text.slice(at);
    case 5: return text.slice(0, at);
    case 6: return changeCase(text, at);
    case 7: return changeLineEnd(random, text, at);
    case 8: return repeatLine(random, text, at);
    case 9: {
      const seed = pick(random, seeds);
      const from = random(seed.length + 1);
      return text.slice(0, at) + seed.slice(from, from + 1 + random(40)) + text.slice(at);
    }
    default: return insertLine(random, text, at);
  }
}

function changeCase(text: string, at: number): string {
  const letter = text.charCodeAt(at);
  // Setting or clearing 0x20 changes the case of a letter, and makes controls of some other characters.
  return Number.isNaN(letter) ? text : text.slice(0, at) + String.fromCharCode(letter ^ 0x20) + text.slice(at + 1);
}

function changeLineEnd(random: Random, text: string, at: number): string {
  const end = text.indexOf('\r\n', at);
  return end === -1 ? text : text.slice(0, end) + pick(random, ['\n', '\r', '\n\r', '\r\r\n', '\r\n ', ' \r\n', '\r\n\t', '\0\r\n', '']) + text.slice(end + 2);
}

function repeatLine(random: Random, text: string, at: number): string {
  const start = text.lastIndexOf('\n', at) + 1;
  const end = text.indexOf('\n', at);
  if (end === -1) return text;
  const line = text.slice(start, end + 1);
  return text.slice(0, end + 1) + (chance(random, 50) ? line : line.toLowerCase()) + text.slice(end + 1);
}

function insertLine(random: Random, text: string, at: number): string {
  const end = text.indexOf('\r\n', at);
  return end === -1 ? text : `${text.slice(0, end + 2)}${pick(random, TELLING_LINES)}\r\n${text.slice(end + 2)}`;
}

export interface Seeds {
  readonly requests: readonly string[];
  readonly answers: readonly string[];
}

/** The input of that number of a seed's sequence: the same on every machine, whatever came before. `seeds` are attacks to start from. */
export function generate(seed: number, number: number, seeds: Seeds): Input {
  const random = seeded(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number, 0x85ebca6b) ^ (number / 0x1_0000_0000));
  random(1);
  const requests = chance(random, 60);
  const known = requests ? seeds.requests : seeds.answers;
  let octets = '';
  if (known.length > 0 && chance(random, 10)) octets = pick(random, known);
  else if (requests) for (let left = 1 + (chance(random, 40) ? random(3) : 0); left > 0; left--) octets += request(random);
  else octets = answer(random) + (chance(random, 15) ? pick(random, ['\r\n', 'x', 'HTTP/1.1 200 OK\r\n\r\n', ' ']) : '');
  for (let left = chance(random, 55) ? 1 + random(3) : 0; left > 0; left--) octets = mutate(random, octets, known.length > 0 ? known : [octets]);
  return requests ? { kind: 'requests', octets } : { kind: 'answer', octets, head: chance(random, 15) };
}
