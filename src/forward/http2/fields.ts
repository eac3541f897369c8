import { isKnownMethod } from '../methods.ts';
import { parseHost } from '../../policy/host.ts';
import { parseTarget } from '../../policy/target.ts';
import type { Asked } from '../exchange.ts';
import { checkFields } from '../headers.ts';

/** A request's header section, read by the rules of RFC 9113 section 8.3. */
export interface RequestHead {
  readonly asked: Asked;
  /** The fields as HTTP/1.1 would have them, `host` first: name, value, name, value… */
  readonly fields: readonly string[];
  /** Of the extended CONNECT (RFC 8441 section 4). */
  readonly protocol: string | undefined;
  /** Octets of the list as RFC 9113 section 10.5.1 counts them. */
  readonly size: number;
  readonly contentType: string;
  readonly contentLength: number | undefined;
  /** Whether the client reads trailers. */
  readonly trailers: boolean;
  /** Whether the client announces trailers of its own. */
  readonly announced: boolean;
  readonly expectsContinue: boolean;
}

const FIELD_OVERHEAD = 32;

/** RFC 9113 section 8.2.1. */
const BLANK_ENDS = /^[ \t]|[ \t]$/;


/** Reads a header list as it was received; nghttp2 has refused connection-specific fields, capitals and misplaced pseudo-header fields before. */
export function readRequestHead(raw: readonly string[]): RequestHead {
  let method = '';
  let path = '';
  let scheme = '';
  let authority: string | undefined;
  let protocol: string | undefined;
  let host: string | undefined;
  let contentType = '';
  let contentLength: number | undefined;
  let origin = false;
  let requestedMethod: string | undefined;
  let trailers = false;
  let announced = false;
  let expect: string | undefined;
  let size = 0;
  let fault: string | undefined;
  const fields: string[] = ['host', ''];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    size += name.length + value.length + FIELD_OVERHEAD;
    switch (name) {
      case ':method': method = value; continue;
      case ':path': path = value; continue;
      case ':scheme': scheme = value; continue;
      case ':authority': authority = value; continue;
      case ':protocol': protocol = value; continue;
      case 'host':
        if (host !== undefined) fault = 'more than one host field';
        host = value;
        continue;
      case 'trailer': announced = true; break;
      // RFC 8441 section 5: these are not used.
      case 'sec-websocket-key':
      case 'sec-websocket-accept': continue;
      case 'te': trailers = value.toLowerCase() === 'trailers'; continue;
      case 'content-type': contentType = value; break;
      case 'content-length': contentLength = Number(value); break;
      case 'origin': origin = true; break;
      case 'access-control-request-method': requestedMethod = value; break;
      case 'expect': expect = value.toLowerCase(); break;
    }
    if (BLANK_ENDS.test(value)) fault = `blanks around the value of ${name}`;
    fields.push(name, value);
  }
  const named = authority ?? host ?? '';
  fields[1] = named;
  fault ??= faultOf(method, scheme, protocol, authority, host, contentLength !== undefined) ?? (expect !== undefined && expect !== '100-continue' ? 'an expectation other than 100-continue' : undefined);
  const check = fault === undefined ? checkFields(fields) : { kind: 'malformed' as const, detail: fault };
  return {
    asked: {
      // What RFC 8441 calls CONNECT is what HTTP/1.1 calls GET: the same routes are for both.
      method: protocol === undefined ? method : 'GET',
      target: check.kind === 'malformed' ? check : parseTarget(path),
      host: named === '' ? { kind: 'malformed', detail: 'no :authority' } : parseHost(named),
      preflight: method === 'OPTIONS' && origin ? requestedMethod : undefined,
      written: path,
      fields,
      version: '2',
    },
    fields, protocol, size, contentType, contentLength, trailers, announced,
    expectsContinue: expect !== undefined,
  };
}

function faultOf(method: string, scheme: string, protocol: string | undefined, authority: string | undefined, host: string | undefined, framed: boolean): string | undefined {
  if (method === 'CONNECT') {
    if (protocol === undefined) return 'CONNECT is not served';
    if (protocol !== 'websocket') return `the protocol ${protocol} is not served`;
    if (framed) return 'a WebSocket with a content-length';
  } else if (!isKnownMethod(method)) return 'an unknown method';
  // The connection is TLS: a request for another scheme would reach the upstream as something that it was not.
  if (scheme !== 'https') return `the scheme ${scheme}`;
  // RFC 9113 section 8.3.1: the two must not differ; whoever reads one and forwards the other is two servers.
  if (authority !== undefined && host !== undefined && authority.toLowerCase() !== host.toLowerCase()) return ':authority and host differ';
  return undefined;
}

/**
 * Whether a request is made as gRPC over HTTP/2 has it: POST, `te: trailers`, and a content type of gRPC's own (not that of gRPC-Web,
 * whose clients read status codes as browsers do). The content type alone is a label that any client may put on anything.
 */
export function asksGrpc({ asked, trailers, contentType }: Pick<RequestHead, 'asked' | 'trailers' | 'contentType'>): boolean {
  return asked.method === 'POST' && trailers && /^application\/grpc(?:$|[+;])/i.test(contentType);
}
