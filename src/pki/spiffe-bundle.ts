import { createPublicKey, type JsonWebKeyInput } from 'node:crypto';
import { parseCertificate } from './certificate.ts';

/** What a SPIFFE bundle turned out to hold; `ignored` says which of its keys are not for certificates. */
export type BundleReading =
  | {
      readonly kind: 'bundle';
      /** DER of the CA certificates of the trust domain, as listed. */
      readonly authorities: readonly Uint8Array[];
      /** spiffe_sequence, in decimal: it may have more digits than a number holds. */
      readonly sequence?: string;
      /** spiffe_refresh_hint, in ms. */
      readonly refresh?: number;
      readonly ignored: readonly string[];
    }
  | { readonly kind: 'fault'; readonly detail: string };

const MOST_KEYS = 1_000;
const SEQUENCE = /^\d{1,40}$/;
const MOST_SECONDS = 10 * 366 * 86_400;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

type Fields = Readonly<Record<string, unknown>>;

/** Whether a file of trust is a SPIFFE bundle rather than PEM. */
export function looksLikeBundle(bytes: Uint8Array): boolean {
  return /^(\xef\xbb\xbf)?\s*\{/.test(Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 256)).toString('latin1'));
}

/**
 * Reads a SPIFFE bundle (SPIFFE Trust Domain and Bundle, section 4): a JSON Web Key Set whose keys for `x509-svid` carry one CA certificate each
 * (X509-SVID section 6). Keys of other uses or kinds are left out, as the standard has it; one for certificates that is wrong refuses the whole.
 */
export function readSpiffeBundle(bytes: Uint8Array): BundleReading {
  const set = parse(bytes);
  const keys = set?.['keys'];
  if (set === undefined || !Array.isArray(keys)) return fault('no SPIFFE bundle: expected { "keys": […] }');
  if (keys.length > MOST_KEYS) return fault(`more than ${MOST_KEYS} keys`);
  const { spiffe_sequence: sequence, spiffe_refresh_hint: hint } = set;
  if (sequence !== undefined && !(typeof sequence === 'string' && SEQUENCE.test(sequence))) return fault('a spiffe_sequence that is no whole number');
  if (hint !== undefined && !(typeof hint === 'number' && Number.isInteger(hint) && hint >= 0 && hint <= MOST_SECONDS)) return fault('a spiffe_refresh_hint that is no whole number of seconds');
  const authorities: Uint8Array[] = [];
  const ignored: string[] = [];
  for (const [index, key] of keys.entries()) {
    const read = readKey(key);
    if (typeof read !== 'string') authorities.push(read.der);
    else if (read.startsWith(WRONG)) return fault(`keys[${index}] ${read.slice(WRONG.length)}`);
    else ignored.push(`keys[${index}] ${read}`);
  }
  if (authorities.length === 0) return fault('no key for x509-svid: nobody would be trusted');
  return {
    kind: 'bundle', authorities, ignored,
    ...(sequence === undefined ? {} : { sequence }),
    ...(hint === undefined ? {} : { refresh: hint * 1000 }),
  };
}

const WRONG = '!';

/** The certificate, why the key is left out, or, after the mark, what is wrong with it. */
function readKey(key: unknown): { readonly der: Uint8Array } | string {
  if (typeof key !== 'object' || key === null || Array.isArray(key)) return `${WRONG}is no object`;
  const { kty, use, x5c, crv, x, y, n, e } = key as Fields;
  if (use !== 'x509-svid') return `is for ${typeof use === 'string' ? JSON.stringify(use.slice(0, 40)) : 'nothing that is known'}`;
  if (kty !== 'EC' && kty !== 'RSA' && kty !== 'OKP') return 'is of a kind that is not known';
  const [text] = Array.isArray(x5c) ? x5c as unknown[] : [];
  if (!Array.isArray(x5c) || x5c.length !== 1 || typeof text !== 'string' || !BASE64.test(text)) return `${WRONG}does not have exactly one certificate in x5c`;
  try {
    const der = new Uint8Array(Buffer.from(text, 'base64'));
    const certificate = parseCertificate(der);
    if (certificate.basicConstraints?.ca !== true) return `${WRONG}has a certificate in x5c that is no CA's`;
    // RFC 7517 section 4.7: what is in the certificate must be the key itself.
    const spki = createPublicKey({ key: { kty, crv, x, y, n, e } as JsonWebKeyInput['key'], format: 'jwk' }).export({ type: 'spki', format: 'der' });
    return Buffer.compare(spki, certificate.spki) === 0 ? { der } : `${WRONG}has a certificate of another key in x5c`;
  } catch {
    return `${WRONG}has a certificate or a key that cannot be read`;
  }
}

function parse(bytes: Uint8Array): Fields | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    const value: unknown = JSON.parse(text, asWritten as (key: string, value: unknown) => unknown);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Fields : undefined;
  } catch {
    return undefined;
  }
}

function asWritten(key: string, value: unknown, { source }: { readonly source?: string }): unknown {
  return key === 'spiffe_sequence' && typeof value === 'number' ? source ?? String(value) : value;
}

function fault(detail: string): BundleReading {
  return { kind: 'fault', detail };
}
