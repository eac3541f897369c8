import { block, ERROR, FLAG, frame, integer, literal, openFrames, openRaw, PREFACE, request, SETTING, settings, TYPE, uint32, type Fields, type RawHttp2 } from './h2.ts';
import type { TestPki } from './pki.ts';

/** What a case shows: the end of the connection or of the stream, with its code, an answer's status, or nothing at all. */
export type Shown = string;

/** One case of RFC 9113 or RFC 7541. Everything happens on stream 1 unless it says otherwise. */
export interface Http2Case {
  readonly section: string;
  readonly what: string;
  /** What the section allows, the first being what it says. */
  readonly allowed: readonly Shown[];
  /** Says nothing before `play`, not even the preface. */
  readonly bare?: true;
  readonly play: (raw: RawHttp2) => void | Promise<void>;
  /** What is to be seen beyond an answer; false makes it a failure. */
  readonly holds?: (raw: RawHttp2) => boolean | Promise<boolean>;
}

const CODES = ['NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'FLOW_CONTROL_ERROR', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED', 'FRAME_SIZE_ERROR', 'REFUSED_STREAM', 'CANCEL', 'COMPRESSION_ERROR', 'CONNECT_ERROR', 'ENHANCE_YOUR_CALM'] as const;

const connection = (...codes: readonly (keyof typeof ERROR)[]): Shown[] => codes.map((code) => `connection ${CODES[ERROR[code]]}`);
const stream = (...codes: readonly (keyof typeof ERROR)[]): Shown[] => codes.map((code) => `stream ${CODES[ERROR[code]]}`);
/** RFC 9113 section 5.4: whoever detects a stream error may end the connection for it. */
const streamOrConnection = (code: keyof typeof ERROR): Shown[] => [...stream(code), ...connection(code)];
const GOES_ON = ['goes on'];
const answers = (status: number): Shown[] => [`answers ${status}`];
/** A malformed request: RFC 9113 section 8.1.1 wants a stream error, and lets a server answer first. */
const MALFORMED = [...stream('protocol'), ...connection('protocol'), ...answers(400)];

const GET = request('/echo/x');
const open = FLAG.endHeaders;
const whole = FLAG.endHeaders | FLAG.endStream;
const post = (more: Fields = []): Fields => request('/echo/x', more, 'POST');
const text = (value: string): Buffer => Buffer.from(value, 'latin1');
const header = (id: number, octets: Buffer, flags: number = whole): Buffer => frame(TYPE.headers, flags, id, octets);
const asking = (fields: Fields, flags: number = whole) => (raw: RawHttp2): void => raw.headers(1, fields, flags);
const sending = (...octets: readonly Buffer[]) => (raw: RawHttp2): void => raw.write(...octets);
const without = (name: string): Fields => GET.filter(([field]) => field !== name);
/** A request whose header block ends in these octets. */
const ending = (...octets: readonly Buffer[]) => sending(header(1, Buffer.concat([block(GET), ...octets])));
const priority = (on: number, weight = 16): Buffer => Buffer.concat([uint32(on), Buffer.from([weight])]);

function list(section: string, cases: readonly (readonly [what: string, allowed: readonly Shown[], play: Http2Case['play'], more?: Pick<Http2Case, 'bare' | 'holds'>])[]): Http2Case[] {
  return cases.map(([what, allowed, play, more = {}]) => ({ section, what, allowed, play, ...more }));
}

/** The octets of stream 1's DATA so far. */
const received = (raw: RawHttp2): number => raw.frames.filter(({ type, stream: id }) => type === TYPE.data && id === 1).reduce((sum, { payload }) => sum + payload.length, 0);

/** Ends stream 1 from both sides. */
async function finished(raw: RawHttp2): Promise<void> {
  raw.headers(1, GET);
  await raw.wait(({ type, stream: id, flags }) => id === 1 && type === TYPE.data && (flags & FLAG.endStream) !== 0);
}

/** Ends stream 1 by a reset of the client. */
function resetByUs(raw: RawHttp2): void {
  raw.headers(1, post(), open);
  raw.send(TYPE.rstStream, 0, 1, uint32(ERROR.cancel));
}

