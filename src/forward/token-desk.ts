import { hash } from 'node:crypto';
import { compactVerify, errors } from 'jose';
import { LRUCache } from 'lru-cache';
import type { Snapshot } from '../config/snapshot.ts';
import type { Reason } from '../policy/facts.ts';
import { readClaims, type TokenClaims, type TokenFinding, type TokenRefusal, type TokenRule } from '../policy/token.ts';
import { bearerToken } from './bearer.ts';
import type { KeyRegister, ReadyKey } from './token-keys.ts';

/** Finds out whether an issuer has signed the tokens that requests come with. */
export interface TokenDesk {
  /** What the token of a request is, by these header fields as received. Rejects for faults only. */
  find(rule: TokenRule, fields: readonly string[]): Promise<TokenFinding>;
  /** The same finding as it stands now: its key may have been taken back. */
  again(finding: TokenFinding): TokenFinding;
}

/** How an issuer's tokens are verified. */
export interface TokenIssuer {
  /** Of its keys. */
  readonly source: string;
  readonly algorithms: readonly string[];
}

export interface TokenDeskOptions {
  /** By name. */
  readonly issuers: ReadonlyMap<string, TokenIssuer>;
  readonly keys: KeyRegister;
  /** Has an issuer asked for its keys again, and waits until they are taken; answers with when that makes sense again (ms since the epoch). */
  readonly refresh: (source: string) => Promise<number>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

interface Verified {
  /** SHA-256 of the key. */
  readonly key: string;
  readonly claims: TokenClaims;
}

interface Head {
  readonly kind: 'head';
  readonly algorithm: string;
  readonly kid: string | undefined;
}

/** The issuers of a configuration, by name. */
export function issuersOf({ tokens, config }: Pick<Snapshot, 'tokens' | 'config'>): ReadonlyMap<string, TokenIssuer> {
  return new Map(Object.entries(tokens).map(([name, { id }]) => [name, { source: id, algorithms: config.tokens[name]?.algorithms ?? [] }]));
}

/** Signatures that are remembered: a client sends the same token with every request. */
const REMEMBERED = 4_096;
const REMEMBERED_MS = 5 * 60_000;
/** What an access token may call itself (RFC 9068 section 2.1); others say that they are for something else. */
const TYPES: ReadonlySet<string> = new Set(['at+jwt', 'application/at+jwt', 'jwt', 'application/jwt']);
/** After a main thread that gave no answer. */
const RETRY_MS = 1_000;

/**
 * Verifies tokens on one thread, by the keys that it was told. Only signatures are remembered: times, audience and the certificate that a
 * token is bound to are judged with every request, in `judgeToken`.
 */
export function createTokenDesk({ issuers, keys, refresh, now }: TokenDeskOptions): TokenDesk {
  const verified = new LRUCache<string, Verified>({ max: REMEMBERED, ttl: REMEMBERED_MS });
  const refreshing = new Map<string, Promise<void>>();
  const askAgain = new Map<string, number>();

  async function find({ from, skew }: TokenRule, fields: readonly string[]): Promise<TokenFinding> {
    const issuer = issuers.get(from);
    if (issuer === undefined) return refused('token_unverifiable', `no issuer named ${from}`);
    const bearer = bearerToken(fields);
    if (bearer.kind === 'refused') return bearer;
    const { token } = bearer;
    const mark = `${from} ${hash('sha256', token)}`;
    const known = verified.get(mark);
    if (known !== undefined && standing(issuer, known.key)) return signed(known);
    const found = await verify(issuer, token);
    if (found.kind === 'refused') return found;
    verified.set(mark, found.verified);
    return signed(found.verified);

    function signed({ key, claims }: Verified): TokenFinding {
      return { kind: 'signed', from, key, claims, until: claims.expires + skew };
    }
  }

  async function verify(issuer: TokenIssuer, token: string): Promise<{ readonly kind: 'verified'; readonly verified: Verified } | TokenRefusal> {
    const head = readHead(token);
    if (head.kind === 'refused') return head;
    if (!issuer.algorithms.includes(head.algorithm)) return refused('token_signature', `the algorithm ${quoted(head.algorithm)} is not taken`);
    const key = await keyFor(issuer, head);
    if (key.kind === 'refused') return key;
    try {
      const { payload } = await compactVerify(token, key.key.key, { algorithms: [head.algorithm] });
      const claims = readPayload(payload);
      return typeof claims === 'string' ? refused('token_malformed', claims) : { kind: 'verified', verified: { key: key.key.sha256, claims } };
    } catch (error) {
      if (error instanceof errors.JWSInvalid) return refused('token_malformed', error.message);
      return refused('token_signature', error instanceof errors.JOSEError ? error.message : 'the signature cannot be verified');
    }
  }

  /** The key that a token names; one that is not known may be new. */
  async function keyFor(issuer: TokenIssuer, head: Head): Promise<{ readonly kind: 'key'; readonly key: ReadyKey } | TokenRefusal> {
    const key = pickKey(issuer, head);
    if (key.kind === 'key' || !key.maybeNew || now() < (askAgain.get(issuer.source) ?? 0)) return key;
    await renew(issuer.source);
    return pickKey(issuer, head);
  }

  function pickKey({ source }: TokenIssuer, { algorithm, kid }: Head): { readonly kind: 'key'; readonly key: ReadyKey } | (TokenRefusal & { readonly maybeNew: boolean }) {
    const set = keys.of(source);
    if (set === undefined || now() >= set.until) return { ...refused('token_unverifiable', 'the keys of the issuer are not known'), maybeNew: true };
    // RFC 7515 section 4.1.4: a name is compared, and nothing else is made of it.
    const named = set.keys.filter((one) => (kid === undefined ? set.keys.length === 1 : one.kid === kid));
    if (named.length === 0) return { ...refused('token_signature', kid === undefined ? `it names no key, and the issuer has ${set.keys.length}` : `no key ${quoted(kid)} of the issuer's`), maybeNew: kid !== undefined };
    const [key, ...others] = named.filter(({ algorithms }) => algorithms.some((one) => one === algorithm));
    if (key === undefined) return { ...refused('token_signature', `the key is not for ${quoted(algorithm)}`), maybeNew: false };
    return others.length === 0 ? { kind: 'key', key } : { ...refused('token_signature', 'several keys of the issuer have the name'), maybeNew: false };
  }

  /** One question at a time for each issuer, however many wait for it: names can be made up. */
  function renew(source: string): Promise<void> {
    const under = refreshing.get(source);
    if (under !== undefined) return under;
    const begun = refresh(source)
      .catch(() => now() + RETRY_MS)
      .then((again) => {
        askAgain.set(source, again);
        refreshing.delete(source);
      });
    refreshing.set(source, begun);
    return begun;
  }

  function standing({ source }: TokenIssuer, key: string): boolean {
    const set = keys.of(source);
    return set !== undefined && now() < set.until && set.keys.some(({ sha256 }) => sha256 === key);
  }

  return {
    find,
    again(finding) {
      if (finding.kind === 'refused') return finding;
      const issuer = issuers.get(finding.from);
      return issuer !== undefined && standing(issuer, finding.key) ? finding : refused('token_signature', 'the issuer has taken back the key that it was signed with');
    },
  };
}

/** The protected header. No key in it is looked at, nor where one would be (RFC 8725 section 3.10): only the issuer's own verify. */
function readHead(token: string): Head | TokenRefusal {
  const header = readObject(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url'));
  if (header === undefined) return refused('token_malformed', 'its header is no JSON object');
  const { alg, kid, typ, crit, b64 } = header;
  if (typeof alg !== 'string') return refused('token_malformed', 'its header names no algorithm');
  if (crit !== undefined || b64 !== undefined) return refused('token_malformed', 'its header asks for extensions');
  if (typ !== undefined && !(typeof typ === 'string' && TYPES.has(typ.toLowerCase()))) return refused('token_malformed', `it is of type ${quoted(typ)}`);
  if (kid !== undefined && typeof kid !== 'string') return refused('token_malformed', 'its kid is no text');
  return { kind: 'head', algorithm: alg, kid };
}

function readPayload(payload: Uint8Array): TokenClaims | string {
  const claims = readObject(payload);
  return claims === undefined ? 'its payload is no JSON object' : readClaims(claims);
}

function readObject(octets: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Readonly<Record<string, unknown>> : undefined;
  } catch {
    return undefined;
  }
}

function refused(reason: Reason, detail: string): TokenRefusal {
  return { kind: 'refused', reason, detail };
}

/** What somebody else wrote, as it may stand in a record. */
function quoted(value: unknown): string {
  return JSON.stringify(value).slice(0, 100);
}
