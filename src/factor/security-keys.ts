import { createHash, randomBytes } from 'node:crypto';
import type { AuthenticatorTransport, PublicKeyCredentialCreationOptionsJSON, PublicKeyCredentialRequestOptionsJSON, RegistrationResponseJSON } from '@simplewebauthn/server';
import { failedOnce, forgiven, judgeLock, refused, type Challenge, type Refusal, type Verdict } from '../policy/second-factor.ts';
import {
  judgeAuthenticator, judgeClientData, judgeCounter, MOST_KEYS, nameKey, noteChallenge, readAuthenticatorData, readClientData, takeChallenge, type Site,
} from '../policy/webauthn.ts';
import type { Enrolments, SecurityKey } from '../store/enrolments.ts';
import type { KeyOwners } from '../store/key-owners.ts';
import type { Sessions } from '../store/sessions.ts';
import { octetsOf, readAssertion, readAttestation } from './key-response.ts';
import { basisOf, contentOf, notEnrolled, type Outcome, type Person, type Trial } from './trial.ts';

/** What is asked of keys. */
export interface KeySettings {
  /** What browsers call who asks. */
  readonly name: string;
  readonly verification: 'required' | 'preferred' | 'discouraged';
  /** How long a challenge is good, ms. */
  readonly timeout: number;
}

/** Where a key is used: the certificate is the one that the request came with, SHA-256 in hex. */
export interface KeyPlace {
  readonly site: Site;
  readonly certificate: string;
}

export type Asked<Options> = { readonly kind: 'good'; readonly options: Options } | Refusal;

/** Security keys and passkeys (WebAuthn): each attempt is on record before its outcome is told. Rejects with a CellsError while the store is away. */
export interface SecurityKeys {
  /** What a browser needs to have somebody show a key. */
  askToSign(person: Person, place: KeyPlace): Promise<Asked<PublicKeyCredentialRequestOptionsJSON>>;
  /** Judges what the key answered: JSON, or its value. */
  sign(person: Person, place: KeyPlace, response: unknown): Promise<Outcome>;
  /** What a browser needs to make a key; `invitation` is the digest of one that was judged good. */
  askToEnrol(person: Person, place: KeyPlace, invitation: string): Promise<Asked<PublicKeyCredentialCreationOptionsJSON>>;
  /** Judges the key that was made, and enrols it beside others. */
  enrol(person: Person, place: KeyPlace, response: unknown, name: string): Promise<Outcome>;
}

export interface SecurityKeysOptions {
  readonly trial: Trial;
  readonly enrolments: Enrolments;
  readonly owners: KeyOwners;
  readonly sessions: Sessions;
  readonly settings: () => KeySettings;
  readonly now: () => number;
}

/** ES256, EdDSA and RS256, which every key knows one of (section 5.4). */
const ALGORITHMS = [-7, -8, -257];
const CHALLENGE_OCTETS = 32;
const HANDLE_OCTETS = 32;

/** Loaded where keys are asked for alone: it is large. */
const library = (): Promise<typeof import('@simplewebauthn/server')> => import('@simplewebauthn/server');
const formats = (): Promise<typeof import('@simplewebauthn/server/helpers')> => import('@simplewebauthn/server/helpers');

