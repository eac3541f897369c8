import { failedOnce, judgeLock, refused, sameDigest, type Attempts, type Challenge, type Judged, type Refusal, type Verdict } from './second-factor.ts';

/** How often keys may be enrolled beside each other, and challenges be open, for one person. */
export const MOST_KEYS = 10;
const MOST_CHALLENGES = 16;
/** How long a challenge that is over is remembered, so that the record says what became of it. */
const REMEMBERED_MS = 10 * 60_000;

/** What a page of ours is to a browser: keys are made for the RP id, and say at which origin they were used. */
export interface Site {
  readonly rpId: string;
  readonly origins: readonly string[];
}

/** What the configuration says of it. */
export interface SiteSettings {
  /** Absent: the host that was asked for. */
  readonly rp_ids?: readonly string[] | undefined;
  /** Absent: that host, at the default port or the listener's. */
  readonly origins?: readonly string[] | undefined;
}

/**
 * The site of a host name (WebAuthn section 5.1.3: an RP id is the host's name or a domain above it; no address has one); undefined where
 * keys cannot be used. `host` in lower case, without port; `port` is the listener's.
 */
export function siteOf(host: string, port: number | undefined, { rp_ids: ids, origins }: SiteSettings): Site | undefined {
  if (host === '' || host.includes(':') || /^[0-9.]+$/.test(host)) return undefined;
  const rpId = ids === undefined ? host : [...ids].sort((one, other) => other.length - one.length).find((id) => isBelow(host, id));
  if (rpId === undefined) return undefined;
  return { rpId, origins: origins ?? [`https://${host}`, ...(port === undefined || port === 443 ? [] : [`https://${host}:${port}`])] };
}

/** Whether a host is this domain, or a name below it. */
function isBelow(host: string, domain: string): boolean {
  return host === domain || host.endsWith(`.${domain}`);
}

/** Notes a challenge that is given out, unless the person is locked out; the oldest goes when there is one too many. */
export function noteChallenge(state: Attempts, challenge: Challenge, now: number): Judged<Attempts> {
  const lock = judgeLock(state, 'webauthn', now);
  if (lock.kind === 'refused') return { state, verdict: lock };
  const known = (state.challenges ?? []).filter(({ expires }) => now < expires + REMEMBERED_MS);
  return { state: { ...state, challenges: [...known, challenge].slice(-MOST_CHALLENGES) }, verdict: lock };
}

export type Taken = { readonly kind: 'good'; readonly challenge: Challenge } | Refusal;

/**
 * Takes the challenge that an answer is for, whatever the answer will be worth: each is good for one (WebAuthn section 13.4.3). `digest` is
 * that of the challenge.
 */
export function takeChallenge(
  state: Attempts, { digest, purpose, certificate }: Pick<Challenge, 'digest' | 'purpose' | 'certificate'>, now: number,
): { readonly state: Attempts; readonly verdict: Taken } {
  const lock = judgeLock(state, 'webauthn', now);
  if (lock.kind === 'refused') return { state, verdict: lock };
  const found = state.challenges?.find((one) => sameDigest(one.digest, digest));
  const used: Attempts = found === undefined ? state : { ...state, challenges: (state.challenges ?? []).map((one) => (one === found ? { ...one, used: true } : one)) };
  const fail = (refusal: Refusal): { state: Attempts; verdict: Taken } => ({ state: failedOnce(used, 'webauthn', now), verdict: refusal });
  if (found === undefined) return fail(refused('webauthn_challenge', 'no challenge that was given to this client'));
  if (found.used === true) return fail(refused('webauthn_replayed', 'this challenge was answered before'));
  if (found.purpose !== purpose) return fail(refused('webauthn_challenge', `a challenge that was given to ${found.purpose === 'create' ? 'enrol a key' : 'sign in'}`));
  if (found.certificate !== certificate) return fail(refused('webauthn_challenge', `a challenge that was given to the certificate ${found.certificate}`));
  if (now >= found.expires) return fail(refused('webauthn_expired', `the challenge was good until ${new Date(found.expires).toISOString()}`));
  return { state: used, verdict: { kind: 'good', challenge: found } };
}

