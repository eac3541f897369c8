/**
 * What became of a request: its status, or `gone` for one that is on record and got no answer because the client had left or
 * the connection had to be ended.
 */
export type Expected = number | 'gone';

export interface RequestCase {
  readonly name: string;
  /** Who described it: an advisory, a paper, a section of the RFC that forbids it. */
  readonly source: string;
  /** What the client sends, one character an octet. A second part is sent once an answer to the first has come. */
  readonly octets: string | readonly [string, string];
  /** The requests that the gateway may see in it, in order; each has its one record, and those with 200 reach the upstream. Any of these. */
  readonly expected: readonly (readonly Expected[])[];
  /** What all its requests are, when they are HEAD. */
  readonly method?: 'HEAD';
  /** What the upstream must receive as the body of the first. */
  readonly body?: string;
}

function one(name: string, source: string, octets: RequestCase['octets'], expected: readonly Expected[] = [400], rest: Pick<RequestCase, 'method' | 'body'> & { readonly or?: readonly Expected[] } = {}): RequestCase {
  const { or, ...others } = rest;
  // A reset takes what the client has not read yet: all answers, or only the last ones.
  const less = or?.every((outcome) => outcome === 'gone') === true ? or.map((_, index) => [...expected.slice(0, index), ...or.slice(index)]) : or === undefined ? [] : [or];
  return { name, source, octets, expected: [expected, ...less], ...others };
}

/** The same attack in many spellings. */
function each(spellings: readonly string[], make: (spelling: string) => RequestCase): RequestCase[] {
  return spellings.map(make);
}

/** A spelling as a reader of test results can see it. */
function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 40)}… (${text.length} octets)` : text).slice(1, -1);
}

const HOST = 'Host: localhost\r\n';
/** The request that must not come through: nobody in these tests may make it. */
export const SMUGGLED = `GET /records HTTP/1.1\r\n${HOST}X-Client-Role: forged\r\n\r\n`;
/** The same for places where it is a part of a line or a body of five octets comes first. */
const BODY = 'hello';
const CHUNKS = '5\r\nhello\r\n0\r\n\r\n';

function request(method: string, lines: readonly string[], body = '', version = 'HTTP/1.1'): string {
  return `${method} /echo/x ${version}\r\n${HOST}${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
}

function post(lines: readonly string[], body = ''): string {
  return request('POST', lines, body);
}

function get(lines: readonly string[], body = ''): string {
  return request('GET', lines, body);
}

function chunked(body: string): string {
  return post(['Transfer-Encoding: chunked'], body);
}

const TE = 'Transfer-Encoding: chunked';
const RFC = (section: string): string => `RFC 9112 section ${section}`;
const LINHART = 'Linhart, Klein, Heled, Orrin: HTTP Request Smuggling (2005)';
const KETTLE_2019 = 'Kettle: HTTP Desync Attacks (2019)';
const KETTLE_2022 = 'Kettle: Browser-Powered Desync Attacks (2022)';
const KETTLE_2025 = 'Kettle: HTTP/1.1 Must Die (2025)';
const GARDEN = 'Kallus, Bratus: the HTTP Garden (2023–2025)';
const FUNKY = 'Jeppe Bonde Weikop: Funky Chunks (2025)';
const TREQS = 'Jabiyev, Sprecher, Onarlioglu, Kirda: T-Reqs (2021)';

/** Both framings at once: which one counts is what the servers of this world disagree on. */
const bothFramings: readonly RequestCase[] = [
  one('CL.TE: the length covers a request behind the last chunk', LINHART, post([`Content-Length: ${5 + SMUGGLED.length}`, TE], `0\r\n\r\n${SMUGGLED}`)),
  one('TE.CL: the length ends within the first chunk', KETTLE_2019, post(['Content-Length: 4', TE], `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`)),
  one('chunks named before the length', KETTLE_2019, post([TE, 'Content-Length: 5'], `0\r\n\r\n${SMUGGLED}`)),
  one('a length of nothing before chunks', 'LiteSpeed issue 392 (2024)', post(['Content-Length: 0', TE], `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`)),
  one('both, with Connection: close', RFC('6.3'), post(['Connection: close', 'Content-Length: 5', TE], `0\r\n\r\n${SMUGGLED}`)),
  one('both, on GET', KETTLE_2022, get(['Content-Length: 5', TE], `0\r\n\r\n${SMUGGLED}`)),
  one('both, on DELETE', 'CVE-2026-29057', request('DELETE', ['Content-Length: 5', TE], `0\r\n\r\n${SMUGGLED}`)),
  one('both, on OPTIONS', 'CVE-2026-29057', request('OPTIONS', ['Content-Length: 5', TE], `0\r\n\r\n${SMUGGLED}`)),
  one('both, on HEAD', TREQS, request('HEAD', ['Content-Length: 5', TE], `0\r\n\r\n${SMUGGLED}`), [400]),
  one('both, far apart', TREQS, post(['Content-Length: 5', ...Array.from({ length: 40 }, (_, index) => `X-${index}: y`), TE], `0\r\n\r\n${SMUGGLED}`)),
  one('both, names in lower case', TREQS, post(['content-length: 5', 'transfer-encoding: chunked'], `0\r\n\r\n${SMUGGLED}`)),
  one('a coding nobody knows and a length', GARDEN, post(['Transfer-Encoding: xchunked', 'Content-Length: 5'], `hello${SMUGGLED}`)),
  one('identity and a length', 'CVE-2019-16276, CVE-2020-7658', post(['Transfer-Encoding: identity', 'Content-Length: 5'], `hello${SMUGGLED}`)),
  one('an empty coding and a length', 'CVE-2021-33193 and others', post(['Transfer-Encoding:', 'Content-Length: 5'], `hello${SMUGGLED}`)),
  one('a length list and chunks', TREQS, post(['Content-Length: 5, 5', TE], `0\r\n\r\n${SMUGGLED}`)),
  one('an empty length and chunks', 'CVE-2023-40225', post(['Content-Length:', TE], `0\r\n\r\n${SMUGGLED}`)),
];

