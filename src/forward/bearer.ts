import type { Denial } from '../policy/decision.ts';
import type { TokenRefusal } from '../policy/token.ts';
import { TOKEN_PREFIX } from './session-token.ts';

/** Octets of a token. */
const LONGEST_TOKEN = 8 * 1024;
/** RFC 9110 section 11.4: the scheme in whatever case, then blanks. */
const SCHEME = /^bearer(?: +|$)/i;
/** Base64url in the one spelling of its octets: what the last character has bits too many for is zero (RFC 4648 section 3.5), or one token had many names. */
const PART = '(?=[\\w-])(?:[\\w-]{4})*(?:[\\w-][AQgw]|[\\w-]{2}[AEIMQUYcgkosw048])?';
/** RFC 7515 section 7.1. */
const COMPACT = new RegExp(`^${PART}\\.${PART}\\.${PART}$`);

/**
 * The access token of a request: what comes behind `Authorization: Bearer` (RFC 6750 section 2.1) and nowhere else, neither in a query nor in a
 * form. `fields` as received.
 */
export function bearerToken(fields: readonly string[]): { readonly kind: 'token'; readonly token: string } | TokenRefusal {
  const values: string[] = [];
  for (let index = 0; index < fields.length; index += 2) if ((fields[index] as string).toLowerCase() === 'authorization') values.push(fields[index + 1] as string);
  const [value] = values;
  if (value === undefined) return missing('no Authorization field');
  // Which of them the upstream would take nobody knows.
  if (values.length > 1) return malformed('more than one Authorization field');
  if (!SCHEME.test(value)) return missing('an Authorization field of another scheme than Bearer');
  const token = value.replace(SCHEME, '');
  if (token.startsWith(TOKEN_PREFIX)) return missing('the bearer token is a session of the gateway\'s own, which belongs into its cookie here');
  if (token.length > LONGEST_TOKEN) return malformed(`longer than ${LONGEST_TOKEN} octets`);
  return COMPACT.test(token) ? { kind: 'token', token } : malformed('no JWS in its compact form');
}

/** What an answer says of what would help (RFC 6750 section 3), as a flat list; nothing where it is no token that is wrong. */
export function challengeOf({ code, reason }: Denial): readonly string[] {
  if (reason === 'token_scope') return ['www-authenticate', 'Bearer error="insufficient_scope"'];
  if (code !== 'invalid_token') return [];
  return ['www-authenticate', reason === 'token_missing' ? 'Bearer' : 'Bearer error="invalid_token"'];
}

function missing(detail: string): TokenRefusal {
  return { kind: 'refused', reason: 'token_missing', detail };
}

function malformed(detail: string): TokenRefusal {
  return { kind: 'refused', reason: 'token_malformed', detail };
}
