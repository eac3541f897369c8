/** What a client may come to see: a whole answer, a problem of the gateway's, or an end before the answer is whole. */
export type Seen = { readonly status: number; readonly body: string } | 502 | 504 | 'cut';

export interface AnswerCase {
  readonly name: string;
  /** Who described it: an advisory, a paper, a section of the RFC that forbids it. */
  readonly source: string;
  readonly method: 'GET' | 'HEAD';
  /** What the upstream sends, one character an octet. A second part is sent once the client has its answer. */
  readonly octets: string | readonly [string, string];
  /** Whether the upstream ends the connection behind that: properly, or by a reset. */
  readonly end: 'stays' | 'closes' | 'resets';
  /** Any of these. */
  readonly seen: readonly Seen[];
  /** Whether another request may travel on the connection. */
  readonly reusable: boolean;
}

type Rest = Partial<Pick<AnswerCase, 'method' | 'end' | 'reusable'>> & { readonly or?: Seen };

function one(name: string, source: string, octets: AnswerCase['octets'], seen: Seen = 502, { or, ...rest }: Rest = {}): AnswerCase {
  return { name, source, octets, method: 'GET', end: 'stays', reusable: false, seen: or === undefined ? [seen] : [seen, or], ...rest };
}

function each(spellings: readonly string[], make: (spelling: string) => AnswerCase): AnswerCase[] {
  return spellings.map(make);
}

function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 40)}… (${text.length} octets)` : text).slice(1, -1);
}

/** The answer that nobody asked for, and nobody may get. */
export const POISON = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: yes\r\n\r\nPOISON';
const HELLO: Seen = { status: 200, body: 'hello' };
const EMPTY: Seen = { status: 200, body: '' };

function ok(lines: readonly string[], body = ''): string {
  return `HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
}

/** An ordinary answer of five octets, with these lines in its head. */
function hello(...lines: readonly string[]): string {
  return ok(['Content-Length: 5', ...lines], 'hello');
}

const TE = 'Transfer-Encoding: chunked';
const CHUNKS = '5\r\nhello\r\n0\r\n\r\n';
function chunked(body: string): string {
  return ok([TE], body);
}

const RFC = (section: string): string => `RFC 9112 section ${section}`;
const KLEIN = 'Klein: Divide and Conquer, HTTP response splitting (2004)';
const KETTLE_2025 = 'Kettle: HTTP/1.1 Must Die (2025)';
const DOYHENARD = 'Doyhenard: Response Smuggling, Exploiting HTTP/1.1 Connections (2021)';
const FUNKY = 'Jeppe Bonde Weikop: Funky Chunks (2025)';
const GARDEN = 'Kallus, Bratus: the HTTP Garden (2023–2025)';
const QUEUE = 'CVE-2026-48931, CVE-2026-6733 (response queue poisoning)';

// node:http skips line ends, and forgets the beginning of a head, behind an answer: no more can be done than that the next answer is read anew.
const NODE_SEES_NOTHING = true;

