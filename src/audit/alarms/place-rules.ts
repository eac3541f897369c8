import type { AuditRecord } from '../record.ts';
import { exemptOf } from './exempt.ts';
import type { Places } from './places.ts';
import type { Finding, Rule, SettingsOf, Trigger } from './rule.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Places of a certificate that are remembered. */
const MOST_PLACES = 16;

/** Where a certificate is at home. Times in ms since the epoch. */
interface Home {
  readonly since: number;
  /** Requests while it is only watched. */
  readonly uses: number;
  readonly places: readonly Known[];
}

interface Known {
  readonly place: string;
  readonly last: number;
  /** Since when it has been told of; absent: it is familiar. */
  readonly strange?: number;
}

/** Who used a certificate, and where, as far as the request got in as somebody; undefined: nothing to learn. */
function useOf({ event, fingerprint, role, address }: AuditRecord): { readonly fingerprint: string; readonly role: string; readonly address: string } | undefined {
  if (event !== 'request' && event !== 'connection') return undefined;
  return fingerprint === undefined || role === undefined || address === undefined ? undefined : { fingerprint, role, address };
}

/**
 * A certificate at a place where it has not been. What is permitted teaches, what is denied does not: knocking must not make a place
 * familiar. A place that was told of is familiar a day later, if it was let in: somebody has been told.
 */
export function unfamiliarAddress({ learn, least, roams, forget, exempt }: SettingsOf<'unfamiliar_address'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'unfamiliar_address',
    look({ record }, { time, places, acknowledged }, memory) {
      const use = useOf(record);
      if (use === undefined || isExempt(record)) return undefined;
      const permitted = record.result === 'permitted' || record.result === 'done';
      const place = places.of(use.address, use.role);
      const before = memory.get(use.fingerprint) as Home | undefined;
      const home: Home = before ?? { since: time, uses: 0, places: [] };
      const learnt = time - home.since >= learn && home.uses >= least;
      const known = home.places.find((one) => one.place === place && time - one.last < forget);
      const strange = known === undefined ? learnt && home.places.filter(({ last }) => time - last < forget).length <= roams : isStrange(known, time, permitted);
      if (permitted || strange) {
        const next = keep(home, { place, last: Math.max(time, known?.last ?? 0), ...(strange ? { strange: known?.strange ?? time } : {}) }, permitted && home.uses < least);
        // Written once an hour where nothing but the time is new.
        if (next.uses !== home.uses || known === undefined || time - known.last > HOUR_MS || (known.strange === undefined) === strange) memory.set(use.fingerprint, next);
      }
      if (!strange) return undefined;
      const subject = `certificate ${use.fingerprint}`;
      // Acknowledged are the places that were told of, and no other.
      const covered = (known?.strange ?? time) <= acknowledged(subject);
      return { subject, text: `a certificate of role ${use.role} is used at ${place}, where it was never used before`, quiet: DAY_MS, ...(covered ? { covers: DAY_MS } : {}) };
    },
  };
}

function isStrange({ strange }: Known, time: number, permitted: boolean): boolean {
  return strange !== undefined && (time - strange < DAY_MS || !permitted);
}

function keep({ since, uses, places }: Home, seen: Known, counts: boolean): Home {
  const others = places.filter(({ place }) => place !== seen.place);
  return { since, uses: counts ? uses + 1 : uses, places: [seen, ...others].slice(0, MOST_PLACES) };
}

/** When a certificate was at a place: in which parts of the window. */
interface Presence {
  /** Of the window that its parts are of, in ms. */
  readonly width: number;
  readonly place: string;
  /** When the alarm about it was last acknowledged (ms): only what came after tells of turns. */
  readonly since?: number;
  /** Number of the newest part since the epoch in which it was there; bit n stands for the part n before that. */
  readonly newest: number;
  readonly bits: number;
  /** A record of it. */
  readonly last: Trigger;
}

/** Parts of a window: what comes within one of them has no order. No more than a number has bits. */
const PARTS = 20;
const ALL_PARTS = (1 << PARTS) - 1;
const MOST_PRESENCES = 6;

/**
 * A certificate at two places at once: its requests come from one and the other by turns. A move is one switch; only who is at both
 * goes to and fro. Records of several threads come out of order, and are counted where their time belongs.
 */
export function twoPlaces({ window, switches, exempt }: SettingsOf<'two_places'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'two_places',
    look({ record, segment, seq }, { time, places, trigger, acknowledged }, memory): Finding | undefined {
      const use = useOf(record);
      if (use === undefined || isExempt(record)) return undefined;
      const subject = `certificate ${use.fingerprint}`;
      const since = acknowledged(subject);
      if (time <= since) return undefined;
      const place = places.of(use.address, use.role);
      const part = Math.floor(time / (window / PARTS));
      const kept = (memory.get(use.fingerprint) ?? []) as readonly Presence[];
      // A window of another width begins anew: its parts have other numbers.
      const before = kept[0]?.width === window && (kept[0].since ?? 0) >= since ? kept : [];
      const own = before.find((one) => one.place === place);
      const seen = own !== undefined && isIn(own, part);
      // The usual case, at no cost: it is where it was.
      if (seen && before.length === 1) return undefined;
      const presences = seen ? before : withPresence(before, own, { place, width: window, ...(since === 0 ? {} : { since }) }, part, trigger);
      if (!seen) memory.set(use.fingerprint, presences);
      if (presences.length < 2 || turnsIn(presences, places) < switches) return undefined;
      const where = presences.map((one) => one.place).sort();
      const others = presences.map(({ last }) => last).filter((one) => one.segment !== segment || one.seq !== seq);
      return { subject, text: `a certificate of role ${use.role} is used at ${where.join(' and ')} at the same time`, before: others, quiet: HOUR_MS };
    },
  };
}

function isIn({ newest, bits }: Presence, part: number): boolean {
  const back = newest - part;
  return back >= 0 && back < PARTS && (bits & (1 << back)) !== 0;
}

/** Places that the window cannot reach any more are left out. */
function withPresence(before: readonly Presence[], own: Presence | undefined, at: Pick<Presence, 'place' | 'width' | 'since'>, part: number, trigger: () => Trigger): readonly Presence[] {
  const newest = before.reduce((latest, one) => Math.max(latest, one.newest), part);
  const others = before.filter((one) => one.place !== at.place && newest - one.newest < PARTS).slice(1 - MOST_PRESENCES);
  if (own === undefined || part - own.newest >= PARTS) return [...others, { ...at, newest: part, bits: 1, last: trigger() }];
  const ahead = part - own.newest;
  if (ahead <= -PARTS) return before;
  if (ahead < 0) return [...others, { ...own, bits: own.bits | (1 << -ahead) }];
  return [...others, { ...at, newest: part, bits: ((own.bits << ahead) | 1) & ALL_PARTS, last: trigger() }];
}

/** How often it must have changed its place at least in the last parts, whatever the order within one was. */
function turnsIn(presences: readonly Presence[], places: Places): number {
  const newest = Math.max(...presences.map((one) => one.newest));
  let turns = 0;
  let at: string | undefined;
  for (let part = newest - PARTS + 1; part <= newest; part++) {
    const seen = presences.filter((one) => isIn(one, part)).map(({ place }) => place);
    const [first] = seen;
    if (first === undefined) continue;
    const from: string = at ?? first;
    const next = seen.findLast((place) => places.apart(from, place));
    if (next !== undefined) turns += 1;
    at = next ?? from;
  }
  return turns;
}
