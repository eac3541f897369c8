import { createRequire } from 'node:module';
import { createServer, METHODS, type IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';

/** A message as node:http sees it. */
export interface PeerMessage {
  /** Empty in an answer. */
  readonly method: string;
  readonly target: string;
  /** 0 in a request. */
  readonly status: number;
  /** Name, value, name, value… */
  readonly fields: string[];
  body: string;
  readonly trailers: string[];
  readonly keepAlive: boolean;
  readonly upgrade: boolean;
  complete: boolean;
}

interface Parser {
  [callback: number]: unknown;
  initialize(kind: number, resource: object, maxHeaderSize: number, leniency: number): void;
  execute(octets: Buffer, offset?: number, length?: number): number | Error;
}

interface ParserClass {
  new (): Parser;
  readonly REQUEST: number;
  readonly RESPONSE: number;
  readonly kOnHeaders: number;
  readonly kOnHeadersComplete: number;
  readonly kOnBody: number;
  readonly kOnMessageComplete: number;
  readonly kLenientNone: number;
}

// The parser that node:http itself drives: its servers and clients cost thirty microseconds a connection, this one three.
const { HTTPParser } = createRequire(import.meta.url)('node:_http_common') as { HTTPParser: ParserClass };

/** As the gateway's default configuration has it. */
const MAX_HEADER_SIZE = 16 * 1024;

/** What RFC 9112 section 6.3 and node:http's client make of an answer's head: whether to expect a body, or another protocol. */
const READ_BODY = 0;
const NO_BODY = 1;
const OTHER_PROTOCOL = 2;

// A parser is a kilobyte outside the heap, which the collector does not see: two serve for millions of inputs.
const serverParser = new HTTPParser();
const clientParser = new HTTPParser();

/** node:http's own parser, fed piece by piece. The newest peer of a kind is the only one that may be fed. */
export class Peer {
  readonly messages: PeerMessage[] = [];
  /** Code of the error that ended the reading. */
  refused: string | undefined;
  readonly #parser: Parser;
  #fields: string[] = [];
  #target = '';

  private constructor(parser: Parser, kind: number, decide: (message: PeerMessage) => number) {
    this.#parser = parser;
    parser.initialize(kind, {}, MAX_HEADER_SIZE, HTTPParser.kLenientNone);
    parser[HTTPParser.kOnHeaders | 0] = (fields: string[], target: string) => {
      this.#fields.push(...fields);
      this.#target += target;
    };
    parser[HTTPParser.kOnHeadersComplete | 0] = (_major: number, _minor: number, fields: string[] | undefined, method: number | undefined, target: string | undefined, status: number | undefined, _reason: string, upgrade: boolean, keepAlive: boolean) => {
      const message: PeerMessage = {
        method: method === undefined ? '' : methods.get(method) ?? String(method), target: target ?? this.#target, status: status ?? 0,
        fields: fields ?? this.#fields, body: '', trailers: [], keepAlive, upgrade, complete: false,
      };
      this.#fields = [];
      this.#target = '';
      this.messages.push(message);
      return decide(message);
    };
    parser[HTTPParser.kOnBody | 0] = (octets: Buffer) => {
      (this.messages.at(-1) as PeerMessage).body += octets.toString('latin1');
    };
    parser[HTTPParser.kOnMessageComplete | 0] = () => {
      const message = this.messages.at(-1) as PeerMessage;
      message.complete = true;
      message.trailers.push(...this.#fields);
      this.#fields = [];
      this.#target = '';
    };
  }

  /** A server's parser. It takes upgrades, as node:http does when asked to, and reads nothing behind one. */
  static server(): Peer {
    return new Peer(serverParser, HTTPParser.REQUEST, (message) => (message.upgrade ? OTHER_PROTOCOL : READ_BODY));
  }

  /** The parser of a client that has sent one request. */
  static client(head: boolean): Peer {
    return new Peer(clientParser, HTTPParser.RESPONSE, ({ status, upgrade }) => {
      if (upgrade) return OTHER_PROTOCOL;
      return head || status < 200 || status === 204 || status === 304 ? NO_BODY : READ_BODY;
    });
  }

  /** Reads more octets (latin1) unless it has refused some before. */
  feed(text: string): void {
    if (this.refused !== undefined || text === '') return;
    const octets = Buffer.from(text, 'latin1');
    const result = this.#parser.execute(octets, 0, octets.length);
    if (typeof result !== 'number') this.refused = (result as NodeJS.ErrnoException).code ?? result.message;
  }

  completed(): number {
    let count = 0;
    for (const message of this.messages) if (message.complete) count++;
    return count;
  }
}

/** Methods by the number that the parser has for them; RTSP's are among them. */
const methods = new Map<number, string>();
for (const name of [...METHODS, 'PRI', 'DESCRIBE', 'ANNOUNCE', 'SETUP', 'PLAY', 'PAUSE', 'TEARDOWN', 'GET_PARAMETER', 'SET_PARAMETER', 'REDIRECT', 'RECORD', 'FLUSH']) {
  serverParser.initialize(HTTPParser.REQUEST, {}, MAX_HEADER_SIZE, HTTPParser.kLenientNone);
  serverParser[HTTPParser.kOnHeadersComplete | 0] = (_major: number, _minor: number, _fields: unknown, method: number) => {
    methods.set(method, name);
    return OTHER_PROTOCOL;
  };
  // PRI is read in HTTP/2's preface and, like all, in HTTP/0.9.
  const version = METHODS.includes(name) ? ' HTTP/1.1' : name === 'PRI' ? '' : ' RTSP/1.0';
  serverParser.execute(Buffer.from(`${name} /${version}\r\n\r\n`));
}

class Pipe extends Duplex {
  override _read(): void {
    // why: octets are handed over as events.
  }

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }

  setTimeout(): this {
    return this;
  }
}

/** What a whole node:http server makes of octets: method, target and fields of its requests, and whether it refused some. */
export function askServer(): (text: string) => { readonly requests: readonly string[]; readonly refused: boolean } {
  let requests: string[] = [];
  let refused = false;
  const server = createServer({ insecureHTTPParser: false, requireHostHeader: false, maxHeaderSize: MAX_HEADER_SIZE });
  const note = (request: IncomingMessage): void => void requests.push(summary(request.method ?? '', request.url ?? '', request.rawHeaders));
  for (const event of ['request', 'checkContinue', 'checkExpectation', 'upgrade', 'connect']) server.on(event, note);
  server.on('clientError', () => {
    refused = true;
  });
  return (text) => {
    requests = [];
    refused = false;
    const pipe = new Pipe();
    pipe.on('error', () => undefined);
    server.emit('connection', pipe);
    pipe.emit('data', Buffer.from(text, 'latin1'));
    pipe.destroy();
    return { requests, refused };
  };
}

export function summary(method: string, target: string, fields: readonly string[]): string {
  return JSON.stringify([method, target, ...fields]);
}
