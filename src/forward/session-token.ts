/** The cookie of a session: `__Host-` binds it to this host, the whole of it, and to TLS (RFC 6265bis section 4.1.3.2). */
export const SESSION_COOKIE = '__Host-wardgate-session';
/** What the names of all our cookies begin with. */
const OWN_COOKIES = '__Host-wardgate-';
/** What a bearer token of ours begins with: others are for the upstream. */
export const TOKEN_PREFIX = 'wgs_';

/** The session that a request names, in a cookie or as a bearer token; undefined when it names none, or more than one. `fields` as received. */
export function sessionToken(fields: readonly string[]): string | undefined {
  const found = new Set<string>();
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase();
    const value = fields[index + 1] as string;
    if (name === 'cookie') for (const token of cookiesNamed(SESSION_COOKIE, value)) found.add(token);
    else if (name === 'authorization' && BEARER.test(value)) found.add(value.replace(BEARER, ''));
  }
  return found.size === 1 ? [...found][0] : undefined;
}

/**
 * The value of a request field without a session of ours and other cookies of ours, for the upstream: a credential of ours must not lie in
 * somebody else's log, honoured or not, whatever a client made of it. Undefined where nothing is left. `name` in lower case.
 */
export function withoutSession(name: string, value: string): string | undefined {
  if (name === 'cookie') return withoutCookies(value);
  if (name === 'authorization' && (SCHEMED.test(value) || BASIC.test(value))) return SCHEMED.test(value) || holdsToken(Buffer.from(value.replace(BASIC, ''), 'base64').toString('latin1')) ? undefined : value;
  return holdsToken(value) ? undefined : value;
}

function withoutCookies(value: string): string | undefined {
  const lower = value.toLowerCase();
  if (!lower.includes(OWN_COOKIES.toLowerCase()) && !lower.includes(TOKEN_PREFIX)) return value;
  // A pair that holds one of ours behind something else, such as a comma, goes as a whole.
  const rest = value.split(';').filter((pair) => !pair.toLowerCase().includes(OWN_COOKIES.toLowerCase()) && !holdsToken(pair));
  return rest.every((pair) => pair.trim() === '') ? undefined : rest.join(';').trim();
}

/**
 * Whether a Set-Cookie field of somebody else may set a cookie of ours: wherever its name stands, since a cookie without a name is sent as its
 * value is (`=__Host-…`), and since some clients divide at commas.
 */
export function setsOwnCookie(value: string): boolean {
  return value.toLowerCase().includes(OWN_COOKIES.toLowerCase());
}

/** Whether a text holds a whole token of ours, as no other: one that is part of a longer word is somebody else's. What is escaped before it ends a word, too. */
function holdsToken(text: string): boolean {
  return MARK.test(text) && TOKEN.test(text);
}

const MARK = /wgs_/i;
const TOKEN = /(?:(?<![A-Za-z0-9_-])|(?<=%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}))wgs_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])/i;
const BEARER = /^bearer +(?=wgs_)/i;
/** Credentials that begin like ours, under whatever scheme. */
const SCHEMED = /^[^\s,]+[\s,]+"?wgs_/i;
const BASIC = /^basic\s+/i;

/**
 * The values of a cookie in a Cookie field. Of blanks only those that browsers take away: a name that begins with another, such as U+00A0, is
 * not ours, and neither `__Host-` nor anything else would keep a neighbouring host from setting it.
 */
export function cookiesNamed(wanted: string, value: string): string[] {
  return value.split(';').map((pair) => pair.replace(/^[ \t]+/, '')).filter((pair) => pair.startsWith(`${wanted}=`)).map((pair) => pair.slice(wanted.length + 1).trimEnd());
}
