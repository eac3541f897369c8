/** One message as a strict reader frames it. Offsets are octets of the connection. */
export interface Message {
  readonly start: number;
  readonly end: number;
  /** Start line without its end. */
  readonly line: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** Content, chunks joined. */
  readonly body: string;
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
}

/** Messages, and what comes behind them: nothing, the beginning of a message, or octets that are none. */
export interface Reading {
  readonly messages: readonly Message[];
  readonly rest: 'nothing' | 'beginning' | 'malformed';
  readonly detail: string;
}

type Framing = { readonly kind: 'none' | 'chunked' | 'close' } | { readonly kind: 'length'; readonly octets: number } | { readonly kind: 'malformed'; readonly detail: string };
type Body = { readonly kind: 'whole'; readonly body: string; readonly end: number } | { readonly kind: 'beginning' } | { readonly kind: 'malformed'; readonly detail: string };

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// RFC 9110 section 5.5.
// eslint-disable-next-line no-control-regex
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;
const REQUEST_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ \/[\x21\x24-\x3b\x3d\x3f-\x5b\x5d-\x7e]* HTTP\/1\.1$/;
// eslint-disable-next-line no-control-regex
const STATUS_LINE = /^HTTP\/1\.1 [1-5][0-9][0-9] [\t\x20-\x7e\x80-\xff]*$/;

/** The values of a field, in the order they came. */
export function valuesOf(message: Pick<Message, 'fields'>, name: string): readonly string[] {
  return message.fields.filter(([one]) => one.toLowerCase() === name).map(([, value]) => value);
}

export function statusOf(message: Message): number {
  return Number(message.line.slice(9, 12));
}

/** Reads what an upstream received (RFC 9112 to the letter, and less: no chunk extensions, no line but `METHOD /path HTTP/1.1`). */
export function readRequests(octets: string, from = 0): Reading {
  return readMessages(octets, from, REQUEST_LINE, requestFraming, false);
}

/**
 * Reads what a client received. `methodOf` tells what an answer answers, from its fields; `closed` says that the connection
 * has ended, for a body that lasts until then.
 */
export function readAnswers(octets: string, methodOf: (message: Pick<Message, 'fields'>) => string, closed: boolean): Reading {
  return readMessages(octets, 0, STATUS_LINE, (line, fields) => answerFraming(line, fields, methodOf({ fields })), closed);
}

