/** Where a verdict about one certificate can come from. The deny list is asked first, always. */
export type RevocationSource = 'crl' | 'ocsp';

/** CRLReason of RFC 5280 section 5.3.1, by its ASN.1 names. */
export type RevocationReason =
  | 'unspecified'
  | 'keyCompromise'
  | 'cACompromise'
  | 'affiliationChanged'
  | 'superseded'
  | 'cessationOfOperation'
  | 'certificateHold'
  | 'removeFromCRL'
  | 'privilegeWithdrawn'
  | 'aACompromise';

const REASONS_BY_CODE: readonly (RevocationReason | undefined)[] = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  undefined,
  'removeFromCRL',
  'privilegeWithdrawn',
  'aACompromise',
];

/** The name of a CRLReason code; a code RFC 5280 does not define reads as `unspecified`: revoked all the same. */
export function revocationReason(code: number): RevocationReason {
  return REASONS_BY_CODE[code] ?? 'unspecified';
}

/** Why nothing is known; these are audit reasons of the contract. */
export type UnknownReason = 'crl_expired' | 'crl_missing' | 'ocsp_unavailable';

/**
 * What one source said about one certificate. All times are milliseconds since the epoch; `at` is when it was asked.
 * Structured-cloneable: statements travel between threads and are kept for `explain` and the audit.
 */
export type Statement = GoodStatement | RevokedStatement | UnavailableStatement;

export interface GoodStatement {
  readonly kind: 'good';
  readonly source: RevocationSource;
  readonly detail: string;
  readonly at: number;
  readonly thisUpdate: number;
  readonly nextUpdate?: number;
  /** No later than nextUpdate and the configured max_age: afterwards the source must be asked again. */
  readonly validUntil: number;
}

export interface RevokedStatement {
  readonly kind: 'revoked';
  readonly source: RevocationSource | 'denylist';
  readonly detail: string;
  readonly at: number;
  readonly thisUpdate?: number;
  readonly nextUpdate?: number;
  /** When to ask again at the latest; possibly past, since most revocations outlive their statement. */
  readonly validUntil?: number;
  readonly reason: RevocationReason;
  readonly revokedAt?: number;
  /**
   * True when the statement is past its validity and the reason is certificateHold, the only one that can be lifted.
   * It stands unless a fresh source says good. Every other revocation is final, however old the statement.
   */
  readonly provisional?: boolean;
}

export interface UnavailableStatement {
  readonly kind: 'unavailable';
  readonly source: RevocationSource;
  readonly reason: UnknownReason;
  readonly detail: string;
  readonly at: number;
  readonly thisUpdate?: number;
  readonly nextUpdate?: number;
  /** The last instant at which this source would have said good; what `allow_for` counts from. */
  readonly lastGoodAt?: number;
  /** True when there was nobody to ask: neither the configuration nor the certificate names a responder. */
  readonly absent?: boolean;
}

/** The verdict about one certificate, or about a whole path. Times in milliseconds since the epoch. */
export type Status =
  | { readonly kind: 'good'; readonly source: RevocationSource | 'none'; readonly validUntil: number }
  | {
      readonly kind: 'revoked';
      readonly source: RevocationSource | 'denylist';
      readonly detail: string;
      readonly at?: number;
    }
  | {
      readonly kind: 'unknown';
      readonly reason: UnknownReason;
      readonly detail: string;
      readonly lastGoodAt?: number;
    };

/** The status when nothing is to be checked: `check: off`, or a path that is only its anchor. */
export const UNCHECKED: Status = Object.freeze({ kind: 'good', source: 'none', validUntil: Infinity });

/**
 * The source to ask next, given what was said so far, in the configured order; undefined when the statements are
 * conclusive or every source has spoken.
 */
export function nextSource(
  sources: readonly RevocationSource[],
  statements: readonly Statement[],
): RevocationSource | undefined {
  if (statements.some(isConclusive)) return undefined;
  return sources.find((source) => !statements.some((statement) => statement.source === source));
}

/** True when no further source needs asking. */
function isConclusive(statement: Statement): boolean {
  switch (statement.kind) {
    case 'good':
      return true;
    case 'revoked':
      return statement.provisional !== true;
    case 'unavailable':
      return false;
  }
}

/**
 * The status of one certificate from everything that was said about it, the deny list's statement (if any) first.
 * A revocation by any consulted source wins over any good: whoever says revoked knows something the others do not yet.
 */