/** What the browser says of a ceremony (WebAuthn section 5.8.1), as far as it is looked at. */
export interface ClientData {
  readonly type: string;
  readonly challenge: string;
  readonly origin: string;
  readonly framed: boolean;
}

/** Reads client data; undefined when it is none. */
export function readClientData(octets: Uint8Array): ClientData | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const { type, challenge, origin, crossOrigin, topOrigin } = value as Record<string, unknown>;
  if (typeof type !== 'string' || typeof challenge !== 'string' || typeof origin !== 'string') return undefined;
  if (crossOrigin !== undefined && typeof crossOrigin !== 'boolean') return undefined;
  return { type, challenge, origin, framed: crossOrigin === true || topOrigin !== undefined };
}

/** Judges what the browser says (sections 7.1 and 7.2): our pages are in nobody's frame. */
export function judgeClientData({ type, origin, framed }: ClientData, purpose: Challenge['purpose'], { origins }: Pick<Site, 'origins'>): Verdict {
  if (type !== `webauthn.${purpose}`) return refused('webauthn_malformed', `client data of the type ${quote(type)}`);
  if (!origins.includes(origin)) return refused('webauthn_origin', `the key was used at ${quote(origin)}`);
  return framed ? refused('webauthn_origin', 'the key was used in a frame of another page') : { kind: 'good' };
}

/** The fixed part of authenticator data (section 6.1). */
export interface AuthenticatorData {
  /** SHA-256 of the RP id, hex. */
  readonly rpIdHash: string;
  readonly present: boolean;
  readonly verified: boolean;
  readonly counter: number;
}

const FIXED_OCTETS = 37;

/** Reads the fixed part of authenticator data; undefined when it is shorter. */
export function readAuthenticatorData(octets: Uint8Array): AuthenticatorData | undefined {
  if (octets.length < FIXED_OCTETS) return undefined;
  const view = Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength);
  const flags = view[32] as number;
  return { rpIdHash: view.toString('hex', 0, 32), present: (flags & 1) !== 0, verified: (flags & 4) !== 0, counter: view.readUInt32BE(33) };
}

/** Judges for whom the authenticator spoke, and whether somebody was there. `rpIdHash`: of the RP id that was asked for, hex. */
export function judgeAuthenticator(data: AuthenticatorData, rpIdHash: string, verification: 'required' | 'preferred' | 'discouraged'): Verdict {
  if (data.rpIdHash !== rpIdHash) return refused('webauthn_rp', 'the key was used for another RP id');
  if (!data.present) return refused('webauthn_unverified', 'nobody touched the key');
  if (verification === 'required' && !data.verified) return refused('webauthn_unverified', 'the key did not verify who used it');
  return { kind: 'good' };
}

/**
 * Judges a signature counter (section 6.1.1): one that does not grow is that of a copy. Keys without a counter show zero for good.
 */
export function judgeCounter(known: number, shown: number): Verdict {
  if ((known === 0 && shown === 0) || shown > known) return { kind: 'good' };
  return refused('webauthn_counter', `the counter of the key is ${shown}, and was ${known} before: there may be a copy of it`);
}

const LONGEST_NAME = 64;

/** The name of a new key: as it was given, without what cannot be seen, and unlike the others'. */
export function nameKey(given: string, taken: readonly string[]): string {
  const shown = [...given.normalize('NFC').replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu, '').replace(/\s+/gu, ' ').trim()].slice(0, LONGEST_NAME).join('').trim();
  const base = shown === '' ? 'Security key' : shown;
  for (let number = 1; ; number++) {
    const name = number === 1 ? base : `${base} ${number}`;
    if (!taken.includes(name)) return name;
  }
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
