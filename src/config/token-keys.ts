import { show } from './issue.ts';

/** A key that stays in a token (an HSM, a smart card), by the URI that names it. */
export type TokenUri =
  | { readonly kind: 'ok'; /** PEM that OpenSSL's provider takes in place of the key. */ readonly pem: string; /** The file of the PIN, where the URI names one. */ readonly pinFile?: string }
  | { readonly kind: 'fault'; readonly message: string };

const SCHEME = 'pkcs11:';
const KNOWN = new Set(['token', 'manufacturer', 'serial', 'model', 'slot-id', 'slot-manufacturer', 'slot-description', 'library-manufacturer', 'library-description', 'library-version', 'object', 'id', 'type']);

/** Whether what stands in `key` names a key in a token, and no file. */
export function isTokenUri(name: string): boolean {
  return name.startsWith(SCHEME);
}

/**
 * Reads a PKCS#11 URI (RFC 7512) of a private key. A PIN within it would stand in the configuration for everybody to read, and a
 * module is loaded by OpenSSL's configuration alone: both are refused.
 */
export function readTokenUri(uri: string): TokenUri {
  const [path = '', query = '', ...more] = uri.slice(SCHEME.length).split('?');
  const attributes = path === '' ? [] : path.split(';').map(attribute);
  const asked = query === '' ? [] : query.split('&').map(attribute);
  if (more.length > 0 || [...attributes, ...asked].includes(undefined)) return fault(uri, 'is no PKCS#11 URI: expected pkcs11:token=NAME;object=LABEL');
  const [named, options] = [new Map(attributes as (readonly [string, string])[]), new Map(asked as (readonly [string, string])[])];
  const odd = [...named.keys()].find((name) => !KNOWN.has(name)) ?? [...options.keys()].find((name) => name !== 'pin-source' && name !== 'pin-value');
  if (options.has('pin-value')) return fault(uri.replace(/pin-value=[^&]*/, 'pin-value=…'), 'holds a PIN, which everybody could read here: expected pin-source=file:/PATH, or the PIN in OpenSSL\'s configuration');
  if (odd !== undefined) return fault(uri, `has an attribute ${show(odd)}, which a key is not named by`);
  if (!named.has('object') && !named.has('id')) return fault(uri, 'names no key: expected object=LABEL or id=%XX');
  if ((named.get('type') ?? 'private') !== 'private') return fault(uri, 'names no private key: expected type=private');
  const source = options.get('pin-source');
  const pinFile = source?.replace(/^file:(?:\/\/(?=\/))?/, '');
  if (pinFile !== undefined && !pinFile.startsWith('/')) return fault(uri, 'has a PIN that does not come from a file: expected pin-source=file:/PATH');
  const whole = `${SCHEME}${path}${named.has('type') ? '' : ';type=private'}${query === '' ? '' : `?${query}`}`;
  return { kind: 'ok', pem: providerPem(whole), ...(pinFile === undefined ? {} : { pinFile }) };
}

/** The PEM by which pkcs11-provider is given a URI: SEQUENCE { VisibleString, UTF8String } (its manual, "URIs in PEM files"). */
function providerPem(uri: string): string {
  const der = tlv(0x30, Buffer.concat([tlv(0x1a, Buffer.from('PKCS#11 Provider URI v1.0')), tlv(0x0c, Buffer.from(uri))]));
  return `-----BEGIN PKCS#11 PROVIDER URI-----\n${der.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END PKCS#11 PROVIDER URI-----\n`;
}

function tlv(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function attribute(text: string): readonly [string, string] | undefined {
  const [, name, value] = /^([a-z][a-z0-9-]*)=([\x21-\x7e]*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) return undefined;
  try {
    return [name, decodeURIComponent(value)];
  } catch {
    // An id is octets and need not be text.
    return name === 'id' && /^(?:%[0-9A-Fa-f]{2}|[^%])*$/.test(value) ? [name, value] : undefined;
  }
}

function fault(uri: string, message: string): TokenUri {
  return { kind: 'fault', message: `${show(uri)} ${message}` };
}
