import type { Certificate } from './certificate.ts';

const ANY_POLICY = '2.5.29.32.0';

/** Inputs c to g of RFC 5280 section 6.1.1; everything absent: any policy will do, none is demanded. */
export interface PolicyInputs {
  /** user-initial-policy-set; absent: any policy. */
  readonly acceptable?: readonly string[];
  readonly requireExplicit?: boolean;
  readonly inhibitMapping?: boolean;
  readonly inhibitAny?: boolean;
}

export type PolicyOutcome =
  /** `policies`: the user-constrained policy set, in the trust anchor's terms; `2.5.29.32.0` alone if any will do. */
  | { readonly kind: 'satisfied'; readonly policies: readonly string[] }
  | { readonly kind: 'missing'; readonly detail: string };

interface PolicyNode {
  readonly policy: string;
  /** The policies that count as this one in the next certificate down. */
  readonly expected: Set<string>;
  readonly parents: Set<PolicyNode>;
}

type Level = Map<string, PolicyNode>;

/**
 * Policy processing of RFC 5280 section 6.1.2 to 6.1.5 over `path` (leaf first, the trust anchor last; a pinned leaf is
 * alone). The RFC draws a tree, in which a mapping doubles what is below it; nodes of one depth and policy are the same node
 * here, so a level is never wider than the policies that the certificates name (CVE-2023-0464).
 */
export function processPolicies(path: readonly Certificate[], inputs: PolicyInputs): PolicyOutcome {
  const certificates = path.length > 1 ? path.slice(0, -1).toReversed() : path;
  const n = certificates.length;
  let explicit = inputs.requireExplicit === true ? 0 : n + 1;
  let anyInhibit = inputs.inhibitAny === true ? 0 : n + 1;
  let mapping = inputs.inhibitMapping === true ? 0 : n + 1;
  let levels: Level[] = [new Map([[ANY_POLICY, node(ANY_POLICY, [])]])];
  for (const [index, certificate] of certificates.entries()) {
    const last = index === n - 1;
    levels = grow(levels, certificate, anyInhibit > 0 || (!last && certificate.selfIssued));
    if (explicit === 0 && levels.length === 0) return missing(certificate);
    if (last) {
      if (explicit > 0) explicit -= 1;
      if (certificate.policyConstraints?.requireExplicitPolicy === 0) explicit = 0;
      break;
    }
    const mapped = applyMappings(levels, certificate, mapping > 0);
    if (mapped === 'any') return { kind: 'missing', detail: 'a policy mapping names anyPolicy' };
    levels = mapped;
    if (!certificate.selfIssued) {
      explicit = Math.max(0, explicit - 1);
      mapping = Math.max(0, mapping - 1);
      anyInhibit = Math.max(0, anyInhibit - 1);
    }
    explicit = Math.min(explicit, certificate.policyConstraints?.requireExplicitPolicy ?? explicit);
    mapping = Math.min(mapping, certificate.policyConstraints?.inhibitPolicyMapping ?? mapping);
    anyInhibit = Math.min(anyInhibit, certificate.inhibitAnyPolicy ?? anyInhibit);
  }
  const policies = userConstrained(levels, inputs.acceptable);
  return explicit > 0 || policies.length > 0 ? { kind: 'satisfied', policies } : missing(certificates[n - 1] as Certificate);
}

function missing(certificate: Certificate): PolicyOutcome {
  const named = certificate.policies.length === 0 ? 'none' : certificate.policies.join(', ');
  return { kind: 'missing', detail: `no acceptable certificate policy holds along the path; the last certificate looked at names ${named}` };
}

function node(policy: string, parents: Iterable<PolicyNode>): PolicyNode {
  return { policy, expected: new Set([policy]), parents: new Set(parents) };
}