/** Spellings of "chunked" that one server takes for it and another does not (TE.TE), without a length to fall back on. */
const codings: readonly RequestCase[] = [
  ...each([
    'xchunked', 'chunkedx', 'chunk', 'cow', 'identity', 'gzip', 'trailers', '"chunked"', '\'chunked\'', 'chunked;q=1', 'chunked;ext=val', 'chunked; a', ':chunked',
    'chunked, identity', 'identity, chunked', 'identity,chunked', 'gzip, chunked', 'chunked, gzip', 'chunked, chunked', 'chunked,', ',chunked', ', chunked', 'chunked,,', 'chunked cow',
    '\x0bchunked', '\x0cchunked', '\0chunked', 'chunked\0', 'chunked\x0b', 'chunked\x0c', '\x08chunked', 'chun\0ked', 'chunked\x7f', '\x85chunked', '\xa0chunked', 'chunked\xa0', '\xffchunked\xff', 'chunked\t',
    'chun\xe2\x84\xaaed', 'c\xc4\xb1hunked', '=?utf-8?Q?chunked?=', '%63hunked', 'chunked\\', 'chu nked', '', ' ', ',', 'true', '1',
  ], (value) => one(`Transfer-Encoding: ${shown(value)}`, `${KETTLE_2019}; ${GARDEN}`, post([`Transfer-Encoding: ${value}`], `${CHUNKS}${SMUGGLED}`))),
  ...each(['Transfer-Encoding : chunked', 'Transfer-Encoding\t: chunked', 'Transfer-Encoding\x0b: chunked', 'Transfer-Encoding\0: chunked', 'Transfer-Encoding\xa0: chunked', 'Transfer-Encoding\x85: chunked'], (line) =>
    one(`a blank before the colon: ${shown(line)}`, `CVE-2019-16869, CVE-2021-22959; ${RFC('5.1')}`, post([line], `${CHUNKS}${SMUGGLED}`))),
  ...each([' Transfer-Encoding: chunked', '\tTransfer-Encoding: chunked', 'X: y\r\n Transfer-Encoding: chunked', 'X: y\r\n\tTransfer-Encoding: chunked'], (line) =>
    one(`a blank before the name: ${shown(line)}`, `CVE-2024-27982; ${RFC('5.2')}`, post([line], `${CHUNKS}${SMUGGLED}`))),
  ...each(['Transfer-Encoding:\r\n chunked', 'Transfer-Encoding:\r\n\tchunked', 'Transfer-Encoding: \r\n chunked', 'Transfer-Encoding: chunked\r\n , identity', 'Transfer-\r\n Encoding: chunked'], (line) =>
    one(`a folded line: ${shown(line)}`, `CVE-2025-32094; ${RFC('5.2')}`, post([line], `${CHUNKS}${SMUGGLED}`))),
  ...each(['X: y\nTransfer-Encoding: chunked', 'X: y\rTransfer-Encoding: chunked', 'X: y\n\rTransfer-Encoding: chunked', 'Transfer-Encoding:\nchunked', 'Transfer-Encoding:\n chunked', 'Transfer-Encoding: chunked\nX: y', 'Transfer-Encoding\n: chunked',
    'Transfer-Encoding: chunked\r', 'Transfer-Encoding: \rchunked', 'X: y\0\r\nTransfer-Encoding: chunked\0', 'Transfer-\r\nEncoding: chunked'], (line) =>
    one(`another line end: ${shown(line)}`, `CVE-2023-30589, CVE-2022-32214; ${GARDEN}`, post([line], `${CHUNKS}${SMUGGLED}`))),
  ...each(['Transfer_Encoding: chunked', 'Transfer.Encoding: chunked', 'transfer_encoding: chunked', 'Transfer~Encoding: chunked'], (line) =>
    one(`a name that CGI reads alike: ${shown(line)}`, 'CVE-2023-25725 and CGI, WSGI, Rack (RFC 3875 section 4.1.18)', post([line], `${CHUNKS}${SMUGGLED}`))),
  ...each(['Transfer Encoding: chunked', 'Transfer-Encoding', 'Transfer-Encoding chunked', 'Transfer-Encoding= chunked', 'Transfer-Encoding;: chunked', '"Transfer-Encoding": chunked', 'Transfer-Encoding(x): chunked', 'Transfer\xe2\x80\x90Encoding: chunked',
    '\xefTransfer-Encoding: chunked', 'Transfer\0-Encoding: chunked'], (line) => one(`a name that is none: ${shown(line)}`, GARDEN, post([line], `${CHUNKS}${SMUGGLED}`))),
  ...each(['x', 'identity', 'chunked', 'gzip', ''], (second) => one(`two: chunked, then ${shown(second)}`, `${KETTLE_2019}; CVE-2022-32215`, post([TE, `Transfer-Encoding: ${second}`], `${CHUNKS}${SMUGGLED}`))),
  ...each(['x', 'identity', 'gzip', ''], (first) => one(`two: ${shown(first)}, then chunked`, `${KETTLE_2019}; CVE-2022-32215`, post([`Transfer-Encoding: ${first}`, TE], `${CHUNKS}${SMUGGLED}`))),
  one('two in different cases', KETTLE_2019, post([TE, 'transfer-encoding: CHUNKED'], `${CHUNKS}${SMUGGLED}`)),
];

/** What looks odd and is allowed: it is forwarded, framed anew, and what follows is another request with another decision. */
const allowedCodings: readonly RequestCase[] = [
  ...each(['Transfer-Encoding:chunked', 'Transfer-Encoding:  chunked', 'Transfer-Encoding:\tchunked', 'Transfer-Encoding: chunked ', 'TRANSFER-ENCODING: CHUNKED', 'tRaNsFeR-eNcOdInG: cHuNkEd'], (line) =>
    one(`${shown(line)} is chunked, and framed anew`, RFC('6.1'), post([line], `${CHUNKS}${SMUGGLED}`), [200, 403])),
  ...each(['GET', 'DELETE', 'OPTIONS', 'PATCH', 'PUT', 'QUERY'], (method) =>
    one(`${method} with chunks that hold a request is one request`, 'CVE-2026-29057', request(method, [TE], `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`), [200], { body: SMUGGLED })),
  ...each(['Content-Encoding: chunked', 'TransferEncoding: chunked', 'X-Transfer-Encoding: chunked'], (line) =>
    one(`${shown(line)} frames nothing`, KETTLE_2019, post([line, 'Content-Length: 5'], `hello${SMUGGLED}`), [200, 403])),
];