const framing: readonly AnswerCase[] = [
  one('a length and chunks', RFC('6.3'), ok(['Content-Length: 5', TE], `0\r\n\r\n${POISON}`)),
  one('chunks and a length', RFC('6.3'), ok([TE, 'Content-Length: 5'], `0\r\n\r\n${POISON}`)),
  ...each(['6', '5', '0', '', 'x'], (second) => one(`two lengths, the second ${shown(second)}`, RFC('6.3'), ok(['Content-Length: 5', `Content-Length: ${second}`], `hello${POISON}`))),
  ...each(['5, 5', '5,6', '+5', '-5', '-0', '0x5', '5 5', '5;', '5a', '', ' ', 'x', '\x0b5', '5\0', '18446744073709551621', '99999999999999999999999', '1e1', '5.0', '\xb2'], (length) =>
    one(`Content-Length: ${shown(length)}`, RFC('6.3'), ok([`Content-Length: ${length}`], `hello${POISON}`))),
  ...each(['Content-Length : 5', ' Content-Length: 5', 'X: y\r\n Content-Length: 5', 'Content-Length:\r\n 5', 'X: y\nContent-Length: 5', 'X: y\rContent-Length: 5', 'Content-Length\0: 5', 'Content-Length 5'], (line) =>
    one(`a length written as ${shown(line)}`, `${KETTLE_2025}; ${RFC('5')}`, ok([line], `hello${POISON}`))),
  ...each(['xchunked', 'chunkedx', 'identity', 'chunked, identity', 'chunked, gzip', '"chunked"', 'chunked;q=1', '\x0bchunked', 'chunked\0', 'chunked\x0b', '\xa0chunked', ''], (coding) =>
    one(`Transfer-Encoding: ${shown(coding)}`, `${RFC('6.3')}; ${GARDEN}`, ok([`Transfer-Encoding: ${coding}`], `${CHUNKS}${POISON}`))),
  ...each(['gzip, chunked', ',chunked', 'chunked, chunked'], (coding) =>
    one(`Transfer-Encoding: ${shown(coding)}`, `${RFC('6.3')}; ${GARDEN}`, ok([`Transfer-Encoding: ${coding}`], `${CHUNKS}${POISON}`))),
  ...each(['Transfer-Encoding : chunked', ' Transfer-Encoding: chunked', 'X: y\nTransfer-Encoding: chunked', 'X: y\rTransfer-Encoding: chunked', 'Transfer-Encoding:\r\n chunked', 'Transfer-Encoding\0: chunked'], (line) =>
    one(`chunks announced as ${shown(line)}`, `${KETTLE_2025}; ${RFC('5')}`, ok([line], `${CHUNKS}${POISON}`))),
  one('chunks announced twice', RFC('6.1'), ok([TE, TE], `${CHUNKS}${POISON}`)),
  one('chunks in HTTP/1.0', RFC('6.1'), `HTTP/1.0 200 OK\r\n${TE}\r\n\r\n${CHUNKS}${POISON}`),
  one('a name that CGI reads alike', RFC('6.3'), ok(['Content-Length: 5', 'Content_Length: 50'], 'hello'), HELLO, { reusable: true }),
];

const chunks: readonly AnswerCase[] = [
  one('chunks', RFC('7.1'), chunked(CHUNKS), HELLO, { reusable: true }),
  one('chunks in capitals', RFC('7.1'), ok(['TRANSFER-ENCODING: Chunked'], CHUNKS), HELLO, { reusable: true }),
  one('chunks with extensions', RFC('7.1.1'), chunked('5;a=b\r\nhello\r\n0;c="d"\r\n\r\n'), HELLO, { reusable: true }),
  one('chunks with a trailer', RFC('7.1.2'), chunked('5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n'), HELLO, { reusable: true }),
  ...each(['Transfer-Encoding: chunked', 'Set-Cookie: forged', 'X-Request-Id: forged', 'Connection: forged', 'Strict-Transport-Security: forged'], (line) =>
    one(`a trailer ${line} goes no further`, 'RFC 9110 section 6.5.1', chunked(`5\r\nhello\r\n0\r\n${line}\r\n\r\n`), HELLO, { or: 'cut', reusable: true })),
  ...each(['+5', '-5', '0x5', ' 5', '\t5', '5 ', '', 'g', '5g', '5_', '5\0', '10000000000000005', 'FFFFFFFFFFFFFFFFFF', ';'], (size) =>
    one(`a chunk size of ${shown(size)}`, `CVE-2023-47627; ${GARDEN}`, chunked(`${size}\r\nhello\r\n0\r\n\r\n${POISON}`), 'cut', { or: 502 })),
  ...each(['5\nhello\r\n0\r\n\r\n', '5\rhello\r\n0\r\n\r\n', '5;\nhello\r\n0\r\n\r\n', '5;a=b\nhello\r\n0\r\n\r\n', '5\r\nhello\n0\r\n\r\n', '5\r\nhelloXX0\r\n\r\n', '5\r\nhello!!\r\n0\r\n\r\n', '5\r\nhello0\r\n\r\n', '5\r\nhello\r\n\r\n0\r\n\r\n', '5\r\nhello\r\n0\n\r\n', '5\r\nhello\r\n0\r\n\n', '5\r\nhello\r\n0\r\n\rX'], (body) =>
    one(`chunks that end otherwise: ${shown(body)}`, `${FUNKY}; CVE-2025-55315`, chunked(`${body}${POISON}`), 'cut', { or: 502 })),
  ...each([';\0', '; ', ';;', ';a b', ';a="\n"', ';a="b', `;${'a'.repeat(20_000)}`], (extension) =>
    one(`a chunk extension that is none: ${shown(extension)}`, `${FUNKY}; CVE-2024-22019`, chunked(`5${extension}\r\nhello\r\n0\r\n\r\n${POISON}`), 'cut', { or: 502 })),
  ...each(['X', ' X: y', 'X : y', ': y', 'X: y\nZ: w', 'X: y\rZ: w', 'X: \0', 'X(): y', 'Content-Length: 50'], (line) =>
    one(`a trailer that is none: ${shown(line)}`, 'RFC 9110 section 6.5.1', chunked(`5\r\nhello\r\n0\r\n${line}\r\n\r\n${POISON}`), 'cut', { or: 502 })),
];