export const HTTP2_CASES: readonly Http2Case[] = [
  ...list('3.4 Connection preface', [
    ['a preface with empty SETTINGS', GOES_ON, sending(PREFACE, frame(TYPE.settings, 0, 0)), { bare: true }],
    ['no preface', ['closes', ...connection('protocol')], sending(text('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')), { bare: true }],
    ['another frame than SETTINGS first', ['closes', ...connection('protocol')], sending(PREFACE, frame(TYPE.ping, 0, 0, Buffer.alloc(8))), { bare: true }],
    ['a request in the same octets', answers(200), sending(PREFACE, frame(TYPE.settings, 0, 0), header(1, block(GET))), { bare: true }],
  ]),
  ...list('4.1 Frame format', [
    ['a frame of an unknown type', answers(200), sending(frame(0xbe, 0xff, 0, text('unknown')), header(1, block(GET)))],
    ['flags that a PING does not have', GOES_ON, sending(frame(TYPE.ping, 0xfe, 0, text('unflagged'.slice(0, 8))))],
    ['the reserved bit of a stream identifier', GOES_ON, sending(frame(TYPE.ping, 0, 0x80000000, text('reserved')))],
  ]),
  ...list('4.2 Frame size', [
    ['DATA of 2^14 octets', answers(200), (raw) => {
      raw.headers(1, post(), open);
      raw.send(TYPE.data, FLAG.endStream, 1, Buffer.alloc(16_384, 'x'));
    }, { holds: async (raw) => await raw.wait(() => received(raw) === 16_384) !== undefined }],
    ['DATA larger than SETTINGS_MAX_FRAME_SIZE', streamOrConnection('frameSize'), (raw) => {
      raw.headers(1, post(), open);
      raw.send(TYPE.data, FLAG.endStream, 1, Buffer.alloc(16_385));
    }],
    ['HEADERS larger than SETTINGS_MAX_FRAME_SIZE', connection('frameSize'), sending(header(1, Buffer.alloc(16_385)))],
    ['SETTINGS larger than SETTINGS_MAX_FRAME_SIZE', connection('frameSize'), sending(frame(TYPE.settings, 0, 0, Buffer.alloc(16_386)))],
  ]),
  ...list('4.3 Field section compression', [
    ['a field block that cannot be decoded', connection('compression'), sending(header(1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])))],
    ['a field block that ends within a field', connection('compression'), ending(literal('x-cut', 'value').subarray(0, -2))],
    ['PRIORITY within a field block', connection('protocol'), sending(header(1, block(GET), FLAG.endStream), frame(TYPE.priority, 0, 1, priority(0)), frame(TYPE.continuation, FLAG.endHeaders, 1))],
    ['HEADERS of another stream within a field block', connection('protocol'), sending(header(1, block(GET), FLAG.endStream), header(3, block(GET)))],
    ['an unknown frame within a field block', connection('protocol'), sending(header(1, block(GET), FLAG.endStream), frame(0xbe, 0, 0), frame(TYPE.continuation, FLAG.endHeaders, 1))],
  ]),
  ...list('5.1 Stream states', [
    ['idle: DATA', connection('protocol'), sending(frame(TYPE.data, FLAG.endStream, 1, text('x')))],
    ['idle: RST_STREAM', connection('protocol'), sending(frame(TYPE.rstStream, 0, 1, uint32(ERROR.cancel)))],
    ['idle: WINDOW_UPDATE', connection('protocol'), sending(frame(TYPE.windowUpdate, 0, 1, uint32(100)))],
    ['idle: CONTINUATION', connection('protocol'), sending(frame(TYPE.continuation, FLAG.endHeaders, 1, block(GET)))],
    ['idle: PRIORITY', GOES_ON, sending(frame(TYPE.priority, 0, 1, priority(0)))],
    ['half-closed (remote): DATA', streamOrConnection('streamClosed'), sending(header(1, block(request('/echo/hold'))), frame(TYPE.data, FLAG.endStream, 1, text('x')))],
    ['half-closed (remote): HEADERS', streamOrConnection('streamClosed'), sending(header(1, block(request('/echo/hold'))), header(1, block(GET)))],
    ['half-closed (remote): CONTINUATION', [...streamOrConnection('streamClosed'), ...connection('protocol')], sending(header(1, block(request('/echo/hold'))), frame(TYPE.continuation, FLAG.endHeaders, 1, block(GET)))],
    ['half-closed (remote): WINDOW_UPDATE', GOES_ON, sending(header(1, block(request('/echo/hold'))), frame(TYPE.windowUpdate, 0, 1, uint32(100)))],
    ['half-closed (remote): PRIORITY', GOES_ON, sending(header(1, block(request('/echo/hold'))), frame(TYPE.priority, 0, 1, priority(0)))],
    ['closed by END_STREAM: DATA', [...connection('streamClosed'), ...stream('streamClosed')], async (raw) => {
      await finished(raw);
      raw.send(TYPE.data, FLAG.endStream, 1, text('x'));
    }],
    ['closed by END_STREAM: HEADERS', connection('streamClosed', 'protocol'), async (raw) => {
      await finished(raw);
      raw.headers(1, GET);
    }],
    ['closed by END_STREAM: WINDOW_UPDATE', GOES_ON, async (raw) => {
      await finished(raw);
      raw.send(TYPE.windowUpdate, 0, 1, uint32(100));
    }],
    ['closed by END_STREAM: RST_STREAM', GOES_ON, async (raw) => {
      await finished(raw);
      raw.send(TYPE.rstStream, 0, 1, uint32(ERROR.none));
    }],
    ['closed by RST_STREAM: DATA', streamOrConnection('streamClosed'), (raw) => {
      resetByUs(raw);
      raw.send(TYPE.data, FLAG.endStream, 1, text('x'));
    }],
    ['closed by RST_STREAM: HEADERS', streamOrConnection('streamClosed'), (raw) => {
      resetByUs(raw);
      raw.headers(1, [['x-trailer', 'y']]);
    }],
    ['closed by RST_STREAM: PRIORITY', GOES_ON, (raw) => {
      resetByUs(raw);
      raw.send(TYPE.priority, 0, 1, priority(0));
    }],
  ]),
  ...list('5.1.1 Stream identifiers', [
    ['an even identifier', connection('protocol'), sending(header(2, block(GET)))],
    ['an identifier below that of an earlier stream', connection('protocol', 'streamClosed'), async (raw) => {
      raw.headers(5, GET);
      await raw.status(5);
      raw.headers(3, GET);
    }],
    ['identifiers that leave some out', answers(200), async (raw) => {
      raw.headers(101, GET);
      raw.headers(1_001, GET);
      if (await raw.status(101) === 200 && await raw.status(1_001) === 200) raw.headers(1_003, GET);
    }, { holds: async (raw) => await raw.status(1_003) === 200 }],
  ]),
  ...list('5.1.2 Stream concurrency', [
    ['more streams than SETTINGS_MAX_CONCURRENT_STREAMS', [...stream('refused', 'protocol'), ...connection('protocol')], (raw) => {
      for (let id = 1; id <= 203; id += 2) raw.headers(id, request('/echo/hold'));
    }],
  ]),
  ...list('5.5 Extending HTTP/2', [
    ['an unknown setting', answers(200), sending(frame(TYPE.settings, 0, 0, settings([0xff, 1])), header(1, block(GET)))],
    ['an unknown frame on a stream', answers(200), sending(header(1, block(post()), open), frame(0xbe, 0, 1, text('x')), frame(TYPE.data, FLAG.endStream, 1))],
  ]),
  ...list('6.1 DATA', [
    ['on stream 0', connection('protocol'), sending(frame(TYPE.data, 0, 0, text('x')))],
    ['padded: the padding is no part of the body', answers(200), (raw) => {
      raw.headers(1, post(), open);
      raw.send(TYPE.data, FLAG.endStream | FLAG.padded, 1, Buffer.concat([Buffer.from([6]), text('octets'), Buffer.alloc(6)]));
    }, { holds: async (raw) => await raw.wait(() => received(raw) === 6) !== undefined }],
    ['padding of more than the payload', connection('protocol'), sending(header(1, block(post()), open), frame(TYPE.data, FLAG.endStream | FLAG.padded, 1, Buffer.from([6, 0, 0])))],
    ['padded, without a pad length', connection('protocol', 'frameSize'), sending(header(1, block(post()), open), frame(TYPE.data, FLAG.endStream | FLAG.padded, 1))],
  ]),
  ...list('6.2 HEADERS', [
    ['on stream 0', connection('protocol'), sending(header(0, block(GET)))],
    ['padded, with a priority', answers(200), sending(header(1, Buffer.concat([Buffer.from([3]), priority(0), block(GET), Buffer.alloc(3)]), whole | FLAG.padded | FLAG.priority))],
    ['padding of more than the payload', connection('protocol'), sending(header(1, Buffer.concat([Buffer.from([255]), block(GET)]), whole | FLAG.padded))],
    ['in several CONTINUATIONs', answers(200), sending(
      header(1, block(GET).subarray(0, 5), FLAG.endStream), frame(TYPE.continuation, 0, 1, block(GET).subarray(5, 20)), frame(TYPE.continuation, FLAG.endHeaders, 1, block(GET).subarray(20)),
    )],
  ]),
  ...list('6.3 PRIORITY', [
    ['on stream 0', connection('protocol'), sending(frame(TYPE.priority, 0, 0, priority(1)))],
    ['of another length than 5', [...streamOrConnection('frameSize')], sending(header(1, block(request('/echo/hold'))), frame(TYPE.priority, 0, 1, Buffer.alloc(4)))],
  ]),
  ...list('6.4 RST_STREAM', [
    ['on stream 0', connection('protocol'), sending(frame(TYPE.rstStream, 0, 0, uint32(ERROR.cancel)))],
    ['of another length than 4', connection('frameSize'), sending(header(1, block(request('/echo/hold'))), frame(TYPE.rstStream, 0, 1, Buffer.alloc(3)))],
  ]),
  ...list('6.5 SETTINGS', [
    ['is acknowledged', GOES_ON, (raw) => raw.send(TYPE.settings, 0, 0), { holds: (raw) => raw.frames.filter(({ type, flags }) => type === TYPE.settings && flags === FLAG.ack).length === 2 }],
    ['an acknowledgement with a payload', connection('frameSize'), sending(frame(TYPE.settings, FLAG.ack, 0, settings([1, 1])))],
    ['on a stream', connection('protocol'), sending(frame(TYPE.settings, 0, 1, settings([3, 100])))],
    ['of a length that is no multiple of 6', connection('frameSize'), sending(frame(TYPE.settings, 0, 0, Buffer.alloc(5)))],
    ['ENABLE_PUSH of 2', connection('protocol'), sending(frame(TYPE.settings, 0, 0, settings([SETTING.enablePush, 2])))],
    ['INITIAL_WINDOW_SIZE of 2^31', connection('flowControl'), sending(frame(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 0x80000000])))],
    ['MAX_FRAME_SIZE below 2^14', connection('protocol'), sending(frame(TYPE.settings, 0, 0, settings([SETTING.maxFrameSize, 16_383])))],
    ['MAX_FRAME_SIZE above 2^24-1', connection('protocol'), sending(frame(TYPE.settings, 0, 0, settings([SETTING.maxFrameSize, 16_777_216])))],
    ['ENABLE_CONNECT_PROTOCOL of 2 (RFC 8441)', connection('protocol'), sending(frame(TYPE.settings, 0, 0, settings([SETTING.enableConnect, 2])))],
    ['the same setting twice: the last counts', answers(200), async (raw) => {
      raw.send(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 100], [SETTING.initialWindowSize, 1]));
      raw.headers(1, GET);
      await raw.wait(({ type, stream: id }) => type === TYPE.data && id === 1);
    }, { holds: (raw) => received(raw) === 1 }],
  ]),
  ...list('6.7 PING', [
    ['is acknowledged with the same octets', GOES_ON, (raw) => raw.send(TYPE.ping, 0, 0, text('sameback')), {
      holds: async (raw) => await raw.wait(({ type, flags, payload }) => type === TYPE.ping && flags === FLAG.ack && payload.equals(text('sameback'))) !== undefined,
    }],
    ['an acknowledgement that nobody asked for is not answered', [...GOES_ON, ...connection('protocol')], (raw) => raw.send(TYPE.ping, FLAG.ack, 0, text('unasked!')), {
      holds: (raw) => !raw.frames.some(({ type, payload }) => type === TYPE.ping && payload.equals(text('unasked!'))),
    }],
    ['on a stream', connection('protocol'), sending(frame(TYPE.ping, 0, 1, Buffer.alloc(8)))],
    ['of another length than 8', connection('frameSize'), sending(frame(TYPE.ping, 0, 0, Buffer.alloc(6)))],
  ]),
  ...list('6.8 GOAWAY', [
    ['on a stream', connection('protocol'), sending(frame(TYPE.goaway, 0, 1, uint32(0, 0)))],
    ['lets what is under way end', answers(200), sending(header(1, block(GET)), frame(TYPE.goaway, 0, 0, uint32(0, ERROR.none)))],
  ]),
  ...list('6.9 WINDOW_UPDATE', [
    ['of 0 on the connection', connection('protocol'), sending(frame(TYPE.windowUpdate, 0, 0, uint32(0)))],
    ['of 0 on a stream', streamOrConnection('protocol'), sending(header(1, block(request('/echo/hold'))), frame(TYPE.windowUpdate, 0, 1, uint32(0)))],
    ['of another length than 4', connection('frameSize'), sending(frame(TYPE.windowUpdate, 0, 0, Buffer.alloc(3)))],
    ['beyond 2^31-1 on the connection', connection('flowControl'), sending(frame(TYPE.windowUpdate, 0, 0, uint32(0x7fffffff)))],
    ['beyond 2^31-1 on a stream', streamOrConnection('flowControl'), sending(header(1, block(request('/echo/hold'))), frame(TYPE.windowUpdate, 0, 1, uint32(0x7fffffff)))],
    ['no more is sent than the window holds', answers(200), async (raw) => {
      raw.send(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 1]));
      raw.headers(1, GET);
      await raw.wait(() => received(raw) > 0);
    }, { holds: async (raw) => received(raw) === 1 && await raw.alive() && received(raw) === 1 }],
    ['an update lets the rest follow', answers(200), async (raw) => {
      raw.send(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 1]));
      raw.headers(1, GET);
      await raw.wait(() => received(raw) > 0);
      raw.send(TYPE.windowUpdate, 0, 1, uint32(2));
      await raw.wait(() => received(raw) === 3);
    }, { holds: (raw) => received(raw) === 3 }],
    ['a new INITIAL_WINDOW_SIZE moves the windows of open streams', answers(200), async (raw) => {
      raw.send(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 0]));
      raw.headers(1, GET);
      await raw.status(1);
      raw.send(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 2]));
      await raw.wait(() => received(raw) > 0);
    }, { holds: (raw) => received(raw) === 2 }],
    ['a window may be negative', answers(200), async (raw) => {
      raw.send(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 3]));
      raw.headers(1, GET);
      await raw.wait(() => received(raw) === 3);
      raw.send(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 2]));
      raw.send(TYPE.windowUpdate, 0, 1, uint32(2));
      await raw.wait(() => received(raw) === 4);
    }, { holds: async (raw) => received(raw) === 4 && await raw.alive() && received(raw) === 4 }],
    ['INITIAL_WINDOW_SIZE that lifts a window beyond 2^31-1', connection('flowControl'), (raw) => {
      raw.headers(1, request('/echo/hold'));
      raw.send(TYPE.windowUpdate, 0, 1, uint32(0x7fffffff - 65_535));
      raw.send(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 0x7fffffff]));
    }],
  ]),
  ...list('6.10 CONTINUATION', [
    ['after END_HEADERS', connection('protocol'), sending(header(1, block(request('/echo/hold'))), frame(TYPE.continuation, FLAG.endHeaders, 1, block([['x', 'y']])))],
    ['on stream 0', connection('protocol'), sending(header(1, block(GET), FLAG.endStream), frame(TYPE.continuation, FLAG.endHeaders, 0))],
    ['of another stream', connection('protocol'), sending(header(1, block(GET), FLAG.endStream), frame(TYPE.continuation, FLAG.endHeaders, 3))],
    ['after DATA', connection('protocol'), sending(header(1, block(post()), open), frame(TYPE.data, 0, 1, text('x')), frame(TYPE.continuation, FLAG.endHeaders, 1, block([['x', 'y']])))],
  ]),
  ...list('7 Error codes', [
    ['RST_STREAM with an unknown code', GOES_ON, sending(header(1, block(request('/echo/hold'))), frame(TYPE.rstStream, 0, 1, uint32(0xff)))],
    ['GOAWAY with an unknown code', ['closes', ...connection('none')], sending(frame(TYPE.goaway, 0, 0, uint32(0, 0xff)))],
  ]),
  ...list('8.1 Message framing', [
    ['a second HEADERS without END_STREAM', streamOrConnection('protocol'), sending(header(1, block(post()), open), header(1, block([['x', 'y']]), open))],
    ['trailers', answers(200), sending(header(1, block(post()), open), frame(TYPE.data, 0, 1, text('x')), header(1, block([['x-sum', 'y']])))],
    ['a pseudo-header field in trailers', MALFORMED, sending(header(1, block(post()), open), header(1, block([[':method', 'GET']])))],
    ['content-length above what comes', MALFORMED, sending(header(1, block(post([['content-length', '2']])), open), frame(TYPE.data, FLAG.endStream, 1, text('x')))],
    ['content-length below what comes', MALFORMED, sending(header(1, block(post([['content-length', '1']])), open), frame(TYPE.data, FLAG.endStream, 1, text('xy')))],
    ['content-length below what comes in two frames', MALFORMED, sending(header(1, block(post([['content-length', '1']])), open), frame(TYPE.data, 0, 1, text('x')), frame(TYPE.data, FLAG.endStream, 1, text('y')))],
    ['content-length without a body', MALFORMED, asking(post([['content-length', '1']]))],
    ['content-length that is no number', MALFORMED, asking(post([['content-length', '+1']]), open)],
    ['two content-lengths', MALFORMED, asking(post([['content-length', '0'], ['content-length', '0']]))],
  ]),
  ...list('8.2 Fields', [
    ['a name in capitals', MALFORMED, asking([...GET, ['X-Test', 'y']])],
    ['a blank in a name', MALFORMED, asking([...GET, ['x test', 'y']])],
    ['a colon in a name', MALFORMED, asking([...GET, ['x:test', 'y']])],
    ['an empty name', MALFORMED, asking([...GET, ['', 'y']])],
    ['a control character in a name', MALFORMED, asking([...GET, ['x\u0001test', 'y']])],
    ['an octet above 127 in a name', MALFORMED, asking([...GET, ['x\u00e4', 'y']])],
    ['NUL in a value', MALFORMED, asking([...GET, ['x-test', 'a\0b']])],
    ['CR in a value', MALFORMED, asking([...GET, ['x-test', 'a\rb']])],
    ['LF in a value', MALFORMED, asking([...GET, ['x-test', 'a\nb']])],
    ['a value that begins with a blank', MALFORMED, asking([...GET, ['x-test', ' y']])],
    ['a value that ends with a tab', MALFORMED, asking([...GET, ['x-test', 'y\t']])],
    ['an empty value', answers(200), asking([...GET, ['x-test', '']])],
    ['octets above 127 in a value', answers(200), asking([...GET, ['x-test', '\u00e4']])],
  ]),
  ...list('8.2.2 Connection-specific fields', [
    ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'].map((name) => [name, MALFORMED, asking([...GET, [name, name === 'transfer-encoding' ? 'chunked' : 'x']])] as const),
    ['te: trailers', answers(200), asking([...GET, ['te', 'trailers']])],
    ['te: anything else', MALFORMED, asking([...GET, ['te', 'trailers, deflate']])],
  ]),
  ...list('8.2.3 Cookies', [
    ['in crumbs', answers(200), asking([...GET, ['cookie', 'a=1'], ['cookie', 'b=2']])],
  ]),
  ...list('8.3 Pseudo-header fields', [
    ['an unknown one', MALFORMED, asking([...GET.slice(0, 4), [':unknown', 'x']])],
    [':status in a request', MALFORMED, asking([...GET, [':status', '200']])],
    ['one after a field', MALFORMED, asking([...GET.slice(0, 3), ['x', 'y'], ...GET.slice(3)])],
    ['an empty :path', MALFORMED, asking(GET.map(([name, value]) => [name, name === ':path' ? '' : value] as const))],
    ['a :path without a slash', MALFORMED, asking(GET.map(([name, value]) => [name, name === ':path' ? 'echo' : value] as const))],
    ['* for another method than OPTIONS', MALFORMED, asking(GET.map(([name, value]) => [name, name === ':path' ? '*' : value] as const))],
    ...[':method', ':scheme', ':path'].map((name) => [`no ${name}`, MALFORMED, asking(without(name))] as const),
    ['neither :authority nor host', MALFORMED, asking(without(':authority'))],
    ['host in place of :authority', answers(200), asking([...without(':authority'), ['host', 'localhost']])],
    ['host that differs from :authority', MALFORMED, asking([...GET, ['host', 'example.test']])],
    ['user information in :authority', MALFORMED, asking(GET.map(([name, value]) => [name, name === ':authority' ? 'a@localhost' : value] as const))],
    ...[':method', ':scheme', ':path', ':authority'].map((name) => [`two of ${name}`, MALFORMED, asking([...GET.slice(0, 4), GET.find(([field]) => field === name) as Fields[number]])] as const),
    ['another scheme than the connection\'s', MALFORMED, asking(GET.map(([name, value]) => [name, name === ':scheme' ? 'http' : value] as const))],
    ['a :method that is no token', MALFORMED, asking(GET.map(([name, value]) => [name, name === ':method' ? 'G ET' : value] as const))],
  ]),
  ...list('8.4 Server push', [
    ['PUSH_PROMISE of a client', connection('protocol'), sending(header(1, block(request('/echo/hold'))), frame(TYPE.pushPromise, FLAG.endHeaders, 1, Buffer.concat([uint32(2), block(GET)])))],
  ]),
  ...list('8.5 CONNECT', [
    ['is not served', answers(400), asking([[':method', 'CONNECT'], [':authority', 'localhost:443']])],
    ['with :scheme and :path', MALFORMED, asking([[':method', 'CONNECT'], [':scheme', 'https'], [':path', '/'], [':authority', 'localhost']])],
    ['without :authority', MALFORMED, asking([[':method', 'CONNECT']])],
  ]),
  ...list('RFC 7541 2.3.3 Index address space', [
    ['an index beyond both tables', connection('compression'), ending(integer(70, 7, 0x80))],
    ['a name index beyond both tables', connection('compression'), ending(Buffer.concat([integer(70, 6, 0x40), Buffer.from([1]), text('x')]))],
    ['an entry of the dynamic table', answers(200), ending(literal('x-kept', 'y', true), integer(62, 7, 0x80))],
  ]),
  ...list('RFC 7541 4 Dynamic table', [
    ['a size update after the first field', connection('compression'), ending(integer(0, 5, 0x20))],
    ['a size update above the limit', connection('compression'), sending(header(1, Buffer.concat([integer(4_097, 5, 0x20), block(GET)])))],
    ['a size update at the beginning', answers(200), sending(header(1, Buffer.concat([integer(0, 5, 0x20), block(GET)])))],
    ['an entry larger than the table empties it', connection('compression'), ending(literal('x-small', 'y', true), literal('x-large', 'x'.repeat(4_096), true), integer(62, 7, 0x80))],
  ]),
  ...list('RFC 7541 5 Primitive types', [
    ['an integer of more than 32 bits', connection('compression'), ending(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]))],
    ['a string longer than its block', connection('compression'), ending(Buffer.from([0x00, 0x7e, 0x61]))],
    ['Huffman: the code for EOS', connection('compression'), ending(Buffer.from([0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0xff, 0xff, 0xff, 0xff]))],
    ['Huffman: more than 7 bits of padding', connection('compression'), ending(Buffer.from([0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x83, 0x49, 0x50, 0xff, 0xff].slice(0, 11)), Buffer.from([0xff]))],
    ['Huffman: padding of zeros', connection('compression'), ending(Buffer.from([0x00, 0x01, 0x78, 0x81, 0x18]))],
    ['Huffman: a value', answers(200), ending(Buffer.from([0x00, 0x01, 0x78, 0x81, 0x1f]))],
  ]),
  ...list('RFC 7541 6 Binary format', [
    ['index 0', connection('compression'), ending(integer(0, 7, 0x80))],
    ['a literal never to be indexed', answers(200), ending(Buffer.from([0x10, 0x01, 0x78, 0x01, 0x79]))],
    ['fields of the static table', answers(200), sending(header(1, Buffer.concat([Buffer.from([0x82, 0x87]), literal(':path', '/echo/x'), literal(':authority', 'localhost')])))],
  ]),
];