const lengths: readonly RequestCase[] = [
  ...each([
    '+5', '-5', '-0', '+0', '0x5', '0X5', '5;', '5,', ',5', '5, 5', '5,5', '5, 6', '5,5,5', '5 5', '5a', 'a', '5.0', '5e0', '1_0', '0_5', '0b101', '0o5', '"5"', '\'5\'', '\x0b5', '\x0c5', '5\0', '\x005', '5\x0b', '\xb2', '\xd9\xa5', '5\xa0', '\x855',
    '9223372036854775808', '18446744073709551616', '18446744073709551621', '99999999999999999999999', '00000000000000000005', '0000000000000005', '', ' ', '-', 'Infinity', 'NaN', 'true', '5\x7f',
  ], (value) => one(`Content-Length: ${shown(value)}`, `CVE-2019-16276, CVE-2018-7159, CVE-2023-40225, CVE-2023-34188; ${GARDEN}`, post([`Content-Length: ${value}`], `hello${SMUGGLED}`))),
  ...each([['5', '6'], ['6', '5'], ['5', '5'], ['0', '5'], ['5', '0'], ['', '5'], ['5', ''], ['0x5', '5'], ['5', '+5'], ['5', 'x']].map(([a, b]) => `${a} and ${b}`), (both) => {
    const [first = '', second = ''] = both.split(' and ');
    return one(`two: ${shown(both)}`, `${LINHART}; CVE-2020-8287; CVE-2023-40225; ${RFC('6.3')}`, post([`Content-Length: ${first}`, `Content-Length: ${second}`], `hello${SMUGGLED}`));
  }),
  one('two in different cases', LINHART, post(['Content-Length: 5', 'content-length: 0'], `hello${SMUGGLED}`)),
  ...each(['Content-Length : 5', 'Content-Length\t: 5', ' Content-Length: 5', '\tContent-Length: 5', 'X: y\r\n Content-Length: 5', 'Content-Length:\r\n 5', 'Content-Length: 5\r\n 5', 'Content-Length:\n5', 'X: y\nContent-Length: 5', 'X: y\rContent-Length: 5', 'Content-Length: 5\rX: y', 'Content-Length: 5\r',
    'Content-Length\0: 5', 'Content-Length\x85: 5', 'Content-Length\xa0: 5', 'Content-Length 5', 'Content Length: 5', 'Content-Length', 'Content-\r\nLength: 5', '"Content-Length": 5', 'Content-Length(): 5'], (line) =>
    one(`0.CL: a length that not all can read: ${shown(line)}`, `${KETTLE_2025}; CVE-2024-27982, CVE-2021-22959, CVE-2025-32094; ${GARDEN}`, post([line], `hello${SMUGGLED}`))),
  ...each(['Content_Length: 5', 'content_length: 5', 'Content.Length: 5', 'Content~Length: 5'], (line) =>
    one(`a name that CGI reads alike: ${shown(line)}`, 'RFC 3875 section 4.1.18', post([line], `hello${SMUGGLED}`))),
  ...each(['Content-Length:5', 'Content-Length:   5', 'Content-Length:\t5', 'Content-Length: 5 ', 'Content-Length: 5\t', 'CONTENT-LENGTH: 5', 'Content-Length: 05'], (line) =>
    one(`${shown(line)} is five`, RFC('6.3'), post([line], `hello${SMUGGLED}`), [200, 403])),
  ...each(['GET', 'DELETE', 'OPTIONS', 'PUT', 'PATCH', 'QUERY'], (method) =>
    one(`CL.0: ${method} with a body that is a request is one request`, KETTLE_2022, request(method, [`Content-Length: ${SMUGGLED.length}`], SMUGGLED), [200], { body: SMUGGLED })),
  one('CL.0: HEAD with a body that is a request is one request', KETTLE_2022, request('HEAD', [`Content-Length: ${SMUGGLED.length}`], SMUGGLED), [200], { method: 'HEAD', body: SMUGGLED }),
  one('no length at all: what follows is a request of its own', KETTLE_2022, post([], SMUGGLED), [200, 403]),
  one('a length of nothing: what follows is a request of its own', KETTLE_2022, post(['Content-Length: 0'], SMUGGLED), [200, 403]),
  one('a length that leaves no room for another name: the field hidden behind a thousand others', 'node:http, which kept the first thousand fields only', get([...Array.from({ length: 1_100 }, () => 'a:'), `Content-Length: ${SMUGGLED.length}`], SMUGGLED), [431]),
  one('chunks hidden behind a thousand fields', 'node:http, which kept the first thousand fields only', request('DELETE', [...Array.from({ length: 1_100 }, () => 'a:'), TE], `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`), [431]),
  one('a length larger than what comes before the client leaves', KETTLE_2025, post(['Content-Length: 4096'], SMUGGLED), ['gone']),
  one('a length beyond what a number can hold exactly', GARDEN, post(['Content-Length: 9007199254740993'], `hello${SMUGGLED}`)),
];

