import { deny, type Denial, type Query, type Step } from '../decision.ts';
import type { RequestFacts } from '../facts.ts';
import type { Route } from '../routes.ts';
import { readAs } from '../parameters.ts';
import { judgeToken, type TokenRule, type TokenVerdict } from '../token.ts';

/** What the token of a request comes to; `unknown`: nobody has looked at it. Undefined where the route requires none, and for clients who have no certificate. */
export function judgeBearer({ token: rule }: Route, { admission, token, target }: RequestFacts, now: number): TokenVerdict | { readonly kind: 'unknown'; readonly rule: TokenRule } | undefined {
  if (rule === undefined || admission.kind !== 'known') return undefined;
  // RFC 6750 section 2: clients must not send it twice. An upstream may take that of the query, which nobody has held against the certificate.
  const twice = token?.kind === 'signed' && target.kind === 'target' && target.query !== '' && readAs('access_token', target.query).length > 0;
  if (twice) return { kind: 'refused', reason: 'token_malformed', detail: 'an access_token in the query as well' };
  return token === undefined ? { kind: 'unknown', rule } : judgeToken(rule, token, admission.leaf.sha256, now);
}

/** What a token's verdict means for the request; a query where nobody has looked at the token. */
export function judgeVerdict(verdict: ReturnType<typeof judgeBearer>, route: Route, { token, findings }: RequestFacts, trace?: (step: Step) => void): Denial | Query | undefined {
  switch (verdict?.kind) {
    case undefined: return undefined;
    case 'unknown':
      // Judged while it is under way, by a route that has come to require one since.
      if (findings !== undefined) return deny('token', 'invalid_token', 'token_missing', 'no token was looked at', trace, route);
      return { kind: 'query', route, counters: [], session: false, token: verdict.rule };
    case 'refused': return {
      ...deny('token', verdict.reason === 'token_scope' ? 'role_denied' : 'invalid_token', verdict.reason, verdict.detail, trace, route),
      ...(token?.kind === 'signed' ? { token: token.claims } : {}), ...(verdict.reason === 'token_other_certificate' ? { alarm: 'foreign_token' } : {}),
    };
    case 'good':
      trace?.({ rule: 'token', outcome: 'pass', detail: `${verdict.claims.scopes.join(' ')}${verdict.roles.length === 0 ? '' : `: ${verdict.roles.join(' + ')}`}` });
      return undefined;
  }
}

/** The same request by somebody who holds further roles: the certificate stays what it is, and so does whom it stands for. */
export function withRoles(facts: RequestFacts, roles: readonly string[]): RequestFacts {
  const { admission } = facts;
  if (roles.length === 0 || admission.kind !== 'known' || admission.identity === undefined) return facts;
  const { identity } = admission;
  return { ...facts, admission: { ...admission, identity: { ...identity, roles: new Set([...identity.roles, ...roles]) } } };
}
