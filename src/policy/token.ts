import type { Config, RouteConfig, TokenConfig } from '../config/schema.ts';
import { withInherited } from '../identity/roles.ts';
import type { Reason } from './facts.ts';
import { covers, parseScope, type Scope } from './scopes.ts';

/** What a route requires of the token that a request comes with. */
export interface TokenRule {
  /** Name of the issuer in the configuration. */
  readonly from: string;
  readonly issuer: string;
  readonly audience: readonly string[];
  /** Milliseconds. */
  readonly skew: number;
  /** One of which the token must cover; undefined: it need not. */
  readonly scopes: readonly Scope[] | undefined;
  readonly grants: readonly Grant[];
  /** Whether a role that a scope gives may be what lets somebody in. */
  readonly mayLetIn: boolean;
}

/** The roles that a scope gives, and all that they inherit. */
interface Grant {
  readonly scope: Scope;
  readonly roles: readonly string[];
}

/** What a token says, as far as anything is decided by it; times in ms since the epoch. */
export interface TokenClaims {
  readonly issuer: string | undefined;
  readonly audience: readonly string[];
  readonly expires: number;
  readonly notBefore: number | undefined;
  readonly issuedAt: number | undefined;
  /** SHA-256 of the certificate that it is bound to, base64url; undefined: to none. */
  readonly certificate: string | undefined;
  readonly scopes: readonly string[];
  readonly id: string | undefined;
  readonly client: string | undefined;
}

/** What was found out about the token of one request: `signed` says that a key of the issuer has signed it, and no more. */
export type TokenFinding =
  | SignedToken
  | TokenRefusal;

export interface SignedToken {
  readonly kind: 'signed';
  /** Name of the issuer in the configuration. */
  readonly from: string;
  /** SHA-256 of the key. */
  readonly key: string;
  readonly claims: TokenClaims;
  /** When what it lets in is to be judged again, in ms since the epoch. */
  readonly until: number;
}

export interface TokenRefusal {
  readonly kind: 'refused';
  readonly reason: Reason;
  readonly detail: string;
}

export type TokenVerdict = TokenRefusal | { readonly kind: 'good'; readonly claims: TokenClaims; readonly roles: readonly string[] };

/** Makes ready what a route requires; undefined where it requires no token. */
export function compileToken({ require: { token }, allow }: RouteConfig, { tokens, inherits }: Pick<Config, 'tokens' | 'inherits'>): TokenRule | undefined {
  if (token === undefined) return undefined;
  const config = tokens[token.from];
  // The configuration is refused before; a route must not be open for want of an issuer.
  if (config === undefined) throw new Error(`routes: no issuer of tokens named ${token.from}`);
  const grants = grantsOf(config, inherits);
  return {
    from: token.from, issuer: config.issuer, audience: config.audience, skew: config.skew, scopes: token.scopes?.map(parseScope),
    grants, mayLetIn: grants.some(({ roles }) => roles.some((role) => allow.includes(role))),
  };
}

function grantsOf({ roles }: TokenConfig, inherits: Config['inherits']): readonly Grant[] {
  return Object.entries(roles).map(([scope, given]) => ({ scope: parseScope(scope), roles: [...withInherited(given, inherits)] }));
}

/** Reads the payload of a token (RFC 7519, RFC 9068); text: what is wrong with it. */
export function readClaims(payload: Readonly<Record<string, unknown>>): TokenClaims | string {
  const { iss, aud, exp, nbf, iat, cnf, jti, client_id: clientId, azp } = payload;
  const audience = listOf(aud);
  const scopes = scopesOf(payload['scope'] ?? payload['scp']);
  if (iss !== undefined && typeof iss !== 'string') return 'iss is no text';
  if (aud !== undefined && audience === undefined) return 'aud is neither a text nor a list of them';
  if (exp === undefined) return 'it has no exp';
  if (!isTime(exp)) return 'exp is no time';
  if (nbf !== undefined && !isTime(nbf)) return 'nbf is no time';
  if (iat !== undefined && !isTime(iat)) return 'iat is no time';
  if (scopes === undefined) return 'scope is neither a text nor a list of them';
  return {
    issuer: iss, audience: audience ?? [], expires: exp * 1000, notBefore: nbf === undefined ? undefined : nbf * 1000, issuedAt: iat === undefined ? undefined : iat * 1000,
    certificate: boundTo(cnf), scopes, id: textOf(jti), client: textOf(clientId) ?? textOf(azp),
  };
}

/**
 * Judges what was found out about a token for the client with this certificate; `certificate` is its SHA-256 in hex, `now` in ms since the
 * epoch. Whose token it is comes first, and that it is this client's before what it may be used for.
 */
export function judgeToken(rule: TokenRule, finding: TokenFinding, certificate: string, now: number): TokenVerdict {
  if (finding.kind === 'refused') return finding;
  // The route has another issuer since it was verified.
  if (finding.from !== rule.from) return refused('token_issuer', `the route takes tokens of ${rule.from}, and this is one of ${finding.from}`);
  const { claims } = finding;
  const { issuer, audience, expires, notBefore, issuedAt, scopes } = claims;
  if (issuer !== rule.issuer) return refused('token_issuer', `iss is ${quoted(issuer)}`);
  if (!audience.some((one) => rule.audience.includes(one))) return refused('token_audience', `aud is ${quoted(audience.join(' '))}`);
  if (now >= expires + rule.skew) return refused('token_expired', `it was good until ${moment(expires)}`);
  if (notBefore !== undefined && now < notBefore - rule.skew) return refused('token_not_yet_valid', `it is good from ${moment(notBefore)}`);
  if (issuedAt !== undefined && now < issuedAt - rule.skew) return refused('token_not_yet_valid', `it was issued at ${moment(issuedAt)}`);
  if (claims.certificate === undefined) return refused('token_unbound', 'it has no cnf with x5t#S256');
  if (claims.certificate !== Buffer.from(certificate, 'hex').toString('base64url')) return refused('token_other_certificate', 'it is bound to another certificate');
  const held = scopes.map(parseScope);
  if (rule.scopes !== undefined && !rule.scopes.some((wanted) => held.some((one) => covers(one, wanted)))) {
    return refused('token_scope', `it holds none of ${rule.scopes.map(({ text }) => text).join(' ')}`);
  }
  return { kind: 'good', claims, roles: rule.grants.filter(({ scope }) => held.some((one) => covers(one, scope))).flatMap(({ roles }) => roles) };
}

function refused(reason: Reason, detail: string): TokenRefusal {
  return { kind: 'refused', reason, detail };
}

/** RFC 8705 section 3.1; what is no such text is bound to nothing. */
function boundTo(cnf: unknown): string | undefined {
  return typeof cnf === 'object' && cnf !== null ? textOf((cnf as Readonly<Record<string, unknown>>)['x5t#S256']) : undefined;
}

function scopesOf(value: unknown): readonly string[] | undefined {
  if (value === undefined) return [];
  if (typeof value === 'string') return value.split(' ').filter((one) => one !== '');
  return Array.isArray(value) ? listOf(value) : undefined;
}

function listOf(value: unknown): readonly string[] | undefined {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.every((one) => typeof one === 'string') ? list : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** The last moment that a Date can hold, in seconds. */
const LAST_MOMENT = 8_640_000_000_000;

function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= LAST_MOMENT;
}

function moment(time: number): string {
  return new Date(time).toISOString();
}

/** What somebody else wrote, as it may stand in a record. */
function quoted(text: string | undefined): string {
  return text === undefined ? 'missing' : JSON.stringify(text.slice(0, 200));
}
