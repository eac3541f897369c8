import { isIPv4, isIPv6 } from 'node:net';
import { z } from 'zod';
import {
  ADDRESS, collectorUrlFault, dnsServerFault, ENDPOINT, ENDPOINT_EXPECTED, endpointExpectation, hostInUrl, httpsUrlFault, keyOriginFault, networkFault, parseAddress, parseEndpoint, parseHost,
  parseHostAndPort, parseHttpUrl, redisUrlFault, type Endpoint,
} from './addresses.ts';
import { closest } from './closest.ts';
import { isTimeZone, parseHours } from './hours.ts';

/** A range of HTTP status codes, both ends included. */
export interface StatusRange {
  readonly first: number;
  readonly last: number;
}

/** So many requests in so many milliseconds. */
export interface Rate {
  readonly text: string;
  readonly requests: number;
  readonly window: number;
}

/** A share of the memory that there is (above 0, at most 1), or bytes. */
export type Watermark = { readonly kind: 'share'; readonly share: number } | { readonly kind: 'size'; readonly bytes: number };

/** The attribute types that a name is matched by; any other is written as its OID (RFC 4519, RFC 4514 §3). */
export const NAME_ATTRIBUTES = [
  'CN', 'OU', 'O', 'C', 'L', 'ST', 'street', 'DC', 'UID', 'SN', 'GN', 'initials', 'generationQualifier', 'name', 'title', 'pseudonym',
  'serialNumber', 'dnQualifier', 'organizationIdentifier', 'postalCode', 'emailAddress',
] as const;

/** What of alternative names an id can be made of, beside the attributes of a directoryName and otherNames by their OID. */
const SAN_PLACEHOLDERS = [
  'dns', 'email', 'uri', 'spiffe', 'ip', 'upn', 'registered_id', 'hardware_module.serial', 'hardware_module.type', 'permanent_identifier.value', 'permanent_identifier.assigner',
] as const;

const MOMENT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:Z|[+-]\d{2}:\d{2})$/;
const DURATION = /^(\d{1,9})(ms|s|m|h|d)$/;
const SIZE = /^(\d{1,12})(B|KiB|MiB|GiB)$/;
const WATERMARK = /^(?:\d{1,3}%|\d{1,12}(?:B|KiB|MiB|GiB))$/;
const RATE = /^([1-9]\d{0,8})\/(second|minute|hour|day)$/;
const OID = /^[0-2](\.(0|[1-9]\d{0,38})){1,30}$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
const PERCENT = /^(100|[1-9]?\d)%$/;
const STATUSES = /^([1-5]\d{2})(?:-([1-5]\d{2}))?$/;
const METHOD = /^[A-Z][A-Z-]{0,31}$/;
const HEADER = /^[A-Za-z][A-Za-z0-9-]{0,63}$/;

const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1, s: 1000, second: 1000, m: 60_000, minute: 60_000, h: 3_600_000, hour: 3_600_000, d: 86_400_000, day: 86_400_000,
};
const BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** Milliseconds of `30s`, `10m`, `12h`, `7d` or `500ms`; `undefined` when it is none of them. */
export function parseDuration(text: string): number | undefined {
  const [, count, unit] = DURATION.exec(text) ?? [];
  return count === undefined || unit === undefined ? undefined : Number(count) * (MILLISECONDS[unit] ?? Number.NaN);
}