const chunkSizes: readonly RequestCase[] = [
  ...each([
    '+5', '-5', '0x5', '0X5', ' 5', '\t5', '5 ', '5\t', '5 5', '5_', '0_5', 'g', '5g', '5.', '5,5', '"5"', '5:', '\x0b5', '5\x0b', '5\0', '\x005', '\xa05', '5\xa0', '5\x85', '\xef\xbc\x95', 'h', '5h', '-0', '+0', '0x', '0x0', ';', ';a', '=5', '5=', '5\x7f',
    '5 ;a=b', '5\t;a=b', ' 5;a=b', '5\x0b;a',
  ], (size) => one(`a size of ${shown(size)}`, `CVE-2023-47627, CVE-2022-35256; ${GARDEN}`, chunked(`${size}\r\nhello\r\n0\r\n\r\n${SMUGGLED}`))),
  ...each(['10000000000000005', 'FFFFFFFFFFFFFFFFF', '100000000000000000000000000000005'], (size) =>
    one(`a size beyond 64 bits: ${size}`, 'CVE-2013-2028, CVE-2022-26377', chunked(`${size}\r\nhello\r\n0\r\n\r\n${SMUGGLED}`))),
  ...each(['fffffffffffffffb', '8000000000000005', '100000005', '7fffffffffffffff'], (size) =>
    one(`a size that wraps or is never filled: ${size}`, 'CVE-2013-2028', chunked(`${size}\r\nhello\r\n0\r\n\r\n${SMUGGLED}`), ['gone'])),
  one('an empty size', GARDEN, chunked(`\r\nhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('an empty line between chunks', GARDEN, chunked(`5\r\nhello\r\n\r\n0\r\n\r\n${SMUGGLED}`)),
  one('an empty line before the first chunk', GARDEN, chunked(`\r\n5\r\nhello\r\n0\r\n\r\n${SMUGGLED}`)),
  ...each(['05', '005', '000000000005', '00000000000000000000000000000005'], (size) => one(`a size of ${size} is five`, RFC('7.1'), chunked(`${size}\r\nhello\r\n0\r\n\r\n${SMUGGLED}`), [200, 403])),
  one('capital digits', RFC('7.1'), chunked(`A\r\n0123456789\r\n0\r\n\r\n${SMUGGLED}`), [200, 403]),
  one('a last chunk of many zeros', RFC('7.1'), chunked(`5\r\nhello\r\n0000\r\n\r\n${SMUGGLED}`), [200, 403]),
];

const chunkEnds: readonly RequestCase[] = [
  one('TERM.EXT: LF within an extension', `${FUNKY}; CVE-2025-55315`, chunked(`5;\nhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('TERM.EXT: LF in an extension hides a chunk size', `${FUNKY}; CVE-2025-55315, CVE-2024-52304`, chunked(`2;\nxx\r\n47\r\n0\r\n\r\n${SMUGGLED}\r\n0\r\n\r\n`)),
  one('EXT.TERM: LF within the value of an extension', FUNKY, chunked(`2;a=b\nxx\r\n10\r\n\r\n0\r\n\r\n${SMUGGLED}`)),
  one('TERM.EXT: CR within an extension', FUNKY, chunked(`2;\rxx\r\n10\r\n\r\n0\r\n\r\n${SMUGGLED}`)),
  one('CR within an extension, before CR LF', GARDEN, chunked(`5;a=b\r\r\nhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('CR between size and extension', GARDEN, chunked(`2\r\r;a\r\n02\r\n41\r\n0\r\n\r\n${SMUGGLED}`)),
  one('LF between size and extension', FUNKY, chunked(`2\n;a\r\nxx\r\n0\r\n\r\n${SMUGGLED}`)),
  one('a size that ends at LF', 'CVE-2025-22871', chunked(`5\nhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('a size that ends at CR', GARDEN, chunked(`5\rhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('a size that ends at CR and another octet', GARDEN, chunked(`5\rXhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('a size that ends at LF CR', GARDEN, chunked(`5\n\rhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('data that ends at LF', FUNKY, chunked(`5\r\nhello\n0\r\n\r\n${SMUGGLED}`)),
  one('data that ends at CR', FUNKY, chunked(`5\r\nhello\r0\r\n\r\n${SMUGGLED}`)),
  one('data that ends at two other octets', `${FUNKY}; CVE-2023-40175`, chunked(`5\r\nhelloXX0\r\n\r\n${SMUGGLED}`)),
  one('data that does not end', GARDEN, chunked(`5\r\nhello0\r\n\r\n${SMUGGLED}`)),
  one('TERM.SPILL: data longer than its size', FUNKY, chunked(`5\r\nhello!!\r\n0\r\n\r\n${SMUGGLED}`)),
  one('SPILL.TERM: data longer by two octets, which are a line end', FUNKY, chunked(`5\r\nhello\r\n\r\n0\r\n\r\n${SMUGGLED}`)),
  one('ONE.TWO: data behind one octet of end', FUNKY, chunked(`5\r\nhello\r2f\r\n0\r\n\r\n${SMUGGLED}`)),
  one('data shorter than its size', FUNKY, chunked(`7\r\nhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('a last chunk that ends at LF', FUNKY, chunked(`5\r\nhello\r\n0\n\r\n${SMUGGLED}`)),
  one('a body that ends at LF', FUNKY, chunked(`5\r\nhello\r\n0\r\n\n${SMUGGLED}`)),
  one('a body that ends at CR', FUNKY, chunked(`5\r\nhello\r\n0\r\n\r${SMUGGLED}`)),
  one('a body that seems to end at two other octets: what follows is a trailer', 'CVE-2023-40175', chunked(`5\r\nhello\r\n0\r\nX:${SMUGGLED}`), [200]),
  one('a body without a last chunk', RFC('8'), chunked('5\r\nhello\r\n'), ['gone']),
  one('a body without its last line', RFC('8'), chunked('5\r\nhello\r\n0\r\n'), ['gone']),
  one('garbage in place of a chunk', GARDEN, chunked(`INVALID!!!\r\n${SMUGGLED}`)),
  one('a request in place of a chunk', GARDEN, chunked(SMUGGLED)),
];

const chunkExtensions: readonly RequestCase[] = [
  ...each([';a', ';a=b', ';a="b c"', ';a=b;c=d', ';a="\\""', ';=', ';a='], (extension) =>
    one(`an extension ${shown(extension)} goes no further`, RFC('7.1.1'), chunked(`5${extension}\r\nhello\r\n0${extension}\r\n\r\n${SMUGGLED}`), [200, 403])),
  ...each([';a=\0', ';a=\x08', ';\x7f', ';a="\n"', ';a="\r\n"', ';a="b', ';;', '; ', ';(a)', ';a=b c', ';a="b"c', ';\xff', ';a=\xff'], (extension) =>
    one(`an extension that is none: ${shown(extension)}`, `CVE-2021-22960; ${FUNKY}`, chunked(`5${extension}\r\nhello\r\n0\r\n\r\n${SMUGGLED}`))),
  one('an extension of 20,000 octets', 'CVE-2024-22019', chunked(`5;${'a'.repeat(20_000)}\r\nhello\r\n0\r\n\r\n${SMUGGLED}`)),
  one('extensions of 40,000 octets in all go no further', 'CVE-2024-22019', chunked(`${`1;${'a'.repeat(1_000)}\r\nx\r\n`.repeat(40)}0\r\n\r\n${SMUGGLED}`), [200, 403]),
];

const trailers: readonly RequestCase[] = [
  ...each(['X-Trailer: y', 'Host: forged', 'X-Client-Role: forged', 'Client-Cert: :Zm9yZ2Vk:', 'Authorization: forged', 'X-Forwarded-For: forged'], (line) =>
    one(`a trailer ${line} goes no further`, 'RFC 9110 section 6.5.1', chunked(`5\r\nhello\r\n0\r\n${line}\r\n\r\n${SMUGGLED}`), [200, 403])),
  ...each(['X : y', ' X: y', 'X', ': y', 'X: y\nZ: w', 'X: y\rZ: w', 'X: \0', 'X(): y', 'X: y\r\n Z: w', 'X\0: y', `X: y\n\n${SMUGGLED.trimEnd()}`], (line) =>
    one(`a trailer that is none: ${shown(line)}`, `${FUNKY}; CVE-2022-32214`, chunked(`5\r\nhello\r\n0\r\n${line}\r\n\r\n${SMUGGLED}`))),
  ...each(['Content-Length: 5', 'Transfer-Encoding: chunked'], (line) =>
    one(`a trailer that frames: ${line}`, 'RFC 9110 section 6.5.1', chunked(`5\r\nhello\r\n0\r\n${line}\r\n\r\n${SMUGGLED}`))),
  one('a trailer that ends the connection', 'RFC 9110 section 6.5.1', chunked(`5\r\nhello\r\n0\r\nConnection: close\r\n\r\n${SMUGGLED}`), [200, 'gone'], { or: ['gone', 'gone'] }),
  one('trailers of 40,000 octets', 'CVE-2018-12121', chunked(`5\r\nhello\r\n0\r\n${`X: ${'y'.repeat(1_000)}\r\n`.repeat(40)}\r\n${SMUGGLED}`), [431]),
];

const lineEnds: readonly RequestCase[] = [
  one('LF alone throughout', RFC('2.2'), `GET /echo/x HTTP/1.1\nHost: localhost\n\n${SMUGGLED}`),
  one('LF behind the request line', RFC('2.2'), `GET /echo/x HTTP/1.1\nHost: localhost\r\n\r\n${SMUGGLED}`),
  one('LF behind a field', RFC('2.2'), `GET /echo/x HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n${SMUGGLED}`),
  one('LF in place of the empty line', GARDEN, `GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\n${SMUGGLED}`),
  one('LF LF at the end', GARDEN, `GET /echo/x HTTP/1.1\r\nHost: localhost\n\n${SMUGGLED}`),
  one('CR alone throughout', GARDEN, `GET /echo/x HTTP/1.1\rHost: localhost\r\r${SMUGGLED}`),
  one('CR behind the request line', GARDEN, `GET /echo/x HTTP/1.1\rHost: localhost\r\n\r\n${SMUGGLED}`),
  one('CR CR LF', GARDEN, `GET /echo/x HTTP/1.1\r\r\nHost: localhost\r\n\r\n${SMUGGLED}`),
  one('CR CR LF behind a field', GARDEN, `GET /echo/x HTTP/1.1\r\nHost: localhost\r\r\n\r\n${SMUGGLED}`),
  one('an empty line of CR CR LF', GARDEN, `GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\r\n${SMUGGLED}`),
  one('an empty line of CR and another octet', GARDEN, `GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\rZ${SMUGGLED}`),
  one('LF CR', GARDEN, `GET /echo/x HTTP/1.1\n\rHost: localhost\n\r\n\r${SMUGGLED}`),
  one('CR LF LF', GARDEN, `GET /echo/x HTTP/1.1\r\n\nHost: localhost\r\n\r\n${SMUGGLED}`),
  one('a field value that begins with LF LF', GARDEN, get([`X:\n\n${SMUGGLED.trimEnd()}`])),
  one('a request within a value behind CR', 'CVE-2022-35256', get([`X: y\r\r${SMUGGLED.replaceAll('\r\n', '\r').trimEnd()}`])),
  one('U+010D U+010A, whose low octets are CR LF', 'CVE-2018-12116', `GET /echo/\xc4\x8d\xc4\x8a HTTP/1.1\r\n${HOST}\r\n`),
  one('NEL for a line end', GARDEN, `GET /echo/x HTTP/1.1\r\nHost: localhost\r\nX: y\x85Content-Length: 5\r\n\r\n${SMUGGLED}`, [200, 403]),
  one('LS for a line end', GARDEN, `GET /echo/x HTTP/1.1\r\nHost: localhost\r\nX: y\xe2\x80\xa8Content-Length: 5\r\n\r\n${SMUGGLED}`, [200, 403]),
];

const CONTROLS = [...Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)).filter((control) => control !== '\t'), '\x7f'];

const controls: readonly RequestCase[] = [
  ...each(CONTROLS, (control) => one(`${shown(control)} in a value`, 'RFC 9110 section 5.5', get([`X: a${control}b`], SMUGGLED))),
  ...each([...CONTROLS, '\t', ' ', '\x80', '\xff'], (control) => one(`${shown(control)} in a name`, 'RFC 9110 section 5.1', get([`X${control}Y: a`], SMUGGLED))),
  ...each(['\0', '\x01', '\x0b', '\x0c', '\x1f', '\x7f'], (control) => one(`${shown(control)} in the target`, RFC('3.2'), `GET /echo/x${control} HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`)),
  ...each(['\0', '\x01', '\x0b', '\x7f', '\xc9'], (control) => one(`${shown(control)} in the method`, RFC('3.1'), `G${control}T /echo/x HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`)),
  ...each(['\0', '\x01', '\x0b', '\x7f'], (control) => one(`${shown(control)} in the version`, RFC('2.3'), `GET /echo/x HTTP/1.1${control}\r\n${HOST}\r\n${SMUGGLED}`)),
  one('NUL in place of the empty line', GARDEN, `GET /echo/x HTTP/1.1\r\n${HOST}\0\r\n\r\n${SMUGGLED}`),
  one('NUL that cuts a value', GARDEN, get(['X: y\0Content-Length: 5'], SMUGGLED)),
  one('octets beyond ASCII in a value pass as they are', 'RFC 9110 section 5.5', get(['X: caf\xc3\xa9 \xff'], SMUGGLED), [200, 403]),
  one('a tab in a value passes as it is', 'RFC 9110 section 5.5', get(['X: a\tb'], SMUGGLED), [200, 403]),
];

const startLines: readonly RequestCase[] = [
  one('an empty line before the request line', RFC('2.2'), `\r\n${get([], SMUGGLED)}`, [200, 403]),
  one('many empty lines before the request line', RFC('2.2'), `${'\r\n'.repeat(20)}${get([], SMUGGLED)}`, [200, 403]),
  one('an empty line between two requests', RFC('2.2'), `${get([])}\r\n${SMUGGLED}`, [200, 403]),
  ...each([' ', '\t', '\0', '\x0b', ' \r\n', '\xef\xbb\xbf', '\xff', 'x'], (octets) => one(`${shown(octets)} before the request line`, GARDEN, `${octets}${get([], SMUGGLED)}`)),
  ...each([' ', '\0', 'x', 'x\r\n', '0\r\n\r\n'], (octets) => one(`${shown(octets)} between two requests`, GARDEN, `${get([])}${octets}${SMUGGLED}`, [200, 400], { or: ['gone', 'gone'] })),
  ...each(['GET  /echo/x HTTP/1.1', 'GET /echo/x  HTTP/1.1'], (line) =>
    one(`the request line ${shown(line)} is forwarded with single blanks`, RFC('3'), `${line}\r\n${HOST}\r\n${SMUGGLED}`, [200, 403])),
  ...each(['GET /echo/x HTTP/1.1 ', 'GET\t/echo/x HTTP/1.1', 'GET /echo/x\tHTTP/1.1', 'GET\x0b/echo/x HTTP/1.1', 'GET\xa0/echo/x HTTP/1.1', 'GET /echo/x\xa0HTTP/1.1', 'GET /echo/x HTTP/1.1\t', 'GET /echo/x\nHTTP/1.1', 'GET /echo/x y HTTP/1.1',
    'GET /echo/x HTTP/1.1 HTTP/1.1', 'GET /records HTTP/1.1 /echo/x HTTP/1.1', '/echo/x HTTP/1.1', ' /echo/x HTTP/1.1', 'GET HTTP/1.1', 'GET', '', 'GET/echo/x HTTP/1.1', 'GET /echo/xHTTP/1.1', 'GET /echo/x HTTP/1.1, GET /records HTTP/1.1'], (line) =>
    one(`the request line ${shown(line)}`, `${RFC('3')}; ${TREQS}; ${GARDEN}`, `${line}\r\n${HOST}\r\n${SMUGGLED}`)),
  ...each(['http/1.1', 'Http/1.1', 'HTTP /1.1', 'HTTP/ 1.1', 'HTTP/1 .1', 'HTTP/1.1x', 'HTTP/1.', 'HTTP/.1', 'HTTP/1', 'HTTP/', 'HTTP/11', 'HTTP/1,1', 'HTTP/1.2', 'HTTP/1.9', 'HTTP/1.10', 'HTTP/1.01', 'HTTP/01.1', 'HTTP/0.9', 'HTTP/0.0', 'HTTP/2', 'HTTP/2.0', 'HTTP/3.0', 'HTTP/9.9', 'HTTP/4294967297.1',
    'HTTP/+1.1', 'HTTP/-1.1', 'HTTP/\xd9\xa1.1', 'HTTPS/1.1', 'XHTTP/1.1', 'ICE/1.0', 'SIP/2.0', 'HTCPCP/1.0'], (version) =>
    one(`the version ${shown(version)}`, `${RFC('2.3')}; ${GARDEN}`, request('GET', [], SMUGGLED, version))),
  ...each(['FROB', 'get', 'Get', 'GETX', 'GET,POST', 'GET;', '"GET"', 'G=":<>(e),[T];?"', 'PRI', 'A'.repeat(2_000), 'TRACK', 'DEBUG'], (method) =>
    one(`the method ${shown(method)}`, `${RFC('3.1')}; ${GARDEN}`, request(method, [], SMUGGLED))),
  ...each(['SOURCE', 'DESCRIBE', 'SETUP', 'PLAY', 'TEARDOWN'], (method) => one(`${method} in another protocol's version`, 'llhttp, which reads RTSP and ICE too', `${method} /echo/x RTSP/1.0\r\n${HOST}\r\n${SMUGGLED}`)),
  one('GET in RTSP/1.0 counts as HTTP/1.0, and what follows is not read', 'llhttp, which reads RTSP and ICE too', `GET /echo/x RTSP/1.0\r\n${HOST}\r\n${SMUGGLED}`, [200]),
  one('SOURCE in ICE/1.0 counts as HTTP/1.0, and what follows is not read', 'llhttp, which reads RTSP and ICE too', `SOURCE /echo/x ICE/1.0\r\n${HOST}\r\n${SMUGGLED}`, [200]),
  one('an answer in place of a request', GARDEN, `HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello${SMUGGLED}`),
  one('the HTTP/2 preface', 'RFC 9113 section 3.4', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0${SMUGGLED}`),
  one('a PROXY line', 'PROXY protocol version 1', `PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n${get([], SMUGGLED)}`),
  one('a ClientHello', 'Opossum (2025)', `\x16\x03\x01\0\x05\x01\0\0\x01\0${SMUGGLED}`),
  one('HTTP/0.9', 'RFC 1945 section 4.1', `GET /echo/x\r\n${SMUGGLED}`),
  one('a target of 20,000 octets', TREQS, `GET /echo/${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`, [431]),
];

const http10: readonly RequestCase[] = [
  one('HTTP/1.0: what follows is not read', 'RFC 9112 appendix C.2.2', request('GET', [], SMUGGLED, 'HTTP/1.0'), [200]),
  one('HTTP/1.0 with keep-alive: what follows is a request of its own', 'RFC 9112 appendix C.2.2', request('GET', ['Connection: keep-alive'], SMUGGLED, 'HTTP/1.0'), [200, 403]),
  one('HTTP/1.0 with chunks', RFC('6.1'), request('POST', [TE], `${CHUNKS}${SMUGGLED}`, 'HTTP/1.0')),
  one('HTTP/1.0 with chunks and keep-alive', RFC('6.1'), request('POST', ['Connection: keep-alive', TE], `${CHUNKS}${SMUGGLED}`, 'HTTP/1.0')),
  one('HTTP/1.0 with both framings', RFC('6.1'), request('POST', ['Content-Length: 5', TE], `0\r\n\r\n${SMUGGLED}`, 'HTTP/1.0')),
  one('HTTP/1.0 with an expectation gets no 100', 'RFC 9110 section 10.1.1', request('POST', ['Expect: 100-continue', 'Content-Length: 5'], BODY, 'HTTP/1.0'), [200]),
  one('HTTP/1.0 without Host', RFC('3.2'), `GET /echo/x HTTP/1.0\r\n\r\n${SMUGGLED}`),
  one('HTTP/1.0 with an upgrade', 'RFC 9110 section 7.8', request('GET', ['Connection: Upgrade', 'Upgrade: h2c'], SMUGGLED, 'HTTP/1.0'), [200]),
];

const names: readonly RequestCase[] = [
  ...each([': y', ':', ' : y', ':empty', 'X', 'X y', 'X Y: z', 'X(y): z', 'X@y: z', 'X"y": z', 'X[y]: z', 'X{y}: z', 'X/y: z', 'X,y: z', 'X;y: z', 'X=y: z', 'X?y: z', 'X<y>: z', 'X\\y: z', 'X\xe9: z', '\x80: z'], (line) =>
    one(`the field line ${shown(line)}`, `CVE-2023-25725, CVE-2019-20444; ${GARDEN}; ${RFC('5.1')}`, get([line], SMUGGLED))),
  one('an empty name before the length', 'CVE-2023-25725', post([':', 'Content-Length: 5'], `hello${SMUGGLED}`)),
  one('a line without a colon between two fields', GARDEN, get(['Te', 'st: y'], SMUGGLED)),
  one('a line without a colon before Host', GARDEN, `GET /echo/x HTTP/1.1\r\nX\r\n${HOST}\r\n${SMUGGLED}`),
  one('a blank line of blanks', RFC('2.2'), `GET /echo/x HTTP/1.1\r\n${HOST} \r\nX: y\r\n\r\n${SMUGGLED}`),
  one('a blank line of blanks behind the request line', RFC('2.2'), `GET /echo/x HTTP/1.1\r\n \r\n${HOST}\r\n${SMUGGLED}`),
  one('a blank before the first field', RFC('2.2'), `GET /echo/x HTTP/1.1\r\n X: y\r\n${HOST}\r\n${SMUGGLED}`),
  one('a folded value', RFC('5.2'), get(['X: y\r\n z'], SMUGGLED)),
  one('a folded value that looks like a request', RFC('5.2'), get([`X: y\r\n GET /records HTTP/1.1`], SMUGGLED)),
  one('a name of 300 octets that ends in a length', 'CVE-2021-40346', post([`Content-Length0${'a'.repeat(255)}:`, 'Content-Length: 5'], `hello${SMUGGLED}`), [200, 403]),
  one('a name of 20,000 octets', TREQS, get([`${'a'.repeat(20_000)}: b`], SMUGGLED), [431]),
  one('a value of 20,000 octets', TREQS, get([`a: ${'b'.repeat(20_000)}`], SMUGGLED), [431]),
  one('a name of every octet that a token may have', 'RFC 9110 section 5.6.2', get(['!#$%&\'*+-.^_`|~09azAZ: y'], SMUGGLED), [200, 403]),
];

const hosts: readonly RequestCase[] = [
  one('no Host', RFC('3.2'), `GET /echo/x HTTP/1.1\r\n\r\n${SMUGGLED}`),
  ...each(['localhost, localhost', 'localhost,evil', '', ' ', 'a@localhost', 'localhost/records', 'localhost?x', 'localhost#x', 'localhost\\x', 'localhost:99999', 'localhost:80:80', 'localhost:x', 'localhost:-1', 'local host', 'localhost\tx', 'localhost\0', '[::1', '::1', 'localhost]', 'http://localhost', '//localhost', 'localhost%00', '%6cocalhost', 'l\xf6calhost', '.', '..', 'localhost..', '*', '"localhost"', '<localhost>'], (host) =>
    one(`Host: ${shown(host)}`, `Kettle: Cracking the Lens (2017); ${RFC('3.2')}`, `GET /echo/x HTTP/1.1\r\nHost: ${host}\r\n\r\n${SMUGGLED}`, host.includes('\0') ? [400] : [400, 403])),
  ...each(['localhost', 'evil', ''], (second) => one(`two Host fields, the second ${shown(second)}`, RFC('3.2'), get([`Host: ${second}`], SMUGGLED))),
  ...each(['host: evil', 'HOST: localhost', 'Host : evil', ' Host: evil', 'X: y\nHost: evil', 'Host\0: evil'], (line) => one(`Host and ${shown(line)}`, `${KETTLE_2025}; ${RFC('3.2')}`, get([line], SMUGGLED))),
  ...each(['Host_: evil', '_Host: evil', 'X-Host: evil'], (line) => one(`Host and ${line}, which is another name`, RFC('3.2'), get([line], SMUGGLED), [200, 403])),
  one('Host of another service', 'RFC 9110 section 7.4', `GET /echo/x HTTP/1.1\r\nHost: evil.example\r\n\r\n`, [421]),
  one('Host by the port too', 'RFC 9110 section 7.2', `GET /echo/x HTTP/1.1\r\nHost: localhost:443\r\n\r\n`, [200]),
  ...each(['http://localhost/echo/x', 'https://localhost/echo/x', 'HTTP://localhost/echo/x', 'https://evil/echo/x', 'https://localhost@evil/echo/x', 'http://localhost/records', 'http:/echo/x', 'http:echo/x', '//evil/echo/x', '///echo/x', 'localhost:443', 'localhost/echo/x', 'echo/x', '*', '?x', '#x', '@evil/echo/x', ':80/echo/x', '\\\\evil\\x', 'file:///etc/passwd', 'urn:x'], (target) =>
    one(`the target ${shown(target)}`, `CVE-2021-40438; Kettle: Cracking the Lens (2017); ${RFC('3.2')}`, `GET ${target} HTTP/1.1\r\n${HOST}\r\n`)),
  ...each(['/echo/x#y', '/echo/x#', '/echo/x?a#b', '/echo/x%00', '/echo/x%0d%0a', '/echo/%2e%2e/records', '/echo/..;/records', '/echo/../records', '/echo/..\\records', '/echo/%5c..%5crecords', '/echo//x', '/echo/\xe9', '/echo/%c0%ae%c0%ae/records', '/echo/"x"', '/echo/<x>', '/echo/x%', '/echo/x;y'], (target) =>
    one(`the target ${shown(target)}`, 'CVE-2023-45539, CVE-2024-38474; Tsai: Breaking Parser Logic (2018)', `GET ${target} HTTP/1.1\r\n${HOST}\r\n`)),
  one('OPTIONS *', RFC('3.2.4'), `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`),
  one('CONNECT', 'RFC 9110 section 9.3.6', `CONNECT localhost:443 HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`),
  one('CONNECT with a path', 'RFC 9110 section 9.3.6', `CONNECT /echo/x HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`),
  one('CONNECT with a body', 'RFC 9110 section 9.3.6', `CONNECT localhost:443 HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello${SMUGGLED}`),
  one('TRACE with a body', 'RFC 9110 section 9.3.8', request('TRACE', ['Content-Length: 5'], `hello${SMUGGLED}`), [404, 403], { or: [404] }),
];

const expectations: readonly RequestCase[] = [
  one('100-continue with its body at once', 'RFC 9110 section 10.1.1', post(['Expect: 100-continue', 'Content-Length: 5'], `hello${SMUGGLED}`), [200, 403]),
  one('100-continue with its body when asked for', 'RFC 9110 section 10.1.1', [post(['Expect: 100-continue', 'Content-Length: 5']), `hello${SMUGGLED}`], [200, 403]),
  one('100-Continue in other case', 'RFC 9110 section 10.1.1', post(['Expect: 100-Continue', 'Content-Length: 5'], `hello${SMUGGLED}`), [200, 403]),
  one('100-continue with chunks', KETTLE_2025, post(['Expect: 100-continue', TE], `${CHUNKS}${SMUGGLED}`), [200, 403]),
  one('100-continue without a body', KETTLE_2025, get(['Expect: 100-continue'], SMUGGLED), [200, 403]),
  one('100-continue on GET with a body that is a request', KETTLE_2025, get(['Expect: 100-continue', `Content-Length: ${SMUGGLED.length}`], SMUGGLED), [200]),
  one('100-continue and both framings', KETTLE_2025, post(['Expect: 100-continue', 'Content-Length: 5', TE], `0\r\n\r\n${SMUGGLED}`)),
  ...each(['y 100-continue', '100-continue, x', 'x', '200-ok', '100', '100-continue;q=1', '"100-continue"', '100-continue, 100-continue'], (value) =>
    one(`Expect: ${shown(value)}`, KETTLE_2025, post([`Expect: ${value}`, 'Content-Length: 5'], `hello${SMUGGLED}`))),
  ...each(['\n100-continue', '100-continue\n', '\r\n 100-continue', '100-continue\0', '\x0b100-continue'], (value) =>
    one(`Expect: ${shown(value)}`, KETTLE_2025, post([`Expect: ${value}`, 'Content-Length: 5'], `hello${SMUGGLED}`))),
  one('Expect twice', KETTLE_2025, post(['Expect: 100-continue', 'Expect: 100-continue', 'Content-Length: 5'], `hello${SMUGGLED}`)),
  one('Expect twice, once of something else', KETTLE_2025, post(['Expect: 100-continue', 'Expect: x', 'Content-Length: 5'], `hello${SMUGGLED}`)),
  one('a refused request that expects 100 gets none', 'RFC 9110 section 10.1.1', [`POST /records HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n`, SMUGGLED], [404]),
];

const hopByHop: readonly RequestCase[] = [
  ...each(['host', 'content-length', 'transfer-encoding', 'close, host', 'Content-Length', 'x, TRANSFER-ENCODING', 'host,'], (option) =>
    one(`Connection: ${option}`, 'CVE-2022-31813; Davison: Abusing HTTP hop-by-hop request headers (2019)', post([`Connection: ${option}`, 'Content-Length: 5'], BODY))),
  ...each(['x-request-id', 'x-client-role', 'client-cert, x-client-id', 'x-forwarded-for', 'x-forwarded-proto, x-forwarded-host', 'traceparent', 'keep-alive, x-client-role', 'te, trailer', 'upgrade'], (option) =>
    one(`Connection: ${option} takes none of ours away`, 'CVE-2024-45410, CVE-2025-64484', get([`Connection: ${option}`, 'X-Client-Role: forged', 'X-Request-Id: forged']), [200])),
  one('Connection in two fields', 'CVE-2024-45410', get(['Connection: keep-alive', 'Connection: x-client-role', 'X-Client-Role: forged'], SMUGGLED), [200, 403]),
  one('what Connection names goes no further', 'RFC 9110 section 7.6.1', get(['Connection: x-forged', 'X-Forged: forged'], SMUGGLED), [200, 403]),
  one('Connection: close, and what follows is not read', RFC('9.6'), get(['Connection: close'], SMUGGLED), [200]),
  one('Connection: close in a list, and what follows is not read', RFC('9.6'), get(['Connection: keep-alive, close'], SMUGGLED), [200]),
  one('Connection: close in capitals, and what follows is not read', RFC('9.6'), get(['Connection: CLOSE'], SMUGGLED), [200]),
  one('Connection: close and a body that is longer than its length', RFC('9.6'), post(['Connection: close', 'Content-Length: 5'], `hello${SMUGGLED}`), [200]),
  ...each(['TE: trailers', 'TE: trailers, forged', 'Trailer: forged', 'Keep-Alive: forged', 'Proxy-Connection: forged', 'Proxy-Authorization: forged', 'Upgrade: forged', 'HTTP2-Settings: forged'], (line) =>
    one(`${line} goes no further`, 'RFC 9110 section 7.6.1', get([line], SMUGGLED), [200, 403])),
  ...each(['X-Client-Role', 'x_client_role', 'X-Client.Role', 'x~client~role', 'X-CLIENT-ROLE', 'Client-Cert', 'Client_Cert', 'CLIENT.CERT', 'X-Client-Id', 'X-Request-Id', 'x_request_id', 'X-Forwarded-For', 'X_Forwarded_For', 'X-Forwarded-Client-Cert', 'Forwarded', 'X-Real-Ip', 'True-Client-Ip', 'X-Original-Url', 'X-Rewrite-Url', 'X-Http-Method-Override',
    'X-Ssl-Client-Verify', 'Ssl-Client-Cert', 'X-Client-Status', 'X-Forwarded-Anything'], (name) =>
    one(`a client's own ${name} goes no further`, 'TRAPS of other gateways: CVE-2024-45410, CVE-2025-64484, CVE-2018-14773', get([`${name}: forged`, `${name}: forged`], SMUGGLED), [200, 403])),
  ...each(['X-Client-Role : forged', ' X-Client-Role: forged', 'X: y\nX-Client-Role: forged', 'X: y\rX-Client-Role: forged', 'X-Client-Role\0: forged', 'X-Client\xadRole: forged', 'X-Client-Role\x0b: forged'], (line) =>
    one(`an identity smuggled as ${shown(line)}`, GARDEN, get([line], SMUGGLED))),
];

const upgrades: readonly RequestCase[] = [
  one('h2c is not taken, and what follows is not read', 'Bishop Fox: h2c smuggling (2020)', get(['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'], SMUGGLED), [200]),
  one('h2c with the HTTP/2 preface behind it', 'Bishop Fox: h2c smuggling (2020)', get(['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'], 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), [200]),
  one('a request whose head comes with an upgrade that is not taken, and whose body comes later', 'node:http, which drops the octets behind such an upgrade and reads on', [`${get(['Connection: Upgrade', 'Upgrade: h2c'])}POST /echo/x HTTP/1.1\r\n${HOST}Content-Length: ${SMUGGLED.length}\r\n\r\n`, SMUGGLED], [200]),
  one('h2c on POST', 'Bishop Fox: h2c smuggling (2020)', post(['Connection: Upgrade', 'Upgrade: h2c', 'Content-Length: 5'], `hello${SMUGGLED}`), [200], { body: BODY }),
  ...each(['TLS/1.0', 'HTTP/2.0', 'h2', 'websocket/13', 'websocket, h2c', 'h2c, websocket', 'x'], (protocol) =>
    one(`an upgrade to ${protocol} is not taken`, 'CVE-2025-49812; RFC 9110 section 7.8', get(['Connection: Upgrade', `Upgrade: ${protocol}`], SMUGGLED), [200])),
  one('a WebSocket on POST is not taken', 'RFC 6455 section 4.1', post(['Connection: Upgrade', 'Upgrade: websocket', 'Content-Length: 5'], `hello${SMUGGLED}`), [200]),
  one('a WebSocket that the upstream declines, with a request behind it', 'Egorov: WebSocket smuggling (2019)', get(['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='], SMUGGLED), [200]),
  one('a WebSocket of a version that is none, with a request behind it', 'Egorov: WebSocket smuggling (2019)', get(['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 777', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='], SMUGGLED), [200]),
  one('a WebSocket without Connection: Upgrade', 'RFC 9110 section 7.8', get(['Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='], SMUGGLED), [200, 403]),
  one('a WebSocket with a length', 'Egorov: WebSocket smuggling (2019)', get(['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', `Content-Length: ${SMUGGLED.length}`], SMUGGLED)),
  one('a WebSocket with chunks', 'Egorov: WebSocket smuggling (2019)', get(['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', TE], `${CHUNKS}${SMUGGLED}`)),
  one('a WebSocket with both framings', 'Egorov: WebSocket smuggling (2019)', get(['Connection: Upgrade', 'Upgrade: websocket', 'Content-Length: 5', TE], `0\r\n\r\n${SMUGGLED}`)),
  one('a WebSocket that expects 100', KETTLE_2025, get(['Connection: Upgrade', 'Upgrade: websocket', 'Expect: 100-continue', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='], SMUGGLED), [200]),
];

const pipelines: readonly RequestCase[] = [
  one('three requests, three answers, in order', RFC('9.3.2'), get([]).repeat(3), [200, 200, 200]),
  one('a forbidden one between two that are not', RFC('9.3.2'), `${get([])}${SMUGGLED}${get([])}`, [200, 403, 200]),
  one('nothing behind a refused framing', RFC('9.3.2'), `${get([])}${post(['Content-Length: 5', TE], CHUNKS)}${get([])}`, [200, 400], { or: ['gone', 'gone'] }),
  one('garbage behind an answer', 'CVE-2019-17559 and others', `${get([])}GARBAGE\r\n\r\n${SMUGGLED}`, [200, 400], { or: ['gone', 'gone'] }),
  one('a head that never ends, behind an answer', RFC('9.3.2'), `${get([])}GET /records HTTP/1.1\r\nX: `, [200, 'gone']),
  one('requests with bodies, back to back', RFC('9.3.2'), `${post(['Content-Length: 5'], BODY)}${chunked(CHUNKS)}${get([])}`, [200, 200, 200]),
  one('pause: the body goes on after the upstream has answered', `${KETTLE_2022} (pause-based desync)`, [`POST /echo/early HTTP/1.1\r\n${HOST}Content-Length: ${SMUGGLED.length + 1}\r\n\r\n.`, SMUGGLED], [200]),
  one('pause: chunks go on after the upstream has answered', `${KETTLE_2022} (pause-based desync)`, [`POST /echo/early HTTP/1.1\r\n${HOST}${TE}\r\n\r\n1\r\n.\r\n`, `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n${SMUGGLED}`], [200]),
  one('pause: a chunk that is none after the upstream has answered', `${KETTLE_2022} (pause-based desync)`, [`POST /echo/early HTTP/1.1\r\n${HOST}${TE}\r\n\r\n1\r\n.\r\n`, SMUGGLED], [200]),
  one('pause: a part of the body comes after the upstream has answered, and then nothing', `${KETTLE_2022} (pause-based desync)`, [`POST /echo/early HTTP/1.1\r\n${HOST}Content-Length: 4096\r\n\r\n.`, SMUGGLED], [200]),
  one('pause: the body of a refused request is not another request', `${KETTLE_2022} (pause-based desync)`, [`POST /nowhere HTTP/1.1\r\n${HOST}Content-Length: ${SMUGGLED.length}\r\n\r\n`, SMUGGLED], [404]),
  one('the body of a refused request is not another request', KETTLE_2022, `POST /nowhere HTTP/1.1\r\n${HOST}Content-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`, [404]),
  one('the chunks of a refused request are not another request', KETTLE_2022, `POST /nowhere HTTP/1.1\r\n${HOST}${TE}\r\n\r\n${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`, [404]),
];

/** Attacks on where a message ends, by what they play on. */
export const FRAMING: Readonly<Record<string, readonly RequestCase[]>> = {
  'both framings': bothFramings,
  'Transfer-Encoding in disguise': codings,
  'framing that is allowed': allowedCodings,
  'Content-Length': lengths,
  'chunk sizes': chunkSizes,
  'ends of chunks': chunkEnds,
  'chunk extensions': chunkExtensions,
  'trailers': trailers,
};

/** Attacks on what a message says, and on what becomes of its connection. */
export const SYNTAX: Readonly<Record<string, readonly RequestCase[]>> = {
  'line ends': lineEnds,
  'control characters': controls,
  'the request line': startLines,
  'HTTP/1.0': http10,
  'field names': names,
  'authority and target': hosts,
  'Expect': expectations,
  'fields of the connection and fields of the gateway': hopByHop,
  'upgrades': upgrades,
  'pipelines': pipelines,
};
