/** The authority a request names, for matching: lower case, without port and trailing dot. */
export type Host = { readonly kind: 'host'; readonly name: string } | { readonly kind: 'malformed'; readonly detail: string };

const NAME = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,62})\.)*[a-z0-9_](?:[a-z0-9_-]{0,62})\.?$/;
const AUTHORITY = /^(\[[0-9a-f:.]+\]|[^:[\]]*)(?::([0-9]{1,5}))?$/;

/**
 * Parses a Host field or :authority value (RFC 9110 section 7.2). Anything but a registered name or an IP literal with an
 * optional port is malformed: user information, blanks and percent-encodings have no business there.
 */
export function parseHost(value: string): Host {
  const match = AUTHORITY.exec(value.toLowerCase());
  const host = match?.[1];
  if (host === undefined || host === '') return { kind: 'malformed', detail: 'the Host field is not a host' };
  if (match?.[2] !== undefined && Number(match[2]) > 65_535) return { kind: 'malformed', detail: 'the Host field has an impossible port' };
  if (host.startsWith('[')) return { kind: 'host', name: host.slice(1, -1) };
  if (!NAME.test(host)) return { kind: 'malformed', detail: 'the Host field is not a host' };
  return { kind: 'host', name: host.endsWith('.') ? host.slice(0, -1) : host };
}

/** Whether `pattern` (a name, or `*.` and a name: exactly one label more, RFC 9525 section 6.3) covers the lower-case `name`. */
export function coversHost(pattern: string, name: string): boolean {
  return pattern.startsWith('*.') ? pattern === wildcardFor(name) : pattern === name;
}

/** The one wildcard pattern that covers a lower-case name; undefined for a name of one label. */
export function wildcardFor(name: string): string | undefined {
  const dot = name.indexOf('.');
  return dot > 0 ? `*${name.slice(dot)}` : undefined;
}
