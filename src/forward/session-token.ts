/** The cookie of a session: `__Host-` binds it to this host, the whole of it, and to TLS (RFC 6265bis section 4.1.3.2). */
export const SESSION_COOKIE = '__Host-wardgate-session';
/** What the names of all our cookies begin with. */
export const OWN_COOKIES = '__Host-wardgate-';
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
 * The value of a request field without the session that it names and other cookies of ours, for the upstream: a credential of ours must
 * not lie in somebody else's log. Undefined where nothing is left. `name` in lower case.
 */
export function withoutSession(name: string, value: string): string | undefined {
  if (name === 'authorization') return BEARER.test(value) ? undefined : value;
  if (name !== 'cookie' || !value.toLowerCase().includes(OWN_COOKIES.toLowerCase())) return value;
  const rest = value.split(';').filter((pair) => !pair.trim().toLowerCase().startsWith(OWN_COOKIES.toLowerCase()));
  return rest.every((pair) => pair.trim() === '') ? undefined : rest.join(';').trim();
}

const BEARER = /^bearer +(?=wgs_)/i;

/** The values of a cookie in a Cookie field. */
export function cookiesNamed(wanted: string, value: string): string[] {
  return value.split(';').map((pair) => pair.trim()).filter((pair) => pair.startsWith(`${wanted}=`)).map((pair) => pair.slice(wanted.length + 1));
}