/** Plays a case on a connection of its own and says what is to be seen of it. */
export async function playHttp2(test: Http2Case, pki: TestPki, port: number): Promise<Shown> {
  const raw = await (test.bare === true ? openRaw(pki, port) : openFrames(pki, port));
  await test.play(raw);
  // What comes after has been read after.
  const alive = raw.closed ? false : await raw.alive();
  const shown = await show(raw, alive, test.allowed.some((one) => one.startsWith('answers')));
  const held = test.holds === undefined || await test.holds(raw);
  raw.destroy();
  return held ? shown : `${shown}, but not as it should be`;
}

async function show(raw: RawHttp2, alive: boolean, awaited: boolean): Promise<Shown> {
  const answered = (): number | undefined => raw.frames.find(({ type }) => type === TYPE.headers)?.stream;
  if (awaited) await raw.wait(({ type, payload }) => type === TYPE.headers || type === TYPE.rstStream || (type === TYPE.goaway && payload.readUInt32BE(4) !== ERROR.none), 1_000);
  const reset = raw.frames.find(({ type }) => type === TYPE.rstStream);
  if (reset !== undefined) return `stream ${CODES[reset.payload.readUInt32BE(0)]}`;
  const gone = await raw.goaway(alive ? 0 : 500);
  if (gone !== undefined && gone.code !== ERROR.none) return `connection ${CODES[gone.code]}`;
  const id = awaited ? answered() : undefined;
  if (id !== undefined) return `answers ${await raw.status(id)}`;
  if (gone !== undefined) return `connection ${CODES[gone.code]}`;
  return alive ? 'goes on' : 'closes';
}

