import type { IncomingHttpHeaders } from 'node:http';
import type { RouteConfig, UpstreamConfig } from '../config/schema.ts';
import type { Admission } from '../policy/facts.ts';
import { formatName } from '../pki/name.ts';
import type { Permit } from '../policy/decision.ts';
import { newTraceparent } from './ids.ts';
import { setsOwnCookie, withoutSession } from './session-token.ts';

/** Names compared the way the laxest upstream does: CGI, WSGI and PHP read "X_Client.Role" as "X-Client-Role". */
export function canonical(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-');
}

// What the gateway itself says about the client, in our spelling or another proxy's; the client's own copies never pass.
const RESERVED = new Set([
  'client-cert', 'client-cert-chain', 'x-client-role', 'x-client-id', 'x-client-status', 'x-client-cert', 'x-request-id',
  'x-forwarded-client-cert', 'forwarded', 'x-real-ip', 'true-client-ip', 'x-client-ip', 'x-cluster-client-ip',
  'ssl-client-cert', 'ssl-client-verify', 'x-ssl-client-cert', 'x-ssl-client-verify', 'x-ssl-cert', 'x-arr-clientcert',
  // These make an upstream serve another path or method than the one that was authorized.
  'x-original-url', 'x-rewrite-url', 'x-http-method', 'x-http-method-override', 'x-method-override',
]);
const RESERVED_PREFIXES = ['wardgate-', 'x-forwarded-', 'x-client-', 'ssl-client-', 'x-ssl-client-'];

// RFC 9110 sections 7.6.1 and 11.7, and what older proxies treat alike. Transfer-Encoding is set again from the framing we parsed.
const HOP_BY_HOP = new Set([
  'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization', 'proxy-authentication-info', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'http2-settings', 'expect',
]);

// Dropping one of these because Connection names it would change what the message is, or take from the upstream the token or the type of
// body that the request was judged by (RFC 9110 section 7.6.1: fields for all recipients are none of Connection's).
const NOT_FOR_CONNECTION = new Set(['host', 'content-length', 'transfer-encoding', 'authorization', 'content-type', 'content-encoding']);

/** Whether a field is one that only the gateway may set. */
function isReserved(name: string): boolean {
  const plain = canonical(name);
  return RESERVED.has(plain) || RESERVED_PREFIXES.some((prefix) => plain.startsWith(prefix));
}

export type FieldCheck = { readonly kind: 'ok' } | { readonly kind: 'malformed'; readonly detail: string };

const SINGLE = ['host', 'content-length', 'transfer-encoding', 'expect'];
const OK: FieldCheck = { kind: 'ok' };
/** More digits would not be exact in a double. */
const LENGTH = /^[0-9]{1,15}$/;

/**
 * Judges the header section of a request as it was received (name, value, name, value…): whatever two parsers could read
 * differently is malformed (RFC 9112 section 6.3, section 11.2). The parser has refused most of it before.
 */
export function checkFields(raw: readonly string[]): FieldCheck {
  const seen = new Set<string>();
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase();
    const value = raw[index + 1] as string;
    const framing = canonical(name);
    if (framing !== name && (framing === 'content-length' || framing === 'transfer-encoding' || framing === 'host')) {
      return { kind: 'malformed', detail: `a field named ${name} could be read as ${framing}` };
    }
    if (SINGLE.includes(name)) {
      if (seen.has(name)) return { kind: 'malformed', detail: `more than one ${name} field` };
      seen.add(name);
    }
    if (name === 'transfer-encoding' && value.toLowerCase() !== 'chunked') return { kind: 'malformed', detail: 'a transfer coding other than chunked' };
    if (name === 'content-length' && !LENGTH.test(value)) return { kind: 'malformed', detail: 'Content-Length is not a number' };
    // What looks like it to some ("y 100-continue") makes one side wait for what the other sends.
    if (name === 'expect' && value.toLowerCase() !== '100-continue') return { kind: 'malformed', detail: 'an expectation other than 100-continue' };
    // Folded lines and stray control characters.
    // eslint-disable-next-line no-control-regex
    if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(value)) return { kind: 'malformed', detail: `a control character in the field ${name}` };
    if (name === 'connection') {
      for (const option of options(value)) {
        if (NOT_FOR_CONNECTION.has(option)) return { kind: 'malformed', detail: `Connection names ${option}` };
      }
    }
  }
  if (!seen.has('host')) return { kind: 'malformed', detail: 'no Host field' };
  if (seen.has('transfer-encoding') && seen.has('content-length')) return { kind: 'malformed', detail: 'both Transfer-Encoding and Content-Length' };
  return OK;
}

