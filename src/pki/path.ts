import { DEFAULT_ALGORITHMS } from './algorithms.ts';
import type { AlgorithmProfile } from './algorithms.ts';
import type { Certificate, KeyUsage } from './certificate.ts';
import { formatName } from './name.ts';
import { checkPath } from './path-checks.ts';
import type { PathFault, PathReason, Purpose } from './path-checks.ts';
import type { PolicyInputs } from './policy-graph.ts';
import { CertificatePool } from './pool.ts';

export { CertificatePool, createPool, withIntermediates } from './pool.ts';
export type { PathReason, Purpose } from './path-checks.ts';

export interface PathOptions {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** How far an issuer's clock may be ahead of ours, in ms: applies to notBefore only, so that nothing lives longer by it. */
  readonly skew?: number;
  readonly purpose: Purpose;
  /** A key usage that the leaf must have if it names any, beside what the purpose asks for. */
  readonly keyUsage?: KeyUsage;
  readonly algorithms?: AlgorithmProfile;
  readonly policies?: PolicyInputs;
  /** CA certificates between leaf and anchor, self-issued ones not counted; default 8. */
  readonly maxIntermediates?: number;
  /** `positive` (default): 1 to 20 octets, as section 4.1.2.2 has it. `any`: what issuers that do not conform have made. */
  readonly serials?: 'positive' | 'any';
  /** SHA-256 of intermediates not to go through, such as those known to be revoked: another path may do without them. */
  readonly avoid?: ReadonlySet<string>;
  /** Bounds on one search; defaults 32 signatures that were not remembered, 256 candidates. */
  readonly budget?: { readonly signatures: number; readonly candidates: number };
}

export type PathVerdict =
  | {
      readonly kind: 'valid';
      /** Leaf first, trust anchor last; a pinned leaf is alone. */
      readonly path: readonly Certificate[];
      /** The path is valid while `now` is below this: the end of the earliest notAfter on it. */
      readonly validUntil: number;
      /** The user-constrained policy set of section 6.1.6; `2.5.29.32.0` alone: any. Empty: none holds, and none was asked. */
      readonly policies: readonly string[];
    }
  | { readonly kind: 'invalid'; readonly reason: PathReason; readonly detail: string };

const DEFAULT_MAX_INTERMEDIATES = 8;
const DEFAULT_BUDGET = { signatures: 32, candidates: 256 };

/**
 * Finds a path from `leaf` to a trust anchor of `pool` and validates it by RFC 5280 section 6.1; anchors are held to their
 * own validity, constraints and usages as well (RFC 5937). Every signature is verified by us. If no path is valid the reason
 * is that of the one that came furthest: an expired issuer rather than an unknown one. Pure, synchronous, bounded.
 */
export function validatePath(leaf: Certificate, pool: CertificatePool, options: PathOptions): PathVerdict {
  const search = startSearch(pool, options);
  return extend([leaf], search) ?? { kind: 'invalid', reason: search.furthest.reason, detail: search.furthest.detail };
}

interface Search {
  readonly pool: CertificatePool;
  readonly options: PathOptions;
  readonly algorithms: AlgorithmProfile;
  readonly maxIntermediates: number;
  signatures: number;
  candidates: number;
  exhausted: boolean;
  furthest: PathFault & { readonly progress: number };
}

type ValidPath = Extract<PathVerdict, { readonly kind: 'valid' }>;

function startSearch(pool: CertificatePool, options: PathOptions): Search {
  const { signatures, candidates } = options.budget ?? DEFAULT_BUDGET;
  return {
    pool,
    options,
    algorithms: options.algorithms ?? DEFAULT_ALGORITHMS,
    maxIntermediates: options.maxIntermediates ?? DEFAULT_MAX_INTERMEDIATES,
    signatures,
    candidates,
    exhausted: false,
    furthest: { reason: 'untrusted_issuer', detail: 'no path', progress: -1 },
  };
}

/** Depth first from the leaf upwards, most promising issuer first; undefined when nothing above `path` leads anywhere. */
function extend(path: readonly Certificate[], search: Search): ValidPath | undefined {
  const top = path[path.length - 1] as Certificate;
  if (search.pool.isAnchor(top)) return conclude(path, search);
  const candidates = rankIssuers(top, search).filter((candidate) => !repeats(path, candidate) && search.options.avoid?.has(candidate.sha256) !== true);
  if (candidates.length === 0) {
    note(search, path, 1, { reason: 'untrusted_issuer', detail: `no trusted issuer of ${formatName(top.subject)}: ${formatName(top.issuer)}` });
  }
  for (const candidate of candidates) {
    if (search.exhausted) return undefined;
    if (!hasRoom(path, candidate, search)) continue;
    if (!isSignedBy(path, candidate, search)) continue;
    const found = extend([...path, candidate], search);
    if (found !== undefined) return found;
  }
  return undefined;
}

