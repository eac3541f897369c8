/**
 * The request target, judged before any route sees it. A proxy that matches one spelling of a path and lets the upstream
 * read another has no access control at all, so every spelling with a second reading is refused, never repaired.
 */
export type Target =
  | { readonly kind: 'target'; readonly raw: string; readonly path: string; readonly segments: readonly string[]; readonly query: string }
  | { readonly kind: 'malformed'; readonly detail: string };

// RFC 3986 pchar and "/" without ";" : servlet containers cut a segment at ";", so "/records;x" and "/..;/" read differently there.
const PATH = /^\/[A-Za-z0-9\-._~!$&'()*+,=:@%/]*$/;
// RFC 3986 query, plus the few characters that browsers send raw and no server reads in a second way.
const QUERY = /^[A-Za-z0-9\-._~!$&'()*+,;=:@%/?[\]{}|^`]*$/;
const BAD_ESCAPE = /%(?![0-9A-Fa-f]{2})/;
// Escaped separators and control characters: "/" "\" NUL and the other controls. "%25" before two hex digits would decode twice.
const HIDDEN_SEPARATOR = /%(?:2f|5c|[01][0-9a-f]|7f|25[0-9a-f]{2})/i;

/**
 * Parses an origin-form request target (RFC 9112 section 3.2.1). `segments` are percent-decoded once, for matching;
 * `raw` is what is forwarded, byte for byte. Absolute-form, asterisk-form, fragments, dot segments in any spelling,
 * empty segments, backslashes, encoded separators and path parameters are malformed.
 */
export function parseTarget(raw: string): Target {
  if (!raw.startsWith('/')) return malformed('the request target is not in origin-form');
  const mark = raw.indexOf('?');
  const path = mark === -1 ? raw : raw.slice(0, mark);
  const query = mark === -1 ? '' : raw.slice(mark + 1);
  if (!PATH.test(path)) return malformed('the path holds a character that has more than one reading');
  if (!QUERY.test(query)) return malformed('the query holds a character that must be percent-encoded');
  if (!path.includes('%')) return split(raw, path, query, path);
  if (BAD_ESCAPE.test(path)) return malformed('the path holds an incomplete percent-encoding');
  if (HIDDEN_SEPARATOR.test(path)) return malformed('the path hides a separator or control character in a percent-encoding');
  const decoded = decode(path);
  if (decoded === undefined) return malformed('the path is not UTF-8');
  return split(raw, path, query, decoded);
}

function split(raw: string, path: string, query: string, decoded: string): Target {
  const segments = decoded.slice(1).split('/');
  for (let index = 0; index < segments.length; index++) {
    const segment = segments[index] as string;
    // Only the last segment may be empty: "/a/". Servers that merge slashes read "//records" as "/records".
    if (segment === '' && index < segments.length - 1) return malformed('the path holds an empty segment');
    const bare = segment.includes(';') ? segment.slice(0, segment.indexOf(';')) : segment;
    if (bare === '.' || bare === '..') return malformed('the path holds a dot segment');
  }
  return { kind: 'target', raw, path, segments, query };
}

function decode(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

function malformed(detail: string): Target {
  return { kind: 'malformed', detail };
}