const statusLines: readonly AnswerCase[] = [
  one('no reason', RFC('4'), 'HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello', HELLO, { reusable: true }),
  one('no reason and no blank', RFC('4'), 'HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello', HELLO, { reusable: true }),
  ...each(['HTTP/1.1 2000 OK', 'HTTP/1.1 20 OK', 'HTTP/1.1 099 OK', 'HTTP/1.1 999 OK', 'HTTP/1.1 600 OK', 'HTTP/1.1 000 OK', 'HTTP/1.1 -20 OK', 'HTTP/1.1 2x0 OK', 'HTTP/1.1 +200 OK', 'HTTP/1.1  200 OK', 'HTTP/1.1\t200 OK', 'HTTP/1.1 0x200 OK', 'HTTP/1.1 OK', 'HTTP/1.1', 'HTTP/2.0 200 OK', 'HTTP/2 200', 'HTTP/0.9 200 OK', 'HTTP/1.2 200 OK',
    'HTTP/1.10 200 OK', 'http/1.1 200 OK', 'HTTP /1.1 200 OK', 'XHTTP/1.1 200 OK', 'ICY 200 OK', 'SIP/2.0 200 OK', '200 OK', 'HTTP/1.1 200 OK\r', 'HTTP/1.1 200 OK\nX: y', 'HTTP/1.1 200 OK\rX: y', 'GET / HTTP/1.1', ' HTTP/1.1 200 OK', '\0HTTP/1.1 200 OK', '\xef\xbb\xbfHTTP/1.1 200 OK'], (line) =>
    one(`the status line ${shown(line)}`, `${RFC('4')}; ${GARDEN}`, `${line}\r\nContent-Length: 5\r\n\r\nhello${POISON}`)),
  ...each(['O\0K', 'OK\x7f', 'caf\xe9', 'a\tb'], (reason) => one(`the reason ${shown(reason)} goes no further`, RFC('4'), `HTTP/1.1 200 ${reason}\r\nContent-Length: 5\r\n\r\nhello`, HELLO, { reusable: true })),
  one('HTTP/0.9: a body and nothing else', 'RFC 1945 section 6', 'hello', 502, { end: 'closes' }),
  one('a TLS alert in place of an answer', GARDEN, '\x15\x03\x03\0\x02\x02\x28', 502, { or: 504 }),
  one('an SSH greeting in place of an answer', GARDEN, 'SSH-2.0-OpenSSH_9\r\n', 502, { or: 504 }),
];

const heads: readonly AnswerCase[] = [
  ...each(['X: a\rSet-Cookie: forged', 'X: a\nSet-Cookie: forged', 'X: a\0b', 'X: a\x01b', 'X: a\x0bb', 'X: a\x7fb', 'X: a\r\n Set-Cookie: forged', 'X : a', ': a', 'X', 'X(): a', 'X Y: a', 'X\0: a', 'X\xe9: a', ' X: a', 'X: a\r\r\nY: b', 'X:\n\nforged'], (line) =>
    one(`the field line ${shown(line)}`, `${KLEIN}; CVE-2016-2216; ${RFC('5')}`, ok([line, 'Content-Length: 5'], `hello${POISON}`))),
  one('an empty line of CR and another octet', GARDEN, `HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\rXhello${POISON}`),
  one('an empty line of LF', GARDEN, `HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello${POISON}`),
  one('LF throughout', GARDEN, `HTTP/1.1 200 OK\nContent-Length: 5\n\nhello${POISON}`),
  one('a head of 100,000 octets', 'CVE-2018-12121', ok([`X: ${'y'.repeat(100_000)}`, 'Content-Length: 5'], `hello${POISON}`)),
  one('a length hidden behind two thousand fields', 'node:http, which kept the first two thousand strings only', ok([...Array.from({ length: 2_100 }, () => 'a:'), 'Content-Length: 5'], 'hello'), HELLO, { or: 502, reusable: true }),
  one('octets beyond ASCII in a value pass as they are', 'RFC 9110 section 5.5', hello('X: caf\xc3\xa9 \xff'), HELLO, { reusable: true }),
  one('an empty value', 'RFC 9110 section 5.5', hello('X:', 'Y: '), HELLO, { reusable: true }),
  ...each(['Connection: x-hop', 'Connection: content-length', 'Connection: keep-alive, x-hop', 'Keep-Alive: timeout=1, max=forged', 'Proxy-Authenticate: forged', 'Proxy-Connection: keep-alive', 'TE: forged', 'Trailer: forged', 'Upgrade: h2c', 'Alt-Svc: h2=":forged"', 'X-Request-Id: forged', 'X_Request_Id: x', 'Strict-Transport-Security: max-age=0'], (line) =>
    one(`${line} goes no further`, 'RFC 9110 section 7.6.1; CVE-2024-45410', hello(line, 'X-Hop: hop'), HELLO, { reusable: true })),
];