function readMessages(octets: string, from: number, startLine: RegExp, framingOf: (line: string, fields: Message['fields']) => Framing, closed: boolean): Reading {
  const messages: Message[] = [];
  let start = from;
  while (start < octets.length) {
    const blank = octets.indexOf('\r\n\r\n', start);
    if (blank === -1) return { messages, rest: 'beginning', detail: `a head without end: ${JSON.stringify(octets.slice(start, start + 80))}` };
    const [line = '', ...lines] = octets.slice(start, blank).split('\r\n');
    if (!startLine.test(line)) return { messages, rest: 'malformed', detail: `start line ${JSON.stringify(line.slice(0, 120))}` };
    const fields: [string, string][] = [];
    for (const text of lines) {
      const colon = text.indexOf(':');
      const [name, value] = [text.slice(0, Math.max(colon, 0)), text.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')];
      if (!TOKEN.test(name) || !VALUE.test(value)) return { messages, rest: 'malformed', detail: `field line ${JSON.stringify(text.slice(0, 120))}` };
      fields.push([name, value]);
    }
    const framing = framingOf(line, fields);
    if (framing.kind === 'malformed') return { messages, rest: 'malformed', detail: framing.detail };
    const body = readBody(octets, blank + 4, framing, closed);
    if (body.kind === 'beginning') return { messages, rest: 'beginning', detail: `a body without end behind ${line}` };
    if (body.kind === 'malformed') return { messages, rest: 'malformed', detail: body.detail };
    messages.push({ start, end: body.end, line, fields, body: body.body, framing: framing.kind });
    start = body.end;
  }
  return { messages, rest: 'nothing', detail: '' };
}

function requestFraming(_line: string, fields: Message['fields']): Framing {
  const hosts = valuesOf({ fields }, 'host');
  if (hosts.length !== 1) return { kind: 'malformed', detail: `${hosts.length} Host fields` };
  return declaredFraming(fields) ?? { kind: 'none' };
}

function answerFraming(line: string, fields: Message['fields'], method: string): Framing {
  const status = Number(line.slice(9, 12));
  const declared = declaredFraming(fields);
  if (declared?.kind === 'malformed') return declared;
  if ((status < 200 || status === 204) && declared !== undefined) return { kind: 'malformed', detail: `${status} with a length` };
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return { kind: 'none' };
  return declared ?? { kind: 'close' };
}

function declaredFraming(fields: Message['fields']): Framing | undefined {
  const lengths = valuesOf({ fields }, 'content-length');
  const codings = valuesOf({ fields }, 'transfer-encoding');
  if (lengths.length + codings.length > 1) return { kind: 'malformed', detail: `framed ${lengths.length + codings.length} times: ${[...lengths, ...codings].join(' | ')}` };
  if (codings.length === 1) return codings[0]?.toLowerCase() === 'chunked' ? { kind: 'chunked' } : { kind: 'malformed', detail: `Transfer-Encoding ${codings[0]}` };
  if (lengths.length === 0) return undefined;
  return /^[0-9]{1,15}$/.test(lengths[0] as string) ? { kind: 'length', octets: Number(lengths[0]) } : { kind: 'malformed', detail: `Content-Length ${lengths[0]}` };
}

function readBody(octets: string, at: number, framing: Framing, closed: boolean): Body {
  if (framing.kind === 'none') return { kind: 'whole', body: '', end: at };
  if (framing.kind === 'chunked') return readChunks(octets, at);
  if (framing.kind === 'close') return closed ? { kind: 'whole', body: octets.slice(at), end: octets.length } : { kind: 'beginning' };
  const length = framing.kind === 'length' ? framing.octets : 0;
  return octets.length < at + length ? { kind: 'beginning' } : { kind: 'whole', body: octets.slice(at, at + length), end: at + length };
}

function readChunks(octets: string, start: number): Body {
  let at = start;
  let body = '';
  for (;;) {
    const end = octets.indexOf('\r\n', at);
    if (end === -1) return { kind: 'beginning' };
    const size = octets.slice(at, end);
    if (!/^[0-9A-Fa-f]{1,8}$/.test(size)) return { kind: 'malformed', detail: `chunk size ${JSON.stringify(size.slice(0, 40))}` };
    const length = Number.parseInt(size, 16);
    at = end + 2;
    if (length === 0) break;
    if (octets.length < at + length + 2) return { kind: 'beginning' };
    if (octets.slice(at + length, at + length + 2) !== '\r\n') return { kind: 'malformed', detail: 'a chunk longer than its size' };
    body += octets.slice(at, at + length);
    at += length + 2;
  }
  for (;;) {
    const end = octets.indexOf('\r\n', at);
    if (end === -1) return { kind: 'beginning' };
    const line = octets.slice(at, end);
    at = end + 2;
    if (line === '') return { kind: 'whole', body, end: at };
    if (!/^(?!(?:content-length|transfer-encoding|host|connection|set-cookie):)[!#$%&'*+.^_`|~0-9A-Za-z-]+:/i.test(line)) return { kind: 'malformed', detail: `trailer ${JSON.stringify(line.slice(0, 80))}` };
  }
}

/** What servers have been found to do with octets that RFC 9112 forbids. */
interface Leniency {
  readonly name: string;
  /** What ends a line, besides CR LF. */
  readonly lineEnd: RegExp;
  /** Which of several lengths counts, and whether a length goes before chunks. */
  readonly length: 'first' | 'last' | 'before chunks';
  /** Whether a value ends at NUL, and a line that begins with a blank belongs to the one before. */
  readonly cuts: boolean;
}

const CRLF = /\r\n/g;
const LF = /\r?\n/g;
const ANY = /\r\n|\n|\r/g;

const LENIENT: readonly Leniency[] = [
  { name: 'lines end at CR LF, the first length counts', lineEnd: CRLF, length: 'first', cuts: false },
  { name: 'lines end at LF, the first length counts', lineEnd: LF, length: 'first', cuts: false },
  { name: 'lines end at LF, the last length counts', lineEnd: LF, length: 'last', cuts: false },
  { name: 'lines end at LF, a length goes before chunks', lineEnd: LF, length: 'before chunks', cuts: false },
  { name: 'lines end at CR or LF, the first length counts', lineEnd: ANY, length: 'first', cuts: false },
  { name: 'lines end at CR or LF, the last length counts, lines are folded and values cut at NUL', lineEnd: ANY, length: 'last', cuts: true },
  { name: 'lines end at CR or LF, a length goes before chunks, lines are folded and values cut at NUL', lineEnd: ANY, length: 'before chunks', cuts: true },
];

/**
 * The readers, strict and lenient, that see other requests in these octets than the strict one does: a front must not send
 * anything on which the servers behind it can disagree.
 */
export function disagreements(octets: string, from: number, strict: Reading): readonly string[] {
  const expected = strict.messages.map((message) => message.end).join(' ');
  return LENIENT.flatMap((reader) => {
    const seen = lenientEnds(octets, from, reader).join(' ');
    return seen === expected ? [] : [`${reader.name}: requests end at ${seen} instead of ${expected}`];
  });
}

function lenientEnds(octets: string, from: number, reader: Leniency): number[] {
  const ends: number[] = [];
  for (let at = from; ;) {
    while (octets[at] === '\r' || octets[at] === '\n') at++;
    const head = lenientHead(octets, at, reader);
    if (head === undefined) return ends;
    const end = lenientBody(octets, head.end, head.fields, reader);
    if (end === undefined || end > octets.length) return ends;
    ends.push(end);
    at = end;
  }
}

function lenientHead(octets: string, start: number, reader: Leniency): { fields: [string, string][]; end: number } | undefined {
  const fields: [string, string][] = [];
  for (let at = start, first = true; ; first = false) {
    const line = lineAt(octets, at, reader.lineEnd);
    if (line === undefined) return undefined;
    at = line.next;
    if (line.text === '') return first ? undefined : { fields, end: at };
    const before = fields.at(-1);
    if (reader.cuts && /^[ \t]/.test(line.text) && before !== undefined) before[1] += line.text;
    else if (!first) fields.push(lenientField(line.text, reader));
  }
}

function lenientField(line: string, reader: Leniency): [string, string] {
  const [, name = '', value = ''] = /^([^:]*):?([^]*)$/.exec(line) ?? [];
  const whole = reader.cuts ? value.split('\0')[0] ?? '' : value;
  // Names as CGI reads them, and whatever is no letter around them dropped.
  return [name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, ''), whole.replace(/[^\x21-\x7e]/g, '')];
}

function lenientBody(octets: string, at: number, fields: readonly [string, string][], reader: Leniency): number | undefined {
  const lengths = fields.filter(([name]) => name === 'content-length').map(([, value]) => Number.parseInt(value)).filter((length) => length >= 0);
  const chunked = fields.some(([name, value]) => name === 'transfer-encoding' && /chunked/i.test(value));
  if (chunked && (lengths.length === 0 || reader.length !== 'before chunks')) return lenientChunks(octets, at, reader);
  return at + ((reader.length === 'last' ? lengths.at(-1) : lengths[0]) ?? 0);
}

function lenientChunks(octets: string, start: number, reader: Leniency): number | undefined {
  for (let at = start; ;) {
    const line = lineAt(octets, at, reader.lineEnd);
    const size = Number.parseInt(line?.text ?? '', 16);
    if (line === undefined || Number.isNaN(size)) return undefined;
    at = line.next + Math.abs(size);
    if (size === 0) {
      for (let trailer = lineAt(octets, at, reader.lineEnd); ; trailer = lineAt(octets, trailer.next, reader.lineEnd)) {
        if (trailer === undefined) return undefined;
        if (trailer.text === '') return trailer.next;
      }
    }
    while (octets[at] === '\r' || octets[at] === '\n') at++;
  }
}

function lineAt(octets: string, at: number, lineEnd: RegExp): { text: string; next: number } | undefined {
  lineEnd.lastIndex = at;
  const match = lineEnd.exec(octets);
  return match === null ? undefined : { text: octets.slice(at, match.index), next: match.index + match[0].length };
}