/**
 * Judges the head of an answer as it was received: Node's parser lets through framings that two readers take differently,
 * and takes codings that it does not know for a body that lasts until the connection ends (RFC 9112 section 6.1).
 */
export function checkAnswer(raw: readonly string[], version: string): FieldCheck {
  if (version !== '1.1' && version !== '1.0') return { kind: 'malformed', detail: `an answer in HTTP version ${version}` };
  let framed = 0;
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase();
    const value = raw[index + 1] as string;
    if (name !== 'content-length' && name !== 'transfer-encoding') continue;
    if (++framed > 1) return { kind: 'malformed', detail: 'an answer that is framed twice' };
    if (name === 'content-length' && !LENGTH.test(value)) return { kind: 'malformed', detail: 'an answer whose Content-Length is not a number' };
    if (name === 'transfer-encoding' && value.toLowerCase() !== 'chunked') return { kind: 'malformed', detail: 'an answer in a transfer coding other than chunked' };
    if (name === 'transfer-encoding' && version === '1.0') return { kind: 'malformed', detail: 'an answer with Transfer-Encoding in HTTP/1.0' };
  }
  return OK;
}

function options(value: string): string[] {
  return value.split(',').map((option) => option.trim().toLowerCase());
}

/** What the gateway says about a request to the upstream. */
export interface Injected {
  readonly requestId: string;
  readonly address: string;
  readonly host: string;
  readonly permit: Permit;
  readonly upstream: UpstreamConfig;
  /** Of the span that stands for the request, where there is one. */
  readonly traceparent?: string | undefined;
}

/**
 * The header section for the upstream: the client's end-to-end fields without any reserved one, then ours. Connection-named
 * fields go before ours are set, so that naming one of ours cannot remove it (CVE-2024-45410, CVE-2025-64484). Fields that
 * come several times stay several.
 */
export function upstreamHeaders(raw: readonly string[], injected: Injected): IncomingHttpHeaders {
  const named = connectionNamed(raw);
  const keepsToken = injected.permit.route.config.require.token?.forward === false;
  const out: Record<string, string | string[]> = Object.create(null);
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase();
    const value = raw[index + 1] as string;
    if (name === 'transfer-encoding') out[name] = 'chunked';
    if (HOP_BY_HOP.has(name) || named.has(name) || isReserved(name) || (name === 'authorization' && keepsToken)) continue;
    const kept = withoutSession(name, value);
    if (kept !== undefined) append(out, name, kept);
  }
  const { permit } = injected;
  out['x-request-id'] = injected.requestId;
  out['x-forwarded-for'] = injected.address;
  out['x-forwarded-proto'] = 'https';
  out['x-forwarded-host'] = injected.host;
  setTrace(out, injected.traceparent);
  if (permit.identity !== undefined) {
    out['x-client-role'] = headerText(permit.identity.role);
    out['x-client-id'] = headerText(permit.identity.id);
  }
  if (permit.certificate !== undefined) {
    out['client-cert'] = byteSequence(permit.certificate.leaf.der);
    addRequestedForms(out, permit, injected.upstream);
  }
  const status = [...(permit.degraded === undefined ? [] : ['degraded']), ...(permit.breakGlass === undefined ? [] : ['break-glass'])];
  if (status.length > 0) out['x-client-status'] = status.join(', ');
  return out;
}

