import type { RoleConfig } from '../config/schema.ts';
import type { Certificate, GeneralName } from '../pki/certificate.ts';
import type { Name } from '../pki/name.ts';

/** Who a certificate stands for. */
export interface Identity {
  readonly role: string;
  readonly id: string;
}

/** Why a certificate got its role, or none: `misses` says for each rule above the match what did not fit. */
export interface Identification {
  readonly identity?: Identity;
  readonly misses: readonly { readonly role: string; readonly detail: string }[];
}

/**
 * The role and id of a certificate: the first rule whose every condition holds. `path` is the validated path, leaf first;
 * an `issuer` condition is met by any CA on it. A rule whose id cannot be filled in does not match: nobody without a name.
 */
export function identify(path: readonly Certificate[], rules: readonly RoleConfig[]): Identification {
  const misses: { role: string; detail: string }[] = [];
  for (const rule of rules) {
    const miss = mismatch(path, rule.match);
    if (miss !== undefined) {
      misses.push({ role: rule.role, detail: miss });
      continue;
    }
    const id = fillTemplate(rule.id, path[0] as Certificate, rule.match);
    if (id !== undefined) return { identity: { role: rule.role, id }, misses };
    misses.push({ role: rule.role, detail: `the certificate has nothing to fill ${rule.id} with` });
  }
  return { misses };
}

type Match = RoleConfig['match'];

function mismatch(path: readonly Certificate[], match: Match): string | undefined {
  const leaf = path[0];
  if (leaf === undefined) return 'no certificate';
  const issuers = path.length > 1 ? path.slice(1).map((certificate) => certificate.subject) : [leaf.issuer];
  if (match.subject !== undefined) {
    const miss = nameMismatch(leaf.subject, match.subject);
    if (miss !== undefined) return `subject ${miss}`;
  }
  if (match.issuer !== undefined) {
    const wanted = match.issuer;
    if (!issuers.some((name) => nameMismatch(name, wanted) === undefined)) return 'issuer: no CA on the path matches';
  }
  if (match.san !== undefined) {
    const miss = sanMismatch(leaf.subjectAltNames, match.san);
    if (miss !== undefined) return miss;
  }
  if (match.policy !== undefined && !match.policy.some((oid) => leaf.policies.includes(oid))) return 'policy: none of those wanted';
  if (match.eku !== undefined && !match.eku.some((oid) => leaf.extendedKeyUsage?.includes(oid))) return 'eku: none of those wanted';
  return undefined;
}

function nameMismatch(name: Name, wanted: Readonly<Record<string, readonly string[]>>): string | undefined {
  for (const [type, patterns] of Object.entries(wanted)) {
    const values = attributeValues(name, type);
    if (!patterns.some((pattern) => values.some((value) => matchesText(pattern, value)))) return `${type} is ${list(values)}`;
  }
  return undefined;
}

function sanMismatch(names: readonly GeneralName[], wanted: NonNullable<Match['san']>): string | undefined {
  for (const [kind, patterns] of sanConditions(wanted)) {
    const values = sanValues(names, kind);
    if (!patterns.some((pattern) => values.some((value) => matchesText(pattern, value)))) return `san.${kind} is ${list(values)}`;
  }
  return undefined;
}

function sanConditions({ other, ...kinds }: NonNullable<Match['san']>): readonly (readonly [string, readonly string[]])[] {
  return [...Object.entries(kinds), ...Object.entries(other ?? {}).map(([oid, patterns]) => [`other.${oid}`, patterns] as const)];
}

/** The values of one attribute type (`CN`, `OU`, … or a dotted OID), most significant RDN first. */
function attributeValues(name: Name, type: string): readonly string[] {
  return name.rdns.flatMap((rdn) => rdn.filter((attribute) => attribute.type === type || attribute.oid === type).map((attribute) => attribute.value));
}

/** The values of one kind of subject alternative name: `dns email uri ip upn`, or `other.` and the OID of an otherName. */
function sanValues(names: readonly GeneralName[], kind: string): readonly string[] {
  return names.flatMap((name) => {
    if (name.kind === 'other') {
      const wanted = kind === 'upn' ? UPN : kind.slice('other.'.length);
      return wanted === name.oid && name.text !== undefined ? [name.text] : [];
    }
    return name.kind === kind && 'value' in name ? [name.value] : [];
  });
}

const UPN = '1.3.6.1.4.1.311.20.2.3';

/**
 * Whole-value comparison, case-insensitive with inner blanks folded as RFC 5280 section 7.1 asks of names; `*` stands for
 * any run of characters. Compared piece by piece: a pattern never becomes a regular expression, so nothing half-anchors.
 */
export function matchesText(pattern: string, value: string): boolean {
  return fitsPieces(prepare(pattern).split('*'), prepare(value));
}

/** Whether a text consists of these pieces in their order, with anything or nothing between each two; octet for octet. */
export function fitsPieces(pieces: readonly string[], text: string): boolean {
  const first = pieces[0] as string;
  if (pieces.length === 1) return text === first;
  const last = pieces[pieces.length - 1] as string;
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false;
  let from = first.length;
  const end = text.length - last.length;
  for (const piece of pieces.slice(1, -1)) {
    const at = text.indexOf(piece, from);
    if (at === -1 || at + piece.length > end) return false;
    from = at + piece.length;
  }
  return true;
}

function prepare(text: string): string {
  return text.normalize('NFKC').toLowerCase().trim().replace(/\s+/g, ' ');
}

const PLACEHOLDER = /\{([^{}]*)\}/g;

/**
 * Fills `{subject.CN}`, `{san.uri}`, `{serial}`… An attribute that is absent, empty, or that occurs more than once without
 * being singled out by the rule's own match gives no id: an id that could mean two people is none.
 */
function fillTemplate(template: string, leaf: Certificate, match: Match): string | undefined {
  let complete = true;
  const filled = template.replace(PLACEHOLDER, (_, key: string) => {
    const value = templateValue(key, leaf, match);
    if (value === undefined || !PRINTABLE.test(value)) complete = false;
    return value ?? '';
  });
  return complete ? filled : undefined;
}

// The id goes into a header field of the upstream request: control characters would end it there, and half a surrogate pair would read as another's.
// eslint-disable-next-line no-control-regex
const PRINTABLE = /^(?!\s*$)[^\u0000-\u001f\u007f-\u009f\u2028\u2029\p{Cs}]+$/u;

function templateValue(key: string, leaf: Certificate, match: Match): string | undefined {
  if (key === 'serial') return leaf.serial;
  if (key === 'fingerprint') return leaf.sha256;
  const dot = key.indexOf('.');
  const [group, type] = [key.slice(0, dot), key.slice(dot + 1)];
  if (group === 'subject') return single(attributeValues(leaf.subject, type), match.subject?.[type] ?? []);
  if (group === 'issuer') return single(attributeValues(leaf.issuer, type), []);
  if (group === 'san') {
    const patterns = sanConditions(match.san ?? {}).find(([kind]) => kind === type)?.[1];
    return single(sanValues(leaf.subjectAltNames, type), patterns ?? []);
  }
  return undefined;
}

function single(values: readonly string[], patterns: readonly string[]): string | undefined {
  const fitting = patterns.length === 0 ? values : values.filter((value) => patterns.some((pattern) => matchesText(pattern, value)));
  return fitting.length === 1 ? fitting[0] : undefined;
}

function list(values: readonly string[]): string {
  return values.length === 0 ? 'absent' : values.join(', ');
}