export function createSecurityKeys({ trial: { guarded, recorded }, enrolments, owners, sessions, settings, now }: SecurityKeysOptions): SecurityKeys {
  /** Gives a challenge out, and remembers for whom and what. */
  async function challenge(person: Person, purpose: Challenge['purpose'], { site, certificate }: KeyPlace, more: Pick<Challenge, 'invitation' | 'handle'> = {}): Promise<string | Refusal> {
    const given = randomBytes(CHALLENGE_OCTETS).toString('base64url');
    const noted: Challenge = { digest: digestOf(given), purpose, certificate, rpId: site.rpId, expires: now() + settings().timeout, ...more };
    const verdict = await sessions.attempt(person, (state) => noteChallenge(state, noted, now()));
    return verdict.kind === 'good' ? given : verdict;
  }

  /** Counts a wrong answer, unless the person is locked out: then that is what there is to say. */
  function fail(person: Person, refusal: Refusal): Promise<Refusal> {
    return sessions.attempt(person, (state) => {
      const lock = judgeLock(state, 'webauthn', now());
      return lock.kind === 'refused' ? { state, verdict: lock } : { state: failedOnce(state, 'webauthn', now()), verdict: refusal };
    });
  }

  function forgive(person: Person): Promise<void> {
    return sessions.attempt(person, (state) => (state.failures.webauthn === undefined ? { state, verdict: undefined } : { state: forgiven(state, 'webauthn'), verdict: undefined }));
  }

  /** What both ceremonies begin with: the challenge is used up, whatever else is wrong, and the page was one of ours. */
  async function open(person: Person, purpose: Challenge['purpose'], { site, certificate }: KeyPlace, clientDataJSON: string): Promise<{ readonly kind: 'good'; readonly challenge: Challenge; readonly text: string } | Refusal> {
    const data = readClientData(octetsOf(clientDataJSON));
    if (data === undefined) return fail(person, refused('webauthn_malformed', 'no client data'));
    const taken = await sessions.attempt(person, (state) => takeChallenge(state, { digest: digestOf(data.challenge), purpose, certificate }, now()));
    if (taken.kind === 'refused') return taken;
    const verdict = judgeClientData(data, purpose, site);
    return verdict.kind === 'refused' ? fail(person, verdict) : { kind: 'good', challenge: taken.challenge, text: data.challenge };
  }

  function judgeFixed(octets: Uint8Array, rpId: string): Verdict {
    const data = readAuthenticatorData(octets);
    return data === undefined ? refused('webauthn_malformed', 'authenticator data that is too short') : judgeAuthenticator(data, digestOf(rpId), settings().verification);
  }

  async function judgeSigned(person: Person, place: KeyPlace, input: unknown): Promise<Outcome> {
    const given = readAssertion(input);
    if (given === undefined) return fail(person, refused('webauthn_malformed', 'no answer of a key'));
    const opened = await open(person, 'get', place, given.response.clientDataJSON);
    if (opened.kind === 'refused') return opened;
    const { challenge: { rpId }, text } = opened;
    const { keys = [] } = await enrolments.get(person) ?? {};
    const key = keys.find(({ id }) => id === given.id);
    if (key === undefined) return fail(person, await unknownKey(person, given.id));
    if (given.response.userHandle !== undefined && given.response.userHandle !== key.handle) return fail(person, refused('webauthn_other_person', 'the key says that it is another person\'s'));
    if (key.rpId !== rpId) return fail(person, refused('webauthn_rp', `a key of ${key.rpId}`));
    const fixed = judgeFixed(octetsOf(given.response.authenticatorData), rpId);
    if (fixed.kind === 'refused') return fail(person, fixed);
    const { verifyAuthenticationResponse } = await library();
    const signed = await verifyAuthenticationResponse({
      response: given, expectedChallenge: text, expectedOrigin: [...place.site.origins], expectedRPID: rpId, requireUserVerification: settings().verification === 'required',
      // The counter is judged below, in one step with what is noted of it, and of a signature that is right alone.
      credential: { id: key.id, publicKey: octetsOf(key.publicKey), counter: 0 },
    }).catch(unreadable);
    if ('reason' in signed) return fail(person, signed);
    if (!signed.verified) return fail(person, refused('webauthn_signature', `not signed by the key ${JSON.stringify(key.name)}`));
    const counted = await countUse(person, key.id, signed.authenticationInfo.newCounter);
    if (counted.kind === 'refused') return fail(person, counted);
    await forgive(person);
    return { kind: 'good', basis: basisOf.key(key) };
  }

  async function unknownKey(person: Person, id: string): Promise<Refusal> {
    return await owners.isOfAnother(id, person) ? refused('webauthn_other_person', 'a key of another person') : refused('webauthn_unknown_key', 'a key that is not enrolled');
  }

  /** Judges the counter and notes it in one step: of two answers with the same one is a copy's. */
  function countUse(person: Person, id: string, counter: number): Promise<Verdict> {
    return enrolments.change<Verdict>(person, (held) => {
      const { keys = [], ...rest } = contentOf(held);
      const key = keys.find((one) => one.id === id);
      if (key === undefined) return { result: notEnrolled('the key was removed meanwhile') };
      const verdict = judgeCounter(key.counter, counter);
      if (verdict.kind === 'refused') return { result: verdict };
      const used: SecurityKey = { ...key, counter, used: new Date(now()).toISOString() };
      return { result: verdict, enrolment: { ...rest, keys: keys.map((one) => (one === key ? used : one)) } };
    });
  }

  /** The key of an answer; rejects with what could not be read. */
  async function readMade(given: RegistrationResponseJSON, challenged: string, { site }: KeyPlace, rpId: string): Promise<Pick<SecurityKey, 'id' | 'publicKey' | 'counter'> | Refusal> {
    const [{ verifyRegistrationResponse }, { decodeAttestationObject, isoCBOR }] = await Promise.all([library(), formats()]);
    const authData: unknown = decodeAttestationObject(octetsOf(given.response.attestationObject)).get('authData');
    if (!(authData instanceof Uint8Array)) return refused('webauthn_malformed', 'no authenticator data');
    const fixed = judgeFixed(authData, rpId);
    if (fixed.kind === 'refused') return fixed;
    // We ask for no statement of the maker's and read none: certificates in it would have us fetch what a stranger names.
    const bare = isoCBOR.encode(new Map<string, unknown>([['fmt', 'none'], ['attStmt', new Map()], ['authData', authData]]) as never);
    const { verified, registrationInfo } = await verifyRegistrationResponse({
      response: { ...given, response: { ...given.response, attestationObject: Buffer.from(bare).toString('base64url') } }, expectedChallenge: challenged, expectedOrigin: [...site.origins],
      expectedRPID: rpId, requireUserVerification: settings().verification === 'required', supportedAlgorithmIDs: ALGORITHMS,
    });
    const credential = registrationInfo?.credential;
    if (!verified || credential === undefined || credential.id !== given.id) return refused('webauthn_malformed', 'a key by another id than it says');
    return { id: credential.id, publicKey: Buffer.from(credential.publicKey).toString('base64url'), counter: credential.counter };
  }

  async function judgeMade(person: Person, place: KeyPlace, input: unknown, name: string): Promise<Outcome> {
    const given = readAttestation(input);
    if (given === undefined) return fail(person, refused('webauthn_malformed', 'no answer of a key'));
    const opened = await open(person, 'create', place, given.response.clientDataJSON);
    if (opened.kind === 'refused') return opened;
    const { challenge: { rpId, invitation, handle }, text } = opened;
    const made = await readMade(given, text, place, rpId).catch(unreadable);
    if ('reason' in made) return fail(person, made);
    const kept = await keep(person, { ...made, rpId, handle: handle ?? '', name, since: new Date(now()).toISOString(), transports: given.response.transports ?? [] }, invitation);
    if (kept.kind === 'refused') return kept;
    await forgive(person);
    return { kind: 'good', basis: basisOf.key(made) };
  }

  /** Keeps a new key, on an invitation that is still good, and used up with it. */
  async function keep(person: Person, key: SecurityKey, invitation: string | undefined): Promise<Verdict> {
    if (!await owners.claim(key.id, person)) return fail(person, refused('webauthn_key_taken', 'a key of another person'));
    const kept = await enrolments.change<Verdict>(person, (held) => {
      const { invitation: open, keys = [], ...rest } = contentOf(held);
      if (keys.some(({ id }) => id === key.id)) return { result: refused('webauthn_key_taken', 'this key is enrolled already') };
      // The invitation may have been used meanwhile, in another window or by somebody else, or withdrawn.
      if (open === undefined || open.digest !== invitation || now() >= open.expires) return { result: refused('invitation_expired', 'the invitation was used or withdrawn') };
      if (keys.length >= MOST_KEYS) return { result: refused('webauthn_too_many', `${keys.length} keys already`) };
      return { result: { kind: 'good' }, enrolment: { ...rest, keys: [...keys, { ...key, name: nameKey(key.name, keys.map(({ name }) => name)) }] } };
    });
    if (kept.kind === 'refused' && kept.reason !== 'webauthn_key_taken') await owners.release(key.id, person);
    return kept;
  }

  return {
    async askToSign(person, place) {
      const { keys = [] } = await enrolments.get(person) ?? {};
      const usable = keys.filter(({ rpId }) => rpId === place.site.rpId);
      if (usable.length === 0) return recorded(person, 'webauthn', 'asking for a security key', notEnrolled(`no security key of ${place.site.rpId}`));
      const given = await challenge(person, 'get', place);
      if (typeof given !== 'string') return recorded(person, 'webauthn', 'asking for a security key', given);
      return {
        kind: 'good',
        options: { challenge: given, rpId: place.site.rpId, timeout: settings().timeout, userVerification: settings().verification, allowCredentials: usable.map(described) },
      };
    },

    sign: async (person, place, response) => recorded(person, 'webauthn', 'security key', await guarded(person, () => judgeSigned(person, place, response))),

    async askToEnrol(person, place, invitation) {
      const { keys = [] } = await enrolments.get(person) ?? {};
      const handle = keys[0]?.handle ?? randomBytes(HANDLE_OCTETS).toString('base64url');
      const given = await challenge(person, 'create', place, { invitation, handle });
      if (typeof given !== 'string') return recorded(person, 'webauthn', 'asking for a new security key', given);
      const { name, timeout, verification } = settings();
      const shown = [...person.id.toWellFormed()].slice(0, 64).join('');
      return {
        kind: 'good',
        options: {
          rp: { id: place.site.rpId, name }, user: { id: handle, name: shown, displayName: shown }, challenge: given, timeout, attestation: 'none',
          pubKeyCredParams: ALGORITHMS.map((alg) => ({ alg, type: 'public-key' })), excludeCredentials: keys.map(described),
          // A passkey where there can be one: it is in reach on the person's other devices as well.
          authenticatorSelection: { residentKey: 'preferred', requireResidentKey: false, userVerification: verification },
        },
      };
    },

    enrol: async (person, place, response, name) => recorded(person, 'webauthn', 'security key enrolment', await guarded(person, () => judgeMade(person, place, response, name))),
  };
}

function described({ id, transports }: SecurityKey): { id: string; type: 'public-key'; transports: AuthenticatorTransport[] } {
  return { id, type: 'public-key', transports: transports as AuthenticatorTransport[] };
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** What could not be read of an answer. */
function unreadable(error: unknown): Refusal {
  return refused('webauthn_malformed', (error instanceof Error ? error.message : String(error)).slice(0, 200));
}