function addRequestedForms(out: Record<string, string | string[]>, permit: Permit, upstream: UpstreamConfig): void {
  const { certificate, identity } = permit;
  const asked = { ...upstream.forward, ...permit.route.config.forward };
  if (certificate === undefined) return;
  // Names of roles hold no comma, so that a list of them is read in one way.
  if (asked.roles === true && identity !== undefined) out['x-client-roles'] = [...identity.roles].join(', ');
  // RFC 9440 section 2.3: the chain without the leaf; the anchor is known to whoever cares.
  const chain = certificate.path.slice(1);
  if (asked.client_cert_chain === true && chain.length > 0) out['client-cert-chain'] = chain.map((one) => byteSequence(one.der)).join(', ');
  if (asked.xfcc === true) out['x-forwarded-client-cert'] = envoyForm(certificate);
}

function connectionNamed(raw: readonly string[]): ReadonlySet<string> {
  const named = new Set<string>();
  for (let index = 0; index < raw.length; index += 2) {
    if ((raw[index] as string).length !== 10 || (raw[index] as string).toLowerCase() !== 'connection') continue;
    for (const option of options(raw[index + 1] as string)) named.add(option);
  }
  return named;
}

function append(out: Record<string, string | string[]>, name: string, value: string): void {
  const before = out[name];
  // RFC 9113 section 8.2.3 and RFC 6265: several Cookie fields are one, joined by "; ".
  if (before === undefined) out[name] = value;
  else if (name === 'cookie') out[name] = `${String(before)}; ${value}`;
  else out[name] = typeof before === 'string' ? [before, value] : [...before, value];
}

const byteSequences = new WeakMap<Uint8Array, string>();

/** RFC 8941 byte sequence of a certificate's DER: computed once a certificate. */
function byteSequence(der: Uint8Array): string {
  let text = byteSequences.get(der);
  if (text === undefined) {
    text = `:${Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('base64')}:`;
    byteSequences.set(der, text);
  }
  return text;
}

/** Text for a field value: visible ASCII as it is, anything else (and "%") as percent-encoded UTF-8, so that two ids never look alike. */
function headerText(text: string): string {
  // Blanks at the ends would be trimmed away on the way.
  return text.replace(/[^\u0020-\u0024\u0026-\u007e]|^ +| +$/gu, (character) =>
    [...Buffer.from(character)].map((octet) => `%${octet.toString(16).toUpperCase().padStart(2, '0')}`).join(''));
}

const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** W3C Trace Context: passed on when valid, with our span in it where there is one; started otherwise, and then without the other's state. */
function setTrace(out: Record<string, string | string[]>, ours: string | undefined): void {
  const given = out['traceparent'];
  const continued = typeof given === 'string' && TRACEPARENT.test(given);
  if (!continued) delete out['tracestate'];
  out['traceparent'] = ours ?? (continued ? given : newTraceparent());
}

/** The `traceparent` that a client sent, once and valid; undefined when the trace begins here. */
export function clientTraceparent(raw: readonly string[]): string | undefined {
  let found: string | undefined;
  for (let index = 0; index < raw.length; index += 2) {
    if ((raw[index] as string).toLowerCase() !== 'traceparent') continue;
    if (found !== undefined) return undefined;
    found = raw[index + 1];
  }
  return found !== undefined && TRACEPARENT.test(found) ? found : undefined;
}

function envoyForm(certificate: Extract<Admission, { kind: 'known' }>): string {
  const { leaf } = certificate;
  const parts = [`Hash=${leaf.sha256}`, `Subject="${quoted(formatName(leaf.subject))}"`];
  for (const name of leaf.subjectAltNames) {
    if (name.kind === 'uri') parts.push(`URI=${xfccValue(name.value)}`);
    if (name.kind === 'dns') parts.push(`DNS=${xfccValue(name.value)}`);
  }
  return parts.join(';');
}