export function decideStatus(statements: readonly Statement[]): Status {
  const revoked = statements.find((statement) => statement.kind === 'revoked' && isConclusive(statement));
  if (revoked?.kind === 'revoked') return revokedStatus(revoked);
  const good = statements.find((statement) => statement.kind === 'good');
  if (good?.kind === 'good') return { kind: 'good', source: good.source, validUntil: good.validUntil };
  const provisional = statements.find((statement) => statement.kind === 'revoked');
  if (provisional?.kind === 'revoked') return revokedStatus(provisional);
  return unknownStatus(statements.filter((statement) => statement.kind === 'unavailable'));
}

function revokedStatus(statement: RevokedStatement): Status {
  return {
    kind: 'revoked',
    source: statement.source,
    detail: statement.detail,
    ...(statement.revokedAt === undefined ? {} : { at: statement.revokedAt }),
  };
}

// A source that exists and failed tells the operator more than one that was never there.
const TELLING: readonly UnknownReason[] = ['crl_expired', 'ocsp_unavailable', 'crl_missing'];

function unknownStatus(statements: readonly UnavailableStatement[]): Status {
  const reason = TELLING.find((candidate) => statements.some((statement) => statement.reason === candidate && statement.absent !== true));
  const lastGoodAt = latest(statements.map((statement) => statement.lastGoodAt));
  return {
    kind: 'unknown',
    reason: reason ?? statements[0]?.reason ?? 'crl_missing',
    detail: statements.map((statement) => statement.detail).join('; ') || 'no revocation source was asked',
    ...(lastGoodAt === undefined ? {} : { lastGoodAt }),
  };
}

function latest(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}

/** One certificate whose status matters, with what its status is judged by. */
export interface Question<C> {
  readonly certificate: C;
  readonly issuer: C;
  /** The anchor of the path: a CRL signed by another key than the issuer's counts only below the same anchor. */
  readonly anchor: C;
}

/**
 * The certificates of a path (leaf first, anchor last) whose status matters, each with its issuer. The anchor is trusted
 * by configuration, not by its own CA, so it is never among them; a pinned leaf has nothing to check.
 */
export function certificatesToCheck<C>(path: readonly C[], check: 'leaf' | 'chain' | 'off'): readonly Question<C>[] {
  const anchor = path.at(-1);
  if (check === 'off' || anchor === undefined) return [];
  const below = path.slice(0, -1).map((certificate, index) => ({ certificate, issuer: path[index + 1]!, anchor }));
  return check === 'leaf' ? below.slice(0, 1) : below;
}

/**
 * The status of a path from that of its certificates, leaf first: revoked over unknown over good; a good path is good
 * until the first of its certificates has to be asked about again. `lastGoodAt` of a path is the earliest of its
 * unknown members', and absent when one of them never was good.
 */
export function combineStatuses(statuses: readonly Status[]): Status {
  const revoked = statuses.find((status) => status.kind === 'revoked');
  if (revoked !== undefined) return revoked;
  const unknowns = statuses.filter((status) => status.kind === 'unknown');
  const firstUnknown = unknowns[0];
  if (firstUnknown !== undefined) {
    const { lastGoodAt: _, ...unknown } = firstUnknown;
    const times = unknowns.map((status) => status.lastGoodAt).filter((time) => time !== undefined);
    return times.length === unknowns.length ? { ...unknown, lastGoodAt: Math.min(...times) } : unknown;
  }
  return statuses.reduce((first, status) =>
    first.kind === 'good' && status.kind === 'good' && status.validUntil < first.validUntil ? status : first,
  UNCHECKED);
}

/** `revocation.unavailable` of the contract; `allow_for` in milliseconds. */
export type UnavailablePolicy = 'deny' | 'allow' | { readonly allow_for: number };

/** Whether an unknown status is admitted by exception, and until when (milliseconds since the epoch). */
export type UnknownAdmission = { readonly kind: 'deny' } | { readonly kind: 'admit'; readonly until: number };

/**
 * What the policy says about a certificate whose status is unknown. `allow_for` counts from `lastGoodAt`, the last instant
 * at which a source would have said good; a certificate nobody ever vouched for gets nothing from it.
 */
export function admitUnknown(
  policy: UnavailablePolicy,
  lastGoodAt: number | undefined,
  now: number,
): UnknownAdmission {
  if (policy === 'deny') return { kind: 'deny' };
  if (policy === 'allow') return { kind: 'admit', until: Infinity };
  if (lastGoodAt === undefined) return { kind: 'deny' };
  const until = lastGoodAt + policy.allow_for;
  return now < until ? { kind: 'admit', until } : { kind: 'deny' };
}
