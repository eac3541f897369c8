import type { Name, NameAttribute } from '../pki/name.ts';
import { leafOf, listed, type Condition } from './condition.ts';
import { compilePattern, fitsPrepared, type Pattern } from './patterns.ts';

export type NameMatch = Readonly<Record<string, readonly string[]>>;

/** The patterns of a name's attributes, by type or OID. */
export type NamePatterns = readonly (readonly [type: string, patterns: readonly Pattern[]])[];

export function compileName(wanted: NameMatch): NamePatterns {
  return Object.entries(wanted).map(([type, patterns]) => [type, patterns.map((pattern) => compilePattern(pattern, 'name'))]);
}

/** The first attribute that no pattern fits; undefined when each is met by a value of its type, in whichever RDN that stands. */
export function nameMiss(name: Name, wanted: NamePatterns): string | undefined {
  for (const [type, patterns] of wanted) {
    const attributes = attributesOf(name, type);
    if (!patterns.some((pattern) => attributes.some(({ value, prepared }) => fitsPrepared(pattern, value, prepared)))) return `${type} is ${listed(attributes.map(({ value }) => value))}`;
  }
  return undefined;
}

/**
 * The texts of one attribute type (`CN`, `OU`, … or a dotted OID), most significant RDN first, those of multi-valued RDNs included. A
 * value that is no string is none of them: what stands for it is text as well.
 */
export function attributeValues(name: Name, type: string): readonly string[] {
  return attributesOf(name, type).map(({ value }) => value);
}

function attributesOf(name: Name, type: string): readonly NameAttribute[] {
  return name.rdns.flatMap((rdn) => rdn.filter((attribute) => attribute.opaque !== true && (attribute.type === type || attribute.oid === type)));
}

export function subjectCondition(subject: NameMatch): Condition {
  const wanted = compileName(subject);
  return (shown) => {
    const miss = nameMiss(leafOf(shown).subject, wanted);
    return miss === undefined ? undefined : `subject ${miss}`;
  };
}

/** Met by any CA of the path; by the issuer's name alone where a pinned leaf has none. */
export function issuerCondition(issuer: NameMatch): Condition {
  const wanted = compileName(issuer);
  return ({ path }) => {
    const issuers = path.length > 1 ? path.slice(1).map(({ subject }) => subject) : path.map((leaf) => leaf.issuer);
    return issuers.some((name) => nameMiss(name, wanted) === undefined) ? undefined : 'issuer: no CA on the path matches';
  };
}