// Envoy quotes a value that holds a separator; an unquoted one would let a name start a new element.
function xfccValue(value: string): string {
  const text = headerText(value);
  return /[,;="]/.test(text) ? `"${quoted(text)}"` : text;
}

function quoted(text: string): string {
  return headerText(text).replace(/["\\]/g, (character) => `\\${character}`);
}

/** Fields that RFC 9110 section 6.5.1 keeps out of trailers because they would change what came before them. */
const NOT_FOR_TRAILERS = new Set([
  'content-length', 'content-type', 'content-encoding', 'content-range', 'host', 'authorization', 'cookie', 'set-cookie', 'cache-control', 'expires', 'pragma',
  'max-forwards', 'strict-transport-security', 'alt-svc',
]);

/**
 * The trailers that may pass, either way, as a flat list in lower case: a server may take trailers for fields, so none of ours is among them, nor of a request's any
 * that its `head` has: it was judged by that one.
 */
export function trailerFields(raw: readonly string[], head: readonly string[] = []): string[] {
  const judged = new Set(head.flatMap((name, index) => (index % 2 === 0 ? [canonical(name)] : [])));
  const out: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase();
    if (name.startsWith(':') || HOP_BY_HOP.has(name) || NOT_FOR_TRAILERS.has(name) || isReserved(name) || judged.has(canonical(name))) continue;
    if (withoutSession(name, raw[index + 1] as string) === undefined) continue;
    out.push(name, raw[index + 1] as string);
  }
  return out;
}

/**
 * Response fields that end at the gateway, or that it sets itself. Alt-Svc would send clients around it; Proxy-Status (RFC 9209)
 * tells them who stands behind it, and why one of those failed.
 */
const NOT_FOR_CLIENT = new Set([...HOP_BY_HOP, 'strict-transport-security', 'x-request-id', 'alt-svc', 'proxy-status']);

/** What is said about storing an answer; the targeted fields (RFC 9213) would overrule ours in the caches that they are for. */
function isAboutStorage(name: string): boolean {
  return name === 'expires' || name === 'pragma' || name === 'age' || name === 'surrogate-control' || name.endsWith('cache-control');
}

/** What a listener and a route have added to answers. */
export interface AnswerRules {
  readonly hsts: string | undefined;
  readonly phi: boolean;
  readonly upgradeInsecureRequests: boolean;
  /** It is an answer of the gateway itself: nobody else sets the gateway's cookies. */
  readonly own: boolean;
}

export interface ResponseRules extends AnswerRules {
  readonly requestId: string;
}

/** The rules for the answers of a route. */
export function answerRules(hsts: string | undefined, { phi, encrypt, responses, upstream }: RouteConfig): AnswerRules {
  return { hsts, phi: phi || encrypt !== undefined, upgradeInsecureRequests: responses.upgrade_insecure_requests, own: upstream === '' };
}

export function sameRules(one: AnswerRules, other: AnswerRules): boolean {
  return one.hsts === other.hsts && one.phi === other.phi && one.upgradeInsecureRequests === other.upgradeInsecureRequests && one.own === other.own;
}

/** The header section of an answer with this status for the client as a flat list: the upstream's end-to-end fields, then ours. */
export function clientHeaders(status: number, raw: readonly string[], rules: ResponseRules): string[] {
  const named = connectionNamed(raw);
  const out: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase();
    if (NOT_FOR_CLIENT.has(name) || (named.has(name) && name !== 'content-length')) continue;
    // RFC 9110 section 8.6: a client that believed it would take the next answer for the body.
    if (name === 'content-length' && (status === 204 || status === 205 || status < 200)) continue;
    if (rules.phi && isAboutStorage(name)) continue;
    if (name === 'set-cookie' && !rules.own && setsOwnCookie(raw[index + 1] as string)) continue;
    out.push(raw[index] as string, raw[index + 1] as string);
  }
  // RFC 9110 section 15.3.6: no content, and unlike 204 one that HTTP/1.1 must be told so.
  if (status === 205) out.push('content-length', '0');
  out.push('x-request-id', rules.requestId);
  if (rules.phi) out.push('cache-control', 'no-store');
  if (rules.hsts !== undefined) out.push('strict-transport-security', rules.hsts);
  // A field of its own: policies add up, each holds by itself (CSP Level 3 section 8.1), so the upstream's stays as it is.
  if (rules.upgradeInsecureRequests) out.push('content-security-policy', 'upgrade-insecure-requests');
  return out;
}
