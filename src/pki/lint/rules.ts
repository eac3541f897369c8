/** How bad it is: an error is unsafe or does not work, a warning breaks a rule, a note is worth knowing. */
export type Severity = 'error' | 'warning' | 'note';

/** What a certificate is for; `upstream` is the gateway's own client certificate. */
export type CertificateUse = 'server' | 'client' | 'ca' | 'upstream' | 'unknown';

/** Every rule by its name; docs/lint.md has a row for each. */
export const LINT_RULES = [
  'unreadable', 'version', 'weak-key', 'key-size', 'weak-signature', 'not-yet-valid', 'expired', 'expiring', 'validity', 'san-missing', 'cn-only', 'cn-not-in-san',
  'name-malformed', 'wildcard', 'internal-name', 'eku-missing', 'eku-wrong', 'eku-broad', 'key-usage', 'basic-constraints', 'path-length', 'key-identifier',
  'critical-unknown', 'serial', 'serial-duplicate', 'validation', 'self-signed', 'chain-gap', 'chain-order', 'chain-extra', 'chain-root', 'key-reused', 'key-readable', 'key-mismatch',
] as const;

export type LintRule = (typeof LINT_RULES)[number];

/** What one rule says of one certificate. Texts may hold what the certificate holds: print them escaped. */
export interface Finding {
  readonly rule: LintRule;
  readonly severity: Severity;
  /** What was found, and what was expected with its source. */
  readonly detail: string;
  /** What to do about it. */
  readonly remedy: string;
}

/** How far a public CA has to have looked at who asks (CA/Browser Forum, Baseline Requirements section 7.1.6.1). */
export type ValidationLevel = 'dv' | 'ov' | 'ev';

export interface LintContext {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** The least validation that is demanded of a server certificate; absent: public ones with DV are warned of. */
  readonly validation?: ValidationLevel;
}

const DAY = 86_400_000;

/** A time span as people say it: whole days, hours below two of them. */
export function spanText(ms: number): string {
  return ms < 2 * DAY ? `${Math.max(0, Math.floor(ms / 3_600_000))} hours` : `${Math.floor(ms / DAY)} days`;
}

/** The day of a time, as `2026-11-22`. */
export function dayText(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}
