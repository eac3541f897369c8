import { attemptOf } from '../attempts.ts';
import type { AuditRecord } from '../record.ts';
import { exemptOf } from './exempt.ts';
import { whoOf, type Rule, type RuleName, type SettingsOf } from './rule.ts';
import { countIn, countWith, total, type Counted } from './window.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Attempts whose other record may still come. */
const ATTEMPTS = 8;

interface CountRule {
  readonly name: RuleName;
  readonly window: number;
  readonly wanted: number;
  readonly exempt: (record: AuditRecord) => boolean;
  /** Whose count a record goes to; undefined: nobody's. */
  readonly whose: (record: AuditRecord) => string | undefined;
  readonly text: (record: AuditRecord, count: number) => string;
  /** ms */
  readonly quiet: number;
}

/** So many records in a window. */
function countRule({ name, window, wanted, exempt, whose, text, quiet }: CountRule): Rule {
  return {
    name,
    look({ record }, { time, trigger, acknowledged }, memory) {
      const subject = whose(record);
      if (subject === undefined || exempt(record)) return undefined;
      const since = acknowledged(subject);
      if (time <= since) return undefined;
      const before = memory.get(subject) as Counted | undefined;
      const attempt = attemptOf(record);
      if (attempt !== undefined && before?.attempts?.some((one) => one.startsWith(`${attempt.id} `) && one !== `${attempt.id} ${attempt.event}`)) return undefined;
      const next = countWith(before, time, window, wanted, trigger, since);
      const counted = attempt === undefined ? next : { ...next, attempts: [...next.attempts ?? [], `${attempt.id} ${attempt.event}`].slice(-ATTEMPTS) };
      memory.set(subject, counted);
      const count = total(counted);
      return count < wanted ? undefined : { subject, text: text(record, count), before: counted.last?.slice(0, -1) ?? [], quiet };
    },
  };
}

function inMinutes(window: number): string {
  return window < 2 * MINUTE_MS ? `${Math.round(window / 1_000)} s` : `${Math.round(window / MINUTE_MS)} min`;
}

export function manyDenials({ denials, window, except, exempt }: SettingsOf<'many_denials'>): Rule {
  const left = new Set(except);
  return countRule({
    name: 'many_denials', window, wanted: denials, exempt: exemptOf(exempt), quiet: HOUR_MS,
    whose: (record) => {
      const { event, result, reason } = record;
      if (result !== 'denied' || (event !== 'request' && event !== 'connection' && event !== 'second_factor')) return undefined;
      return reason !== undefined && left.has(reason) ? undefined : whoOf(record);
    },
    text: ({ fingerprint, reason }, count) => `${fingerprint === undefined ? 'a client without a known certificate' : 'a certificate'} was denied ${count} times in ${inMinutes(window)}, last for ${reason ?? 'a reason of its own'}`,
  });
}

/** What is put on the deny list; what is taken off it is none. */
export function isRevocation({ event, result, reason }: AuditRecord): boolean {
  return event === 'revocation' && result === 'done' && reason === 'revoked_denylist';
}

export function manyRevocations({ revocations, window, exempt }: SettingsOf<'many_revocations'>): Rule {
  return countRule({
    name: 'many_revocations', window, wanted: revocations, exempt: exemptOf(exempt), quiet: 12 * HOUR_MS,
    whose: (record) => (isRevocation(record) ? 'the deny list' : undefined),
    text: (_, count) => `${count} entries were put on the deny list in ${inMinutes(window)}`,
  });
}

export function certificateRequests({ requests, window, exempt }: SettingsOf<'certificate_requests'>): Rule {
  return countRule({
    name: 'certificate_requests', window, wanted: requests, exempt: exemptOf(exempt), quiet: HOUR_MS,
    whose: (record) => (record.event === 'certificate_request' ? whoOf(record) ?? 'the command line' : undefined),
    text: (_, count) => `${count} certificates were asked for by one requester in ${inMinutes(window)}`,
  });
}

/** How many requests a certificate makes at most. */
interface Usual {
  /** ms since the epoch */
  readonly since: number;
  readonly now: Counted;
  /** Days since the epoch. */
  readonly day: number;
  /** The most of this day, and of those before. */
  readonly today: number;
  readonly most: number;
}

/** What of the most of earlier days is left a day later: half of it in three weeks. */
const FADES = 0.968;

/**
 * Requests beyond a number and beyond a multiple of the certificate's own usual most, which is that of the days before: interfaces between
 * systems ask more in a minute than people do in a day. A burst that was told of does not become usual.
 */
export function requestBurst({ learn, requests, window, times, exempt }: SettingsOf<'request_burst'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'request_burst',
    look({ record }, { time, trigger, acknowledged }, memory) {
      const { event, fingerprint } = record;
      if (event !== 'request' || fingerprint === undefined || isExempt(record)) return undefined;
      const subject = `certificate ${fingerprint}`;
      const since = acknowledged(subject);
      if (time <= since) return undefined;
      const before = usualOn(Math.floor(time / DAY_MS), memory.get(fingerprint) as Usual | undefined, time);
      const wanted = Math.max(requests, times * before.most);
      const now = countWith(before.now, time, window, wanted, trigger, since);
      const count = total(now);
      const burst = count >= wanted && time - before.since >= learn;
      memory.set(fingerprint, { since: before.since, now, day: before.day, today: burst ? before.today : Math.max(before.today, count), most: before.most } satisfies Usual);
      if (!burst) return undefined;
      return { subject, text: `a certificate made ${count} requests in ${inMinutes(window)}`, before: now.last?.slice(0, -1) ?? [], quiet: HOUR_MS };
    },
  };
}

/** What was usual by a day; a record of a day before counts as one of the newest. */
function usualOn(day: number, before: Usual | undefined, time: number): Omit<Usual, 'now'> & { readonly now: Counted | undefined } {
  if (before === undefined) return { since: time, now: undefined, day, today: 0, most: 0 };
  if (day <= before.day) return before;
  return { ...before, day, today: 0, most: Math.max(before.today * FADES, before.most * FADES ** (day - before.day)) };
}

/** What a source of statuses said that nobody can have meant: it is told of at once. */
const FORGED = /signature|not signed|delegated responder|another certificate|another nonce/i;
/** RFC 5280 section 5.2.3: numbers only grow. An old list is what somebody puts there to whom a new one does harm. */
const OLDER = /^CRL of .* is older than /;

/**
 * A responder or distribution point that fails again and again, is out of date, or answers what is not its own. The gateway puts each
 * failure on record as `responder`.
 */
export function responder({ failures, window, exempt }: SettingsOf<'responder'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'responder',
    look({ record }, { time, trigger, acknowledged }, memory) {
      if (record.event !== 'responder' || record.result !== 'failed' || isExempt(record)) return undefined;
      const subject = `responder ${record.endpoint ?? 'unnamed'}`;
      const since = acknowledged(subject);
      if (time <= since) return undefined;
      const counted = countIn(memory.get(subject) as Counted | undefined, time, window, since);
      const kept = { ...counted, last: [...counted.last ?? [], trigger()].slice(-failures) };
      memory.set(subject, kept);
      const forged = FORGED.test(record.detail ?? '');
      const older = OLDER.test(record.detail ?? '');
      const count = total(counted);
      if (!forged && !older && count < failures) return undefined;
      return { subject, text: older ? 'a list of what is revoked is older than the one that was in use' : forged ? 'what says whether certificates are revoked gave an answer that is not signed as it has to be' : `what says whether certificates are revoked failed ${count} times in ${inMinutes(window)}`, before: kept.last.slice(0, -1), quiet: HOUR_MS };
    },
  };
}
