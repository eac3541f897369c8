/** A request head that the fast path takes. */
export interface RequestHead {
  readonly kind: 'head';
  /** Octets of the head, its blank line included. */
  readonly length: number;
  readonly method: string;
  readonly target: string;
  /** Name, value, name, value…, as received, blanks around values trimmed. */
  readonly fields: readonly string[];
  readonly host: string;
  /** Octets of body that follow. */
  readonly bodyLength: number;
  /** Whether the client ends the connection after this request. */
  readonly close: boolean;
}

/** `unusual`: for the general path, octets untouched. */
export type RequestHeadReading = RequestHead | { readonly kind: 'incomplete' } | { readonly kind: 'unusual' };

const INCOMPLETE = { kind: 'incomplete' } as const;
const UNUSUAL = { kind: 'unusual' } as const;

const REQUEST_LINE = /^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (\/[!-~]*) HTTP\/1\.1\r\n/;
// RFC 9110 section 5.6.2 token, one blank or none, then visible ASCII with single blanks or none at its ends: a strict part of what RFC 9112 allows.
const FIELD_LINE = /([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([!-~](?:[ -~]*[!-~])?)\r\n/y;

/** Methods whose requests may have a body on the fast path. */
const WITH_BODY = new Set(['POST', 'PUT', 'PATCH']);
/** More fields than this are for the general path to judge. */
const MOST_FIELDS = 100;
/** More digits would not be exact in a double. */
const LENGTH = /^(?:0|[1-9][0-9]{0,14})$/;

/** Fields that make a message something else than the common shape. */
const UNUSUAL_FIELDS = new Set(['transfer-encoding', 'upgrade', 'expect', 'te', 'trailer', 'keep-alive', 'proxy-connection', 'http2-settings']);

/**
 * Recognises the common shape of an HTTP/1.1 request head (RFC 9112) in the latin1 text of the octets received: a strict
 * subset of the grammar, in which no two parsers differ. Whatever else it may be is `unusual`, which is no judgement:
 * the general path makes that.
 */
export function readRequestHead(text: string): RequestHeadReading {
  const end = text.indexOf('\r\n\r\n');
  const line = REQUEST_LINE.exec(text);
  // Once a line has ended: an HTTP/0.9 request has no other, and would be waited for until its time is up.
  if (line === null) return end === -1 && !text.includes('\n') ? INCOMPLETE : UNUSUAL;
  if (end === -1) return INCOMPLETE;
  const fields: string[] = [];
  let host: string | undefined;
  let bodyLength: number | undefined;
  let connection: string | undefined;
  FIELD_LINE.lastIndex = line[0].length;
  while (FIELD_LINE.lastIndex < end + 2) {
    const field = FIELD_LINE.exec(text);
    if (field === null || fields.length >= MOST_FIELDS * 2) return UNUSUAL;
    const [, name = '', value = ''] = field;
    const plain = name.toLowerCase();
    if (UNUSUAL_FIELDS.has(plain) || looksLikeFraming(plain)) return UNUSUAL;
    if (plain === 'host') {
      if (host !== undefined) return UNUSUAL;
      host = value;
    } else if (plain === 'content-length') {
      if (bodyLength !== undefined || !LENGTH.test(value)) return UNUSUAL;
      bodyLength = Number(value);
    } else if (plain === 'connection') {
      if (connection !== undefined) return UNUSUAL;
      connection = value.toLowerCase();
    }
    fields.push(name, value);
  }
  if (host === undefined || FIELD_LINE.lastIndex !== end + 2) return UNUSUAL;
  if (connection !== undefined && connection !== 'keep-alive' && connection !== 'close') return UNUSUAL;
  const [, method = '', target = ''] = line;
  // RFC 9110 section 9.3: a body means nothing there, and upstreams differ in what they make of it.
  if (bodyLength !== undefined && !WITH_BODY.has(method)) return UNUSUAL;
  return { kind: 'head', length: end + 4, method, target, fields, host, bodyLength: bodyLength ?? 0, close: connection === 'close' };
}

/** Names that a lenient upstream reads as one that frames the message: CGI and its heirs turn "_" and "." into "-". */
function looksLikeFraming(name: string): boolean {
  if (!/[^a-z0-9-]/.test(name)) return false;
  const plain = name.replace(/[^a-z0-9]/g, '-');
  return plain === 'content-length' || plain === 'transfer-encoding' || plain === 'host';
}
