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
    look({ record }, { time, places }, memory) {
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
      return strange ? { subject: `certificate ${use.fingerprint}`, text: `a certificate of role ${use.role} is used at ${place}, where it was never used before`, quiet: DAY_MS } : undefined;
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

/** A certificate was seen at a place in one part of the window. */
interface Sighting {
  /** Number of the part since the epoch. */
  readonly part: number;
  readonly place: string;
  /** The first record of it. */
  readonly first: Trigger;
}

/** Parts of a window: what comes within one of them has no order. */
const PARTS = 20;
const MOST_SIGHTINGS = 60;
const SHOWN = 9;

/**
 * A certificate at two places at once: its requests come from one and the other by turns. A move is one switch; only who is at both
 * goes to and fro. Records of several threads come out of order, and are counted where their time belongs.
 */
export function twoPlaces({ window, switches, exempt }: SettingsOf<'two_places'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'two_places',
    look({ record, segment, seq }, { time, places, trigger }, memory): Finding | undefined {
      const use = useOf(record);
      if (use === undefined || isExempt(record)) return undefined;
      const place = places.of(use.address, use.role);
      const part = Math.floor(time / (window / PARTS));
      const before = (memory.get(use.fingerprint) ?? []) as readonly Sighting[];
      const seen = before.some((one) => one.part === part && one.place === place);
      // The usual case, at no cost: it is where it was.
      if (seen && before.every((one) => one.place === place)) return undefined;
      const sightings = seen ? before : withSighting(before, { part, place, first: trigger() });
      if (!seen) memory.set(use.fingerprint, sightings);
      if (turnsIn(sightings.filter((one) => Math.abs(one.part - part) < PARTS), places) < switches) return undefined;
      const where = [...new Set(sightings.map((one) => one.place))].sort();
      const others = sightings.map(({ first }) => first).filter((one) => one.segment !== segment || one.seq !== seq);
      return { subject: `certificate ${use.fingerprint}`, text: `a certificate of role ${use.role} is used at ${where.join(' and ')} at the same time`, before: others.slice(-SHOWN), quiet: HOUR_MS };
    },
  };
}

/** In order, those that the window cannot reach any more left out. */
function withSighting(sightings: readonly Sighting[], sighting: Sighting): readonly Sighting[] {
  const newest = Math.max(sighting.part, sightings.at(-1)?.part ?? 0);
  const near = sightings.filter(({ part }) => newest - part < 2 * PARTS);
  const at = near.findLastIndex(({ part }) => part <= sighting.part) + 1;
  return [...near.slice(0, at), sighting, ...near.slice(at)].slice(-MOST_SIGHTINGS);
}

/** How often it must have changed its place at least, whatever the order within a part was. */
function turnsIn(sightings: readonly Sighting[], places: Places): number {
  let turns = 0;
  let at: string | undefined;
  for (const [, seen] of Map.groupBy(sightings, ({ part }) => part)) {
    const others = seen.map(({ place }) => place).filter((place) => at === undefined || places.apart(at, place));
    const next = others.at(-1);
    if (at === undefined && seen.length > 1) turns += places.apart(seen[0]?.place ?? '', next ?? '') ? 1 : 0;
    else if (at !== undefined && next !== undefined) turns += 1;
    at = next ?? at;
  }
  return turns;
}
