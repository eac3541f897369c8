import { heldCertificates } from './admin/held-certificates.ts';
import { tiersOf } from './audit/expiry/configured.ts';
import type { ExpiryList, ExpiryStanding } from './audit/expiry/open.ts';
import { reportOf, type EntryReport } from './audit/expiry/report.ts';
import { endingOf, type Watched } from './audit/expiry/watched.ts';
import { tierText } from './audit/expiry/words.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { Dispatch } from './dispatch.ts';
import type { Log } from './log.ts';
import { pausesOf } from './pauses.ts';
import { ENDED, tierOf } from './pki/ending.ts';
import type { SuspensionOrder } from './policy/suspensions.ts';
import type { CrlSummary } from './revocation/crl-store.ts';

/** Everything that ends, as operators are shown it. */
export interface ExpiryReport {
  /** The tiers, longest first, and `ended` after them. */
  readonly tiers: readonly string[];
  /** The first to end first. */
  readonly certificates: readonly EntryReport[];
  /** How many there are beside those. */
  readonly more: number;
  /** Routes that are paused. */
  readonly paused: readonly SuspensionOrder[];
  readonly channels: ExpiryStanding['channels'];
}

/** How much is in each tier, in short. */
export interface ExpirySummary {
  readonly ending: readonly { readonly use: Watched['use']; readonly tier: string; readonly count: number }[];
  readonly channels: ExpiryStanding['channels'];
}

/** What ends, seen from the main thread: it knows what is held, and pauses routes; the thread that gets the records warns. */
export interface Expiry {
  /** To be called about once a second, and when what is held has changed. */
  look(): void;
  /** What ends within so many ms; `most` of it. */
  report(within: number, most: number): Promise<ExpiryReport>;
  summary(): Promise<ExpirySummary>;
  pauses(): readonly SuspensionOrder[];
  /** The thread that warns has begun anew: it has to hear what is held. */
  again(): void;
}

export interface ExpiryOptions {
  readonly snapshot: () => Snapshot;
  readonly crls: () => readonly CrlSummary[];
  readonly dispatch: Pick<Dispatch, 'expiry'>;
  /** ms since the epoch */
  readonly now: () => number;
  readonly log: Log;
}

/** How often what is held is looked at. */
const LOOK_MS = 10_000;
/** The thread may have been replaced: it is told again. */
const AGAIN_MS = 60_000;
const USES = ['server', 'intermediate', 'client', 'ca', 'crl', 'user'] as const;

export function createExpiry({ snapshot, crls, dispatch, now, log }: ExpiryOptions): Expiry {
  let lookedAt: { readonly snapshot: Snapshot; readonly at: number } | undefined;
  let told: { readonly items: string; readonly at: number } | undefined;
  /** By key, the tier that the log was told of. */
  let logged = new Map<string, number>();

  function held(): readonly Watched[] {
    return watchedOf(snapshot(), crls());
  }

  function logNews(items: readonly Watched[]): void {
    const tiers = tiersOf(snapshot().config);
    const before = logged;
    logged = new Map();
    for (const item of items) {
      // Of CRLs those who fetch them say so.
      if (item.use === 'crl') continue;
      const tier = tierOf(tiers, endingOf(item), now());
      if (tier === undefined) continue;
      logged.set(item.key, tier);
      if (tier >= (before.get(item.key) ?? Infinity)) continue;
      const { use, name, places, until } = item;
      log.warn({ use, name, places, ends: new Date(until).toISOString(), tier: tierText(tier) }, tier === ENDED ? 'something that is in use has ended' : 'something that is in use ends soon');
    }
  }

  function tell(items: readonly Watched[]): void {
    if (snapshot().config.expiry === undefined) return;
    const text = JSON.stringify(items);
    const at = performance.now();
    if (told?.items === text && at - told.at < AGAIN_MS) return;
    told = { items: text, at };
    dispatch.expiry({ kind: 'hold', items }).catch(() => {
      told = undefined;
    });
  }

  function standing(): Promise<ExpiryStanding> {
    return dispatch.expiry<ExpiryStanding>({ kind: 'standing' }).catch(() => ({ users: {}, channels: [] }));
  }

  return {
    look() {
      const at = performance.now();
      const isTold = told !== undefined || snapshot().config.expiry === undefined;
      if (lookedAt?.snapshot === snapshot() && at - lookedAt.at < LOOK_MS && isTold) return;
      lookedAt = { snapshot: snapshot(), at };
      const items = held();
      logNews(items);
      tell(items);
    },
    again() {
      told = undefined;
      tell(held());
    },
    async report(within, most) {
      const [list, { channels }] = await Promise.all([dispatch.expiry<ExpiryList>({ kind: 'list', within, most }).catch(() => undefined), standing()]);
      const tiers = tiersOf(snapshot().config);
      const { entries, more } = list ?? heldList(held(), tiers, { within, most, now: now() });
      return { tiers: [...tiers, ENDED].map(tierText), certificates: entries, more, paused: pausesOf(snapshot(), now()), channels };
    },
    async summary() {
      const { users, channels } = await standing();
      const tiers = [...tiersOf(snapshot().config), ENDED];
      const items = held().map((item) => ({ use: item.use, tier: tierOf(tiers.slice(0, -1), endingOf(item), now()) }));
      const count = (use: Watched['use'], tier: number): number => (use === 'user' ? users[tier] ?? 0 : items.filter((item) => item.use === use && item.tier === tier).length);
      return { ending: USES.flatMap((use) => tiers.map((tier) => ({ use, tier: tierText(tier), count: count(use, tier) }))), channels };
    },
    pauses: () => pausesOf(snapshot(), now()),
  };
}

/** What is held, as it is shown where nobody is told of it. */
function heldList(items: readonly Watched[], tiers: readonly number[], { within, most, now }: { readonly within: number; readonly most: number; readonly now: number }): ExpiryList {
  const found = items.filter(({ until }) => until - now <= within).toSorted((left, right) => left.until - right.until);
  return { entries: found.slice(0, most).map((item) => reportOf(item, { tiers, now, isInUse: true, waiting: [] })), more: Math.max(0, found.length - most) };
}

/** Everything that a configuration holds, each certificate once with all that uses it, and the CRLs in force. */
export function watchedOf(snapshot: Snapshot, crls: readonly CrlSummary[]): readonly Watched[] {
  const certificates = [...Map.groupBy(heldCertificates(snapshot), ({ kind, sha256 }) => `${kind} ${sha256}`)].flatMap(([key, same]): Watched[] => {
    const [first] = same;
    if (first === undefined) return [];
    const { kind, subject, serial, notBefore, notAfter } = first;
    return [{ key, use: kind, name: subject, places: [...new Set(same.map(({ owner }) => owner))], serial, from: notBefore, until: notAfter }];
  });
  return [...certificates, ...crls.filter(({ nextUpdate }) => Number.isFinite(nextUpdate)).map(({ source, issuer, thisUpdate, nextUpdate, delta }): Watched => ({
    key: `crl ${source} ${issuer} ${delta ? 'delta ' : ''}${nextUpdate}`, use: 'crl', name: issuer, places: [source], from: thisUpdate, until: nextUpdate,
  }))];
}