function conclude(path: readonly Certificate[], search: Search): ValidPath | undefined {
  const outcome = checkPath(path, { ...search.options, algorithms: search.algorithms });
  if (outcome.kind === 'valid') return { kind: 'valid', path, validUntil: outcome.validUntil, policies: outcome.policies };
  // Old certificates of renewed CAs stay around; that one of them has expired says less than what stops a current path.
  const timely = outcome.reason !== 'expired' && outcome.reason !== 'not_yet_valid';
  raise(search, COMPLETE + (timely ? 1 : 0), outcome);
  return undefined;
}

const COMPLETE = 1_000_000;

/** Failures are compared by how many links stood before them, then by how much they say. */
function note(search: Search, path: readonly Certificate[], weight: 1 | 2 | 3, fault: PathFault): void {
  raise(search, path.length * 10 + weight, fault);
}

function raise(search: Search, progress: number, { reason, detail }: PathFault): void {
  if (progress > search.furthest.progress) search.furthest = { reason, detail, progress };
}

// RFC 4158 section 5.2: the same name with the same key again is a loop, whatever else the certificate says.
function repeats(path: readonly Certificate[], candidate: Certificate): boolean {
  return path.some(({ sha256, spkiSha256, subject }) => sha256 === candidate.sha256 || (spkiSha256 === candidate.spkiSha256 && subject.normalized === candidate.subject.normalized));
}

function hasRoom(path: readonly Certificate[], candidate: Certificate, search: Search): boolean {
  search.candidates -= 1;
  if (search.candidates < 0) {
    exhaust(search, 'candidates');
    return false;
  }
  const between = path.slice(1).filter(({ selfIssued }) => !selfIssued).length;
  const added = search.pool.isAnchor(candidate) || candidate.selfIssued ? 0 : 1;
  if (between + added <= search.maxIntermediates) return true;
  note(search, path, 1, { reason: 'untrusted_issuer', detail: `no trust anchor within ${search.maxIntermediates} intermediate CAs` });
  return false;
}

function exhaust(search: Search, what: 'candidates' | 'signatures'): void {
  search.exhausted = true;
  raise(search, search.furthest.progress + 1, { reason: search.furthest.reason, detail: `${search.furthest.detail} (gave up: too many ${what})` });
}

function isSignedBy(path: readonly Certificate[], candidate: Certificate, search: Search): boolean {
  const child = path[path.length - 1] as Certificate;
  const verdict = search.pool.remembered(child, candidate, search.algorithms) ?? spendSignature(child, candidate, search);
  if (verdict === undefined) return false;
  if (verdict.kind === 'valid') return true;
  const detail = `${formatName(child.subject)} against the key of ${formatName(candidate.subject)}: ${verdict.detail}`;
  if (verdict.kind === 'not_allowed') note(search, path, 3, { reason: 'constraint_violated', detail });
  else if (keyMatch(child, candidate) === 'different') note(search, path, 1, { reason: 'untrusted_issuer', detail });
  else note(search, path, 2, { reason: 'signature_invalid', detail });
  return false;
}

function spendSignature(child: Certificate, candidate: Certificate, search: Search): ReturnType<CertificatePool['verify']> | undefined {
  search.signatures -= 1;
  if (search.signatures >= 0) return search.pool.verify(child, candidate, search.algorithms);
  exhaust(search, 'signatures');
  return undefined;
}

function keyMatch(child: Certificate, candidate: Certificate): 'same' | 'unknown' | 'different' {
  const wanted = child.authorityKeyIdentifier?.keyIdentifier;
  if (wanted === undefined || candidate.subjectKeyIdentifier === undefined) return 'unknown';
  return wanted === candidate.subjectKeyIdentifier ? 'same' : 'different';
}

/** Key identifiers and dates only order the candidates (section 4.2.1.1 has them as a hint); none is left out by them. */
function rankIssuers(child: Certificate, { pool, options }: Search): readonly Certificate[] {
  const issuers = pool.issuersOf(child);
  if (issuers.length < 2) return issuers;
  const rank = (candidate: Certificate): number => {
    const key = { same: 0, unknown: 4, different: 8 }[keyMatch(child, candidate)];
    const current = candidate.notBefore <= options.now && options.now < candidate.notAfter + 1000;
    return key + (pool.isAnchor(candidate) ? 0 : 2) + (current ? 0 : 1);
  };
  return issuers.toSorted((left, right) => rank(left) - rank(right));
}