const bodiless: readonly AnswerCase[] = [
  one('204 with a length and a body', `${RFC('6.3')}; ${DOYHENARD}`, `HTTP/1.1 204 No Content\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`, { status: 204, body: '' }, { or: 502 }),
  one('204 with chunks', `${RFC('6.3')}; ${DOYHENARD}`, `HTTP/1.1 204 No Content\r\n${TE}\r\n\r\n${CHUNKS}${POISON}`, { status: 204, body: '' }, { or: 502 }),
  one('204 with nothing', RFC('6.3'), 'HTTP/1.1 204 No Content\r\n\r\n', { status: 204, body: '' }, { reusable: true }),
  one('304 with a length and a body', `${RFC('6.3')}; ${DOYHENARD}`, `HTTP/1.1 304 Not Modified\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`, { status: 304, body: '' }, { or: 502 }),
  one('304 with chunks', `${RFC('6.3')}; ${DOYHENARD}`, `HTTP/1.1 304 Not Modified\r\n${TE}\r\n\r\n${CHUNKS}${POISON}`, { status: 304, body: '' }, { or: 502 }),
  one('304 with a length and no body', RFC('6.3'), 'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n', { status: 304, body: '' }, { reusable: true }),
  one('an answer to HEAD with its body', `${RFC('6.3')}; ${DOYHENARD}`, ok([`Content-Length: ${POISON.length}`], POISON), EMPTY, { method: 'HEAD', or: 502 }),
  one('an answer to HEAD with chunks', `${RFC('6.3')}; ${DOYHENARD}`, ok([TE], `${CHUNKS}${POISON}`), EMPTY, { method: 'HEAD', or: 502 }),
  one('an answer to HEAD whose body comes later', `${RFC('6.3')}; ${DOYHENARD}`, [ok([`Content-Length: ${POISON.length}`]), POISON], EMPTY, { method: 'HEAD' }),
  one('an answer to HEAD with a length and no body', RFC('6.3'), ok(['Content-Length: 500']), EMPTY, { method: 'HEAD', reusable: true }),
  one('an answer to HEAD with chunks announced and none there', RFC('6.3'), ok([TE]), EMPTY, { method: 'HEAD', reusable: true }),
  one('an answer to HEAD without any length', RFC('6.3'), ok([]), EMPTY, { method: 'HEAD' }),
  one('an answer to HEAD with two lengths', RFC('6.3'), ok(['Content-Length: 5', 'Content-Length: 6']), 502, { method: 'HEAD' }),
  one('an answer to HEAD with a length and chunks', RFC('6.3'), ok(['Content-Length: 5', TE]), 502, { method: 'HEAD' }),
  one('205 with a body', 'RFC 9110 section 15.3.6', 'HTTP/1.1 205 Reset Content\r\nContent-Length: 5\r\n\r\nhello', { status: 205, body: '' }, { reusable: true }),
];