/** Where we differ from what a section says, and why: nghttp2 frames for us. */
export interface Deviation {
  readonly cases: readonly string[];
  readonly why: string;
}

export const HTTP2_DEVIATIONS: readonly Deviation[] = [
  {
    cases: [
      '5.1 Stream states: closed by END_STREAM: DATA', '5.1 Stream states: closed by END_STREAM: HEADERS', '5.1 Stream states: closed by RST_STREAM: DATA',
      '5.1 Stream states: closed by RST_STREAM: HEADERS', '5.1.1 Stream identifiers: an identifier below that of an earlier stream',
    ],
    why: 'Node has nghttp2 forget streams once they are closed, so that closed ones cost no memory; frames for them are decompressed, counted against the flow control and the allowance for control frames, and dropped.',
  },
  { cases: ['6.3 PRIORITY: on stream 0'], why: 'nghttp2 drops PRIORITY frames unread: RFC 9113 has deprecated them.' },
  {
    cases: ['8.2 Fields: a blank in a name', '8.2 Fields: a colon in a name', '8.2 Fields: an empty name', '8.2 Fields: a control character in a name', '8.2 Fields: an octet above 127 in a name', '8.2 Fields: NUL in a value', '8.2 Fields: CR in a value', '8.2 Fields: LF in a value'],
    why: 'nghttp2 drops a field that cannot be one and goes on, and Node has no way to be told. The field reaches neither policy nor upstream (a test of its own); fields that frame or route a request are refused with the request.',
  },
];

export function caseName({ section, what }: Http2Case): string {
  return `${section}: ${what}`;
}
