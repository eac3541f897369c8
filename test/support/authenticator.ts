import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';

/** What a page, or an app, is given to ask a key with; as JSON (WebAuthn level 3, section 5.1.8 and 5.1.9). */
export interface Options {
  readonly challenge: string;
  readonly rpId?: string;
  readonly rp?: { readonly id: string };
  readonly user?: { readonly id: string };
  readonly allowCredentials?: readonly { readonly id: string }[];
}

/** What somebody who is up to no good, or a broken browser, does otherwise. */
export interface Twist {
  readonly origin?: string;
  readonly rpId?: string;
  readonly type?: string;
  readonly challenge?: string;
  readonly crossOrigin?: boolean;
  readonly topOrigin?: string;
  /** Flags of authenticator data: 1 somebody was there, 4 it is known who. */
  readonly flags?: number;
  readonly counter?: number;
  readonly userHandle?: string | null;
  /** Signs with another key than the one of the credential. */
  readonly stranger?: boolean;
  readonly id?: string;
  /** What comes in place of the statement `none`. */
  readonly attestation?: { readonly fmt: string; readonly attStmt: Map<unknown, unknown> };
  readonly algorithm?: number;
}

export interface KeyAnswer {
  readonly id: string;
  readonly rawId: string;
  readonly type: string;
  readonly response: Readonly<Record<string, unknown>>;
}

/** A security key in software, with the browser around it. */
export interface Authenticator {
  readonly id: string;
  counter: number;
  create(options: Options, twist?: Twist): KeyAnswer;
  get(options: Options, twist?: Twist): KeyAnswer;
}

/** ES256, EdDSA and RS256, by their COSE algorithm (RFC 9053, RFC 8812). */
const PAIRS = {
  [-7]: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  [-8]: () => generateKeyPairSync('ed25519'),
  [-257]: () => generateKeyPairSync('rsa', { modulusLength: 2_048 }),
} as const;

/** An authenticator with one key. `origin`: of the page that it is used on. `counts`: false for one that has no counter. */
export function createAuthenticator(origin: string, counts = true, algorithm: keyof typeof PAIRS = -7): Authenticator {
  const { privateKey, publicKey } = PAIRS[algorithm]();
  const stranger = PAIRS[-7]().privateKey;
  const octets = randomBytes(32);
  let handle: string | undefined;

  const clientData = (type: string, { challenge }: Options, twist: Twist): Buffer => Buffer.from(JSON.stringify({
    type: twist.type ?? type, challenge: twist.challenge ?? challenge, origin: twist.origin ?? origin, crossOrigin: twist.crossOrigin ?? false, ...(twist.topOrigin === undefined ? {} : { topOrigin: twist.topOrigin }),
  }));

  function authenticatorData(rpId: string, flags: number, twist: Twist, more: Buffer = Buffer.alloc(0)): Buffer {
    const counter = Buffer.alloc(4);
    counter.writeUInt32BE(twist.counter ?? authenticator.counter);
    return Buffer.concat([sha256(twist.rpId ?? rpId), Buffer.from([twist.flags ?? flags]), counter, more]);
  }

  const authenticator: Authenticator = {
    id: octets.toString('base64url'),
    counter: 0,
    create(options, twist = {}) {
      handle = options.user?.id;
      if (counts) authenticator.counter += 1;
      const length = Buffer.alloc(2);
      length.writeUInt16BE(octets.length);
      const credential = Buffer.concat([Buffer.alloc(16), length, octets, encodeCbor(coseKey(publicKey, twist.algorithm ?? algorithm))]);
      const authData = authenticatorData(options.rp?.id ?? '', twist.flags === undefined ? 0x45 : twist.flags | 0x40, { ...twist, ...(twist.flags === undefined ? {} : { flags: twist.flags | 0x40 }) }, credential);
      const { fmt, attStmt } = twist.attestation ?? { fmt: 'none', attStmt: new Map() };
      const attestationObject = encodeCbor(new Map<unknown, unknown>([['fmt', fmt], ['attStmt', attStmt], ['authData', authData]]));
      const id = twist.id ?? authenticator.id;
      return { id, rawId: id, type: 'public-key', response: { clientDataJSON: clientData('webauthn.create', options, twist).toString('base64url'), attestationObject: attestationObject.toString('base64url'), transports: ['usb'] } };
    },
    get(options, twist = {}) {
      if (counts) authenticator.counter += 1;
      const data = clientData('webauthn.get', options, twist);
      const authData = authenticatorData(options.rpId ?? '', 5, twist);
      const signature = sign(algorithm === -8 ? null : 'sha256', Buffer.concat([authData, createHash('sha256').update(data).digest()]), twist.stranger === true ? stranger : privateKey);
      const id = twist.id ?? authenticator.id;
      return {
        id, rawId: id, type: 'public-key',
        response: { clientDataJSON: data.toString('base64url'), authenticatorData: authData.toString('base64url'), signature: signature.toString('base64url'), userHandle: twist.userHandle === undefined ? handle ?? null : twist.userHandle },
      };
    },
  };
  return authenticator;
}

/** The COSE key of a public key (RFC 9053 section 7, RFC 8230 section 4). */
function coseKey(key: KeyObject, algorithm: number): Map<unknown, unknown> {
  const { kty, x = '', y = '', n = '', e = '' } = key.export({ format: 'jwk' });
  const octets = (text: string): Buffer => Buffer.from(text, 'base64url');
  if (kty === 'RSA') return new Map<unknown, unknown>([[1, 3], [3, algorithm], [-1, octets(n)], [-2, octets(e)]]);
  if (kty === 'OKP') return new Map<unknown, unknown>([[1, 1], [3, algorithm], [-1, 6], [-2, octets(x)]]);
  return new Map<unknown, unknown>([[1, 2], [3, algorithm], [-1, 1], [-2, octets(x)], [-3, octets(y)]]);
}

/** As much of CBOR (RFC 8949) as keys speak: numbers, octets, texts, lists and maps. */
export function encodeCbor(value: unknown): Buffer {
  if (typeof value === 'number') return value >= 0 ? head(0, value) : head(1, -1 - value);
  if (typeof value === 'string') return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)]);
  if (value instanceof Uint8Array) return Buffer.concat([head(2, value.length), value]);
  if (Array.isArray(value)) return Buffer.concat([head(4, value.length), ...value.map(encodeCbor)]);
  if (value instanceof Map) return Buffer.concat([head(5, value.size), ...[...value].flatMap(([name, one]) => [encodeCbor(name), encodeCbor(one)])]);
  throw new TypeError(`no CBOR for ${String(value)}`);
}

function head(type: number, value: number): Buffer {
  if (value < 24) return Buffer.from([(type << 5) | value]);
  if (value < 256) return Buffer.from([(type << 5) | 24, value]);
  return Buffer.from([(type << 5) | 25, value >> 8, value & 255]);
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