const extra: readonly AnswerCase[] = [
  one('another answer behind a whole one', `${QUEUE}; ${DOYHENARD}`, `${hello()}${POISON}`, HELLO, { or: 502 }),
  one('another answer behind chunks', `${QUEUE}; ${DOYHENARD}`, `${chunked(CHUNKS)}${POISON}`, HELLO, { or: 502 }),
  one('half an answer behind a whole one', QUEUE, `${hello()}HTTP/1.1 200 OK\r\nX: `, HELLO, { reusable: NODE_SEES_NOTHING }),
  one('the head of a longer answer behind a whole one', DOYHENARD, `${hello()}HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nPOISON`, HELLO, { or: 502 }),
  one('an answer of no length behind a whole one', DOYHENARD, `${hello()}HTTP/1.1 200 OK\r\n\r\nPOISON`, HELLO, { or: 502 }),
  one('an interim answer behind a whole one', QUEUE, `${hello()}HTTP/1.1 100 Continue\r\n\r\n`, HELLO, { or: 502 }),
  one('garbage behind a whole answer', RFC('6.3'), `${hello()}garbage`, HELLO, { or: 502 }),
  one('one octet behind a whole answer', RFC('6.3'), `${hello()}x`, HELLO, { or: 502 }),
  one('a line end behind a whole answer', RFC('6.3'), `${hello()}\r\n`, HELLO, { reusable: NODE_SEES_NOTHING }),
  one('a body longer than its length', RFC('6.3'), ok(['Content-Length: 5'], 'hello, world'), HELLO, { or: 502 }),
  one('a body behind a length of nothing', RFC('6.3'), ok(['Content-Length: 0'], POISON), EMPTY, { or: 502 }),
  one('a hundred answers behind a whole one', QUEUE, `${hello()}${POISON.repeat(100)}`, HELLO, { or: 502 }),
  one('another answer while the connection is idle', QUEUE, [hello(), POISON], HELLO),
  one('another answer behind chunks while the connection is idle', QUEUE, [chunked(CHUNKS), POISON], HELLO),
  one('half an answer while the connection is idle', QUEUE, [hello(), 'HTTP/1.1 200 OK\r\nContent-'], HELLO),
  one('an interim answer while the connection is idle', QUEUE, [hello(), 'HTTP/1.1 100 Continue\r\n\r\n'], HELLO),
  one('408 while the connection is idle', RFC('9.5'), [hello(), 'HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'], HELLO),
  one('one octet while the connection is idle', QUEUE, [hello(), '\r'], HELLO),
  one('the end of the connection while it is idle', RFC('9.5'), [hello(), ''], HELLO, { end: 'closes' }),
  one('Connection: close, and another answer behind it', RFC('9.6'), `${hello('Connection: close')}${POISON}`, HELLO, { or: 502 }),
  one('Connection: close, and an open connection', RFC('9.6'), hello('Connection: close'), HELLO),
  one('HTTP/1.0 without keep-alive, and an open connection', RFC('9.3'), 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello', HELLO),
];

const interim: readonly AnswerCase[] = [
  one('100 uninvited', 'RFC 9110 section 15.2', `HTTP/1.1 100 Continue\r\n\r\n${hello()}`, HELLO, { reusable: true }),
  one('102 and 103 before the answer', 'RFC 8297', `HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n${hello()}`, HELLO, { reusable: true }),
  one('199, which nobody knows', 'RFC 9110 section 15.2', `HTTP/1.1 199 Odd\r\nX: y\r\n\r\n${hello()}`, HELLO, { reusable: true }),
  one('ten thousand of 100', 'RFC 9110 section 15.2', `${'HTTP/1.1 100 Continue\r\n\r\n'.repeat(10_000)}${hello()}`, HELLO, { reusable: true }),
  one('100 with a length that covers an answer', 'nginx issue 1427 (2026)', `HTTP/1.1 100 Continue\r\nContent-Length: ${hello().length}\r\n\r\n${hello()}`, HELLO, { or: 502, reusable: true }),
  one('103 with a length that covers the answer, and another behind it', 'nginx issue 1427 (2026)', `HTTP/1.1 103 Early Hints\r\nContent-Length: ${hello().length}\r\n\r\n${hello()}${POISON}`, HELLO, { or: 502 }),
  one('100 with chunks', 'nginx issue 1427 (2026)', `HTTP/1.1 100 Continue\r\n${TE}\r\n\r\n${hello()}`, HELLO, { or: 502, reusable: true }),
  one('100 with both framings', 'nginx issue 1427 (2026)', `HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n${TE}\r\n\r\n${hello()}`),
  one('103 with a line end in a value', KLEIN, `HTTP/1.1 103 Early Hints\r\nLink: a\rSet-Cookie: forged\r\n\r\n${hello()}`),
  one('100 and the end', RFC('9.5'), 'HTTP/1.1 100 Continue\r\n\r\n', 502, { end: 'closes' }),
  one('100 and silence', RFC('9.5'), 'HTTP/1.1 100 Continue\r\n\r\n', 504),
  one('101 uninvited', 'RFC 9110 section 15.2.2', `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n${POISON}`),
  one('101 without a protocol', 'RFC 9110 section 15.2.2', `HTTP/1.1 101 Switching Protocols\r\n\r\n${POISON}`),
  one('101 to h2c', 'Bishop Fox: h2c smuggling (2020)', 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\0\0\0\x04\0\0\0\0\0'),
  one('an upgrade announced in a 200', 'RFC 9110 section 7.8', hello('Connection: Upgrade', 'Upgrade: websocket'), HELLO, { reusable: true }),
  one('426', 'RFC 9110 section 15.5.22', 'HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello', { status: 426, body: 'hello' }, { reusable: true }),
];

const ends: readonly AnswerCase[] = [
  one('nothing, and the end', RFC('8'), '', 502, { end: 'closes' }),
  one('nothing, and a reset', RFC('8'), '', 502, { end: 'resets' }),
  one('nothing', RFC('8'), '', 504),
  one('half a status line, and the end', RFC('8'), 'HTTP/1.1 20', 502, { end: 'closes' }),
  one('half a head, and the end', RFC('8'), 'HTTP/1.1 200 OK\r\nContent-Le', 502, { end: 'closes' }),
  one('half a head, and nothing more', RFC('8'), 'HTTP/1.1 200 OK\r\nContent-Le', 504),
  one('a head and no body, and the end', RFC('8'), ok(['Content-Length: 5']), 'cut', { end: 'closes', or: 502 }),
  one('a part of the body, and the end', RFC('8'), ok(['Content-Length: 5'], 'hel'), 'cut', { end: 'closes', or: 502 }),
  one('a part of the body, and a reset', RFC('8'), ok(['Content-Length: 5'], 'hel'), 'cut', { end: 'resets', or: 502 }),
  one('a body of a length beyond all numbers, and the end', RFC('8'), ok(['Content-Length: 9007199254740993'], 'hello'), 'cut', { end: 'closes', or: 502 }),
  one('a chunk and the end', RFC('8'), chunked('5\r\nhello\r\n'), 'cut', { end: 'closes', or: 502 }),
  one('half a chunk and the end', RFC('8'), chunked('5\r\nhel'), 'cut', { end: 'closes', or: 502 }),
  one('half a chunk size and the end', RFC('8'), chunked('5'), 'cut', { end: 'closes', or: 502 }),
  one('the last chunk without its line, and the end', RFC('8'), chunked('5\r\nhello\r\n0\r\n'), 'cut', { end: 'closes', or: 502 }),
  one('half a trailer, and the end', RFC('8'), chunked('5\r\nhello\r\n0\r\nX: y'), 'cut', { end: 'closes', or: 502 }),
  one('a chunk and a reset', RFC('8'), chunked('5\r\nhello\r\n'), 'cut', { end: 'resets', or: 502 }),
  one('a body that lasts until the end', RFC('6.3'), ok([], 'hello'), HELLO, { end: 'closes' }),
  one('a body that lasts until a reset', RFC('6.3'), ok([], 'hello'), 'cut', { end: 'resets', or: 502 }),
  one('a body that lasts until the end, with Connection: close', RFC('6.3'), ok(['Connection: close'], 'hello HTTP/1.1 200 OK'), { status: 200, body: 'hello HTTP/1.1 200 OK' }, { end: 'closes' }),
  one('an answer in HTTP/1.0 that lasts until the end', 'RFC 1945 section 7.2.2', 'HTTP/1.0 200 OK\r\n\r\nhello', HELLO, { end: 'closes' }),
];

/** Answers by what they play on. */
export const ANSWERS: Readonly<Record<string, readonly AnswerCase[]>> = {
  'framing': framing,
  'chunks': chunks,
  'the status line': statusLines,
  'heads': heads,
  'answers without a body': bodiless,
  'octets behind an answer': extra,
  'interim answers and upgrades': interim,
  'answers that end early': ends,
};