/** Bytes of `64KiB`, `1MiB`, `2GiB` or `512B`; `undefined` when it is none of them. */
export function parseSize(text: string): number | undefined {
  const [, count, unit] = SIZE.exec(text) ?? [];
  const bytes = count === undefined || unit === undefined ? Number.NaN : Number(count) * (BYTES[unit] ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** `10/minute` as a number of requests and a window in milliseconds. */
export function parseRate(text: string): Rate | undefined {
  const [, requests, unit] = RATE.exec(text) ?? [];
  if (requests === undefined || unit === undefined) return undefined;
  return { text, requests: Number(requests), window: MILLISECONDS[unit] ?? Number.NaN };
}

/** `20%` as 0.2; `undefined` when it is no whole percentage up to 100. */
function parsePercent(text: string): number | undefined {
  const [, percentage] = PERCENT.exec(text) ?? [];
  return percentage === undefined ? undefined : Number(percentage) / 100;
}

/** `200` or `200-299`; `undefined` when it is neither, or ends before it begins. */
function parseStatuses(text: string): StatusRange | undefined {
  const [, first, last = first] = STATUSES.exec(text) ?? [];
  return first === undefined || Number(last) < Number(first) ? undefined : { first: Number(first), last: Number(last) };
}

/** `90%` or `2GiB`; `undefined` when it is neither, or nothing, or more than all. */
function parseWatermark(text: string): Watermark | undefined {
  if (!text.endsWith('%')) {
    const bytes = parseSize(text);
    return bytes === undefined || bytes === 0 ? undefined : { kind: 'size', bytes };
  }
  const percent = Number(text.slice(0, -1));
  return percent >= 1 && percent <= 100 ? { kind: 'share', share: percent / 100 } : undefined;
}

/** What is wrong with a route's path pattern (`/a`, `/a/:id`, `/a/*`); `undefined` when it is right. */
export function pathPatternFault(pattern: string): string | undefined {
  if (!pattern.startsWith('/')) return 'expected a path that starts with /';
  if (/[?#]/.test(pattern)) return 'expected a path without query or fragment';
  const segments = pattern.slice(1).split('/');
  const names = segments.filter((segment) => segment.startsWith(':'));
  if (new Set(names).size < names.length) return 'expected a path that uses each :name once';
  for (const [index, segment] of segments.entries()) {
    const fault = segmentFault(segment, index === segments.length - 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function segmentFault(segment: string, last: boolean): string | undefined {
  if (segment === '' && !last) return 'expected a path without empty segments (//)';
  if (segment.includes('*') && !(segment === '*' && last)) return 'expected * only as the whole last segment, as in /a/*';
  if (segment.startsWith(':') && !/^:[A-Za-z_][A-Za-z0-9_]*$/.test(segment)) return 'expected a name after the colon, as in /a/:id';
  if (segment === '*' || segment.startsWith(':')) return undefined;
  // A request with one of these is refused before routes are looked at, so such a route could never be reached.
  if (segment === '.' || segment === '..') return 'expected a path without dot segments';
  if (segment.includes('%')) return 'expected a path without percent-encoding: requests are decoded once before they are matched';
  return /[\p{Cc}\p{Zl}\p{Zp}\\;]/u.test(segment) ? 'expected a path without control characters, backslash and ";"' : undefined;
}

/** What is wrong with a role's id template such as `{subject.CN}` or `kiosk-{san.dns}`; `undefined` when it is right. */
export function idTemplateFault(template: string): string | undefined {
  const placeholders = [...template.matchAll(/\{([^{}]*)\}/g)].map((match) => match[1] ?? '');
  if (/[{}]/.test(template.replace(/\{[^{}]*\}/g, ''))) return 'expected every { to be closed, as in {subject.CN}';
  if (placeholders.length === 0) return 'expected a template with a placeholder, as in {subject.CN}: an id without one is the same for everyone';
  if (placeholders.every(isPlaceholder)) return undefined;
  const kinds = SAN_PLACEHOLDERS.map((kind) => `{san.${kind}}`).join(', ');
  return `expected {subject.CN} or another attribute, {issuer.CN}, ${kinds}, {san.directory.CN}, {san.other.OID}, {serial} or {fingerprint}`;
}

function isPlaceholder(name: string): boolean {
  const [, group, type = ''] = /^(subject|issuer|san\.other|san\.directory|san)\.(.+)$/.exec(name) ?? [];
  if (group === undefined) return name === 'serial' || name === 'fingerprint';
  if (group === 'san.other') return isOid(type);
  return group === 'san' ? SAN_PLACEHOLDERS.some((known) => known === type) : isNameAttribute(type);
}

/** Whether a text is a dotted object identifier that can be encoded in DER (X.660 §6.2: the second arc is bounded). */
export function isOid(text: string): boolean {
  const [first = '', second = ''] = text.split('.');
  return OID.test(text) && (first === '2' || Number(second) < 40);
}

function isNameAttribute(text: string): boolean {
  return NAME_ATTRIBUTES.some((known) => known === text) || isOid(text);
}

function attributeFault(text: string): string | undefined {
  if (isNameAttribute(text)) return undefined;
  const meant = closest(text, NAME_ATTRIBUTES);
  return meant === undefined ? `expected ${NAME_ATTRIBUTES.join(', ')} or an object identifier` : `expected "${meant}"`;
}

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SPIFFE = /^spiffe:\/\/([^/]*)((?:\/[A-Za-z0-9._*-]+)+)$/;

/** What is wrong with a pattern for SPIFFE ids; `undefined` when some id can match it. */
function spiffePatternFault(text: string): string | undefined {
  const [, domain, path] = SPIFFE.exec(text) ?? [];
  if (domain === undefined || path === undefined) return 'expected a SPIFFE id such as spiffe://hospital.test/ward/*, without port, query and percent-encoding';
  if (!TRUST_DOMAIN.test(domain)) return 'expected a trust domain in lower case and without *';
  return /\/\.{1,2}(?:\/|$)/.test(path) ? 'expected a path without dot segments' : undefined;
}

/** What is wrong with a pattern for texts in certificates; `undefined` when some text can match it. */
function patternFault(text: string): string | undefined {
  // RFC 4518 section 2.4 prohibits them, so that nothing would match.
  return /[\p{Co}\p{Cs}\p{Cn}\u{fffd}]/u.test(text) ? 'expected text without characters that are for private use or not assigned: they match nothing' : undefined;
}

const PATTERN_EXPECTED = 'expected text, in which * stands for anything';

const ID = '{id}';

/** What is wrong with a pattern for AE titles (PS3.5 table 6.2-1); `undefined` when some title can match it. */
export function aeTitleFault(text: string): string | undefined {
  const literal = text.replaceAll(ID, '').replaceAll('*', '');
  if (/[{}]/.test(literal)) return 'expected no braces but {id}';
  if (text !== text.trim()) return 'expected no blanks around it: those that pad AE titles are left out of the comparison';
  if (text === '' || !/^[ -[\]-~]*$/.test(literal)) return 'expected visible ASCII without backslash, as AE titles have it';
  return literal.length > 16 ? 'expected at most 16 characters, as AE titles have' : undefined;
}

/** What is wrong with a pattern for MSH-3 or MSH-4; `undefined` when some field can match it. */
export function hl7NameFault(text: string): string | undefined {
  const literal = text.replaceAll(ID, '').replaceAll(/\\[FSTRE]\\/g, '');
  if (/[{}]/.test(literal)) return 'expected no braces but {id}';
  if (text === '' || /[\p{Cc}|~]/u.test(literal)) return 'expected a name without | and ~, which separate names';
  if (literal.includes('\\')) return 'expected separators within a name as \\F\\ \\S\\ \\T\\ \\R\\ \\E\\, and no other backslash';
  return text.split('^').some((component) => component !== component.trim()) ? 'expected no blanks around it: they are left out of the comparison' : undefined;
}

/** A text that `parse` turns into a value; `pattern` is what the JSON Schema shows of it. */
function scalar<T>(expected: string, pattern: RegExp | undefined, parse: (text: string) => T | undefined) {
  const text = z.string({ error: expected });
  return (pattern === undefined ? text : text.regex(pattern, { error: expected })).transform((value, context): T => {
    const parsed = parse(value);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: expected });
    return z.NEVER;
  });
}

/** A text that is kept as it is, when `fault` finds none. */
function checked(expected: string, fault: (text: string) => string | undefined) {
  return z.string({ error: expected }).superRefine(reportWith(fault));
}

function reportWith(fault: (text: string) => string | undefined) {
  return (value: string, context: z.core.$RefinementCtx<string>): void => {
    const message = fault(value);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  };
}

/** Text of this form. */
export function matching(expected: string, pattern: RegExp) {
  return z.string({ error: expected }).regex(pattern, { error: expected });
}

export const duration = scalar('expected a duration such as 30s, 10m, 12h or 7d', DURATION, parseDuration);
/** A duration that a timer waits for: zero would mean never or at once, and neither is meant. */
export const timeout = scalar('expected a duration above zero such as 30s, 10m or 12h', DURATION, (text) => parseDuration(text) || undefined);
export const size = scalar('expected a size such as 64KiB or 1MiB', SIZE, parseSize);
/** A size above nothing. */
export const amount = scalar('expected a size above zero such as 256B or 64KiB', SIZE, (text) => parseSize(text) || undefined);
export const watermark = scalar('expected a share of the memory such as 90%, or a size such as 2GiB', WATERMARK, parseWatermark);
export const rate = scalar('expected a rate such as 10/minute, 50/hour or 200/day', RATE, parseRate);
export const percent = scalar('expected a percentage such as 20%', PERCENT, parsePercent);
const STATUSES_EXPECTED = 'expected a status such as 200, or a range of them such as 200-299';
export const statuses = z.union([
  z.int({ error: STATUSES_EXPECTED }).min(100, { error: STATUSES_EXPECTED }).max(599, { error: STATUSES_EXPECTED }).transform((status): StatusRange => ({ first: status, last: status })),
  scalar(STATUSES_EXPECTED, STATUSES, parseStatuses),
], { error: STATUSES_EXPECTED });
export const address = scalar('expected HOST:PORT such as 127.0.0.1:8443 or [::]:8443', ADDRESS, parseAddress);
export const endpoint = z.string({ error: ENDPOINT_EXPECTED }).meta({ pattern: ENDPOINT.source }).transform((value, context): Endpoint => {
  const parsed = parseEndpoint(value);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: endpointExpectation(value) });
  return z.NEVER;
});
/** A moment in ms since the epoch. */
export const moment = scalar('expected a moment with its offset such as 2026-12-24T22:00:00+01:00', MOMENT, parseMoment);
export const network = checked('expected a network such as 10.1.0.0/16 or 2001:db8::/32', networkFault);
export const hostPattern = scalar('expected a host name such as api.hospital.test or *.hospital.test, without scheme, port or path', undefined, (text) => parseHost(text, true));
export const hostName = scalar('expected a host name such as devices.hospital.test, without wildcard, scheme, port or path', undefined, (text) => parseHost(text));
export const hostAndPort = scalar('expected a host such as pki.hospital.test or pki.hospital.test:8080, without scheme or path', undefined, parseHostAndPort);
export const httpUrl = scalar('expected a URL such as http://pki.hospital.test/clients.crl', /^https?:\/\//, parseHttpUrl);
export const httpsUrl = checked('expected a URL such as https://sms.hospital.test/send', httpsUrlFault);
export const keyOrigin = checked('expected an origin such as https://api.hospital.test:8443', keyOriginFault);
export const collectorUrl = checked('expected a URL such as https://collector.hospital.test:4318/v1/traces', collectorUrlFault);
export const redisUrl = checked('expected a URL such as rediss://redis.hospital.test:6379/0', redisUrlFault);
export const timeZone = checked('expected a time zone such as Asia/Shanghai', (text) => (isTimeZone(text) ? undefined : 'expected a time zone such as Asia/Shanghai or UTC'));
export const hours = scalar('expected hours such as Mon-Fri 07:00-19:00, Sat 08:00-12:00 or daily 22:00-06:00', undefined, parseHours);
export const oid = checked('expected an object identifier such as 1.3.6.1.4.1.99999.1', (text) => (isOid(text) ? undefined : 'expected an object identifier such as 1.3.6.1.4.1.99999.1'));
export const pathPattern = checked('expected a path such as /a, /a/:id or /a/*', pathPatternFault);
export const idTemplate = checked('expected a template such as {subject.CN}', idTemplateFault);
export const nameAttribute = checked('expected a name attribute', attributeFault);
export const name = matching('expected a name of letters, digits, "_", "." and "-", 63 at most', NAME);
export const requestPath = matching('expected a path such as /health', /^\/[!-~]{0,1023}$/);
export const fieldHost = matching('expected a host such as records.internal or records.internal:9443', /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?$/);
export const dnsServer = checked('expected the address of a DNS server such as 10.0.0.53 or 10.0.0.53:5353', dnsServerFault);
export const method = matching('expected a method in capital letters, such as GET', METHOD);
export const headerName = matching('expected a header name such as Client-Cert', HEADER);
// None that an upstream could be told by somebody else: see what src/forward/headers.ts reserves.
export const frontHeader = matching('expected Client-Cert, X-Client-Cert, SSL-Client-Cert or X-SSL-Client-Cert', /^(?:[Xx]-)?(?:[Ss][Ss][Ll]-)?[Cc]lient-[Cc]ert$/);
export const parameterName = matching('expected the name of a parameter', /^[A-Za-z_][A-Za-z0-9_.-]{0,62}$/);
export const filePath = matching('expected the path of a file', /^[^\0]+$/);
export const directoryPath = matching('expected the path of a directory', /^[^\0]+$/);
export const aeTitle = checked('expected an AE title, in which * stands for anything', aeTitleFault);
export const hl7Name = checked('expected a name as HL7 writes it, in which * stands for anything', hl7NameFault);
export const pattern = matching(PATTERN_EXPECTED, /^[\s\S]+$/).superRefine(reportWith(patternFault));
export const uriPattern = matching('expected a URI, in which * stands for anything', /^[\s\S]+$/).superRefine(reportWith((text) =>
  (/^spiffe:/i.test(text) ? 'expected a SPIFFE id in san.spiffe, where its trust domain is looked at' : patternFault(text))));
export const spiffePattern = checked('expected a SPIFFE id such as spiffe://hospital.test/ward/*', spiffePatternFault);
export const trustDomain = matching('expected a trust domain such as hospital.test, in lower case', TRUST_DOMAIN);
export const hexPattern = matching('expected hexadecimal digits, in which * stands for anything', /^[0-9A-Fa-f*]+$/);
export const keyAlgorithm = matching('expected ec-p256, ec-p384, ec-p521, ed25519, ed448, sm2, or rsa- and the least number of bits, such as rsa-3072', /^(?:ec-p(?:256|384|521)|ed25519|ed448|sm2|rsa-[1-9]\d{3,4})$/);
/** As certificates' own addresses are written: whole ones in their shortest form. */
export const addressPattern = scalar('expected an IP address, in which * stands for anything', /^[0-9A-Fa-f.:*]+$/, (text) =>
  (text.includes('*') || isIPv4(text) ? text : isIPv6(text) ? hostInUrl(text)?.slice(1, -1) : undefined));

/** Milliseconds of a moment in the form of ISO 8601; undefined for what is none, a 30th of February included, which Date.parse reads as the 2nd of March. */
export function parseMoment(text: string): number | undefined {
  const day = text.slice(0, 10);
  const midnight = Date.parse(`${day}T00:00:00Z`);
  const moment = Date.parse(text);
  return Number.isNaN(midnight) || Number.isNaN(moment) || new Date(midnight).toISOString().slice(0, 10) !== day ? undefined : moment;
}
