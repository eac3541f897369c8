import { holdsOneOf, type Identity } from '../identity/roles.ts';
import type { Rate } from '../config/schema.ts';
import { countedAs } from '../pki/twin.ts';
import type { Admission } from './facts.ts';
import { addressGroup } from './networks.ts';

/** Whose requests are counted together. */
export type CountedBy = 'certificate' | 'address' | 'role' | 'route';

/** A limit on how often something may be asked, as the configuration has it. */
export interface RateConfig {
  readonly per: CountedBy;
  readonly rate: readonly Rate[];
  readonly roles?: readonly string[];
  readonly count: 'requests' | 'denials';
}

/** The same, made ready. */
export interface RateRule {
  /** Where it stands: the name of the route or `gateway`, and its place there. Counts go by it. */
  readonly id: string;
  readonly per: CountedBy;
  readonly roles: ReadonlySet<string> | undefined;
  /** Whether only what is denied counts. */
  readonly denials: boolean;
  /** The shortest window first: what fails there is not counted in the longer ones. */
  readonly windows: readonly Rate[];
}

/** One count that a request runs into. */
export interface Counter {
  readonly rule: string;
  readonly per: CountedBy;
  /** Whose count it is. */
  readonly key: string;
  readonly windows: readonly Rate[];
  /** Whether the request adds to it, or only has to find it below its limit. */
  readonly adds: boolean;
}

/** How a count stands in one of its windows. */
export interface Standing {
  readonly per: CountedBy;
  /** As the configuration has it: `10/minute`. */
  readonly rate: string;
  readonly limit: number;
  /** Milliseconds. */
  readonly window: number;
  readonly remaining: number;
  /** Milliseconds until the window ends. */
  readonly resets: number;
}

/** What counting came to. */
export type LimitFinding =
  | { readonly kind: 'within'; readonly standings: readonly Standing[] }
  /** `exceeded`: the one that is used up. */
  | { readonly kind: 'exceeded'; readonly rule: string; readonly exceeded: Standing; readonly standings: readonly Standing[] };

const ORDER: readonly CountedBy[] = ['certificate', 'address', 'role', 'route'];

/** Makes limits ready; `place` is where they stand. A client's own counts come first: what fails there must not use up what all share. */
export function compileRates(place: string, configs: readonly RateConfig[]): readonly RateRule[] {
  return configs
    .map(({ per, rate, roles, count }, index) => ({
      id: `${place}#${index}`, per, roles: roles === undefined ? undefined : new Set(roles), denials: count === 'denials', windows: rate.toSorted((one, other) => one.window - other.window),
    }))
    .toSorted((one, other) => ORDER.indexOf(one.per) - ORDER.indexOf(other.per));
}

/** Who asks, as far as counting goes. */
export interface Counted {
  readonly admission: Admission;
  readonly address: string;
  readonly route: string;
}

/** The counts that a request runs into before it is served. */
export function countersOf(rules: readonly RateRule[], counted: Counted): readonly Counter[] {
  return rules.flatMap((rule) => counterOf(rule, counted, !rule.denials));
}

/**
 * The counts that a denied request adds to: those of denials, and those of its address, so that guessing costs. `asked`: it has
 * added to those of requests already.
 */
export function denialCounters(rules: readonly RateRule[], counted: Counted, asked: boolean): readonly Counter[] {
  return rules.flatMap((rule) => (rule.denials || (!asked && rule.per === 'address') ? counterOf(rule, counted, true) : []));
}

function counterOf({ id, per, roles, windows }: RateRule, counted: Counted, adds: boolean): readonly Counter[] {
  const identity = counted.admission.kind === 'known' ? counted.admission.identity : undefined;
  if (roles !== undefined && (identity === undefined || !holdsOneOf(identity, roles))) return [];
  const key = keyOf(per, counted, identity);
  return key === undefined ? [] : [{ rule: id, per, key, windows, adds }];
}

function keyOf(per: CountedBy, { admission, address, route }: Counted, identity: Identity | undefined): string | undefined {
  switch (per) {
    // Who comes without one is counted by address: a public route has a limit, too.
    case 'certificate': return admission.kind === 'anonymous' || admission.leaf === undefined ? addressGroup(address) : countedAs(admission.leaf);
    case 'address': return addressGroup(address);
    case 'role': return identity?.role;
    case 'route': return route;
  }
}

/**
 * Header fields that tell a client how its own counts stand, as a flat list (draft-ietf-httpapi-ratelimit-headers-10), and when to
 * come again once one is used up (RFC 9110 section 10.2.3). What all share stays untold.
 */
export function rateLimitFields(finding: LimitFinding): readonly string[] {
  const own = finding.standings.filter(({ per }) => per === 'certificate' || per === 'address');
  const fields: string[] = [];
  if (own.length > 0) {
    fields.push('ratelimit-policy', own.map(({ rate, limit, window }) => `"${rate}";q=${limit};w=${window / 1000}`).join(', '));
    fields.push('ratelimit', own.map(({ rate, remaining, resets }) => `"${rate}";r=${remaining};t=${seconds(resets)}`).join(', '));
  }
  if (finding.kind === 'exceeded') fields.push('retry-after', String(Math.max(1, seconds(finding.exceeded.resets))));
  return fields;
}

function seconds(milliseconds: number): number {
  return Math.ceil(milliseconds / 1000);
}