// Section 6.1.3 d and e. No levels stand for the RFC's NULL tree.
function grow(levels: Level[], certificate: Certificate, anyCounts: boolean): Level[] {
  const above = levels[levels.length - 1];
  if (above === undefined || certificate.policies.length === 0) return [];
  const level: Level = new Map();
  const byExpected = expectations(above);
  const any = above.get(ANY_POLICY);
  for (const policy of certificate.policies) {
    if (policy === ANY_POLICY) continue;
    const parents = byExpected.get(policy) ?? (any === undefined ? [] : [any]);
    if (parents.length > 0) level.set(policy, node(policy, parents));
  }
  if (anyCounts && certificate.policies.includes(ANY_POLICY)) {
    for (const [policy, parents] of byExpected) if (!level.has(policy)) level.set(policy, node(policy, parents));
  }
  return prune([...levels, level]);
}

/** Which nodes of a level expect which policy below them. */
function expectations(level: Level): Map<string, PolicyNode[]> {
  const byExpected = new Map<string, PolicyNode[]>();
  for (const candidate of level.values()) {
    for (const policy of candidate.expected) {
      const known = byExpected.get(policy);
      if (known === undefined) byExpected.set(policy, [candidate]);
      else known.push(candidate);
    }
  }
  return byExpected;
}

/** Removes what has nothing below it, from the last level up (section 6.1.3 d 3). */
function prune(levels: Level[]): Level[] {
  const kept: Level[] = [];
  let below: Level | undefined;
  for (const level of levels.toReversed()) {
    const needed: Level | undefined = below;
    const live: Level = needed === undefined ? level : withChildren(level, needed);
    if (live.size === 0) return [];
    kept.unshift(live);
    below = live;
  }
  return kept;
}

function withChildren(level: Level, below: Level): Level {
  const used = new Set([...below.values()].flatMap((child) => [...child.parents]));
  return new Map([...level].filter(([, candidate]) => used.has(candidate)));
}

// Section 6.1.4 a and b.
function applyMappings(levels: Level[], certificate: Certificate, allowed: boolean): Level[] | 'any' {
  const targets = new Map<string, Set<string>>();
  for (const { issuerDomain, subjectDomain } of certificate.policyMappings) {
    if (issuerDomain === ANY_POLICY || subjectDomain === ANY_POLICY) return 'any';
    targets.set(issuerDomain, (targets.get(issuerDomain) ?? new Set()).add(subjectDomain));
  }
  const level = levels[levels.length - 1];
  if (level === undefined || targets.size === 0) return levels;
  const mapped: Level = new Map(level);
  for (const [policy, expected] of targets) {
    const existing = level.get(policy);
    if (!allowed) mapped.delete(policy);
    else if (existing !== undefined) mapped.set(policy, { ...existing, expected });
    else {
      const any = level.get(ANY_POLICY);
      if (any !== undefined) mapped.set(policy, { policy, expected, parents: any.parents });
    }
  }
  return prune([...levels.slice(0, -1), mapped]);
}

/**
 * Section 6.1.5 g, as a set: the policies in the trust anchor's terms that reach the leaf, intersected with what the user
 * accepts. Those are the nodes whose parent is anyPolicy; where anyPolicy itself reaches the leaf, all that is accepted.
 */
function userConstrained(levels: readonly Level[], acceptable: readonly string[] | undefined): readonly string[] {
  const wanted = acceptable === undefined || acceptable.includes(ANY_POLICY) ? undefined : new Set(acceptable);
  const reached = new Set<string>();
  for (const level of levels.slice(1)) {
    for (const candidate of level.values()) {
      if (candidate.policy !== ANY_POLICY && [...candidate.parents].some((parent) => parent.policy === ANY_POLICY)) reached.add(candidate.policy);
    }
  }
  const anyAtLeaf = levels[levels.length - 1]?.has(ANY_POLICY) === true;
  if (wanted === undefined) return anyAtLeaf ? [ANY_POLICY] : [...reached];
  return anyAtLeaf ? [...wanted] : [...reached].filter((policy) => wanted.has(policy));
}
