import type { Hours, HoursWindow } from '../config/hours.ts';

/** Whether hours include a moment (`now` in ms since the epoch), by what the clocks of their zone show: summer time comes and goes with them. */
export function withinHours({ zone, windows }: Hours, now: number): boolean {
  const { day, minute } = clockOf(zone).read(now);
  return windows.some((window) => holds(window, day, minute));
}

const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** What the clocks of the zone show, such as `Sun 09:05`. */
export function clockTime({ zone }: Hours, now: number): string {
  const { day, minute } = clockOf(zone).read(now);
  return `${DAYS[day]} ${timeOfDay(minute)}`;
}

/** Hours as an inventory has them, for people: `Mon-Fri 07:00-19:00, Sat 08:00-12:00 (Asia/Shanghai)`. */
export function describeHours({ zone, windows }: Hours): string {
  return `${windows.map(({ days, from, to }) => `${describeDays(days)} ${timeOfDay(from)}-${timeOfDay(to)}`).join(', ')} (${zone})`;
}

function describeDays(days: number): string {
  const set = DAYS.map((_, day) => day).filter((day) => (days & (1 << day)) !== 0);
  if (set.length === DAYS.length) return 'daily';
  if (set.length === 1) return DAYS[set[0] as number] as string;
  // A window is one stretch of days, which may lead over the end of the week: its first day has none before it.
  const first = set.find((day) => (days & (1 << ((day + 6) % 7))) === 0) as number;
  return `${DAYS[first]}-${DAYS[(first + set.length - 1) % 7]}`;
}

function timeOfDay(minute: number): string {
  return `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`;
}

/**
 * When hours that include a moment end, in ms since the epoch; undefined when they do not include it. Hours that follow without a gap
 * count as another end.
 */
export function endOfHours({ zone, windows }: Hours, now: number): number | undefined {
  const clock = clockOf(zone);
  const { day, minute } = clock.read(now);
  const open = windows.filter((window) => holds(window, day, minute));
  if (open.length === 0) return undefined;
  return Math.max(...open.map(({ to }) => nextTime(clock, now, minute, to)));
}

/** The next moment at which a clock shows a minute of the day; that at which it is set forward over it, where it is. */
function nextTime(clock: Clock, now: number, minute: number, to: number): number {
  const wanted = to % DAY_MINUTES;
  const begun = Math.floor(now / MINUTE_MS) * MINUTE_MS;
  const ahead = (wanted - minute + DAY_MINUTES) % DAY_MINUTES || DAY_MINUTES;
  const guess = begun + ahead * MINUTE_MS;
  // The clock was set in between: by an hour or two at most, to either side.
  const shown = clock.read(guess).minute;
  const off = ((wanted - shown + DAY_MINUTES * 1.5) % DAY_MINUTES) - DAY_MINUTES / 2;
  const end = Math.max(begun + MINUTE_MS, guess + off * MINUTE_MS);
  return clock.read(end).minute === wanted ? end : setForward(clock, begun, guess);
}

/** When a clock is set, between a moment before that and one after: both whole minutes. */
function setForward(clock: Clock, before: number, after: number): number {
  const started = clock.read(before).minute;
  const isSet = (at: number): boolean => (clock.read(at).minute - started - (at - before) / MINUTE_MS) % DAY_MINUTES !== 0;
  let [early, late] = [before, after];
  while (late - early > MINUTE_MS) {
    const middle = early + Math.floor((late - early) / MINUTE_MS / 2) * MINUTE_MS;
    if (isSet(middle)) late = middle;
    else early = middle;
  }
  return late;
}

function holds({ days, from, to }: HoursWindow, day: number, minute: number): boolean {
  const today = (days & (1 << day)) !== 0;
  if (from < to) return today && minute >= from && minute < to;
  const yesterday = (days & (1 << ((day + 6) % 7))) !== 0;
  return (today && minute >= from) || (yesterday && minute < to);
}

interface LocalTime {
  /** 0 is Monday. */
  readonly day: number;
  readonly minute: number;
}

interface Clock {
  read(now: number): LocalTime;
}

const MINUTE_MS = 60_000;
const DAY_MINUTES = 1_440;
/** There are some six hundred names of zones, in lower case: `europe/BERLIN` is one of them too, and each spelling must not have a clock of its own. */
const clocks = new Map<string, Clock>();

/** A formatter costs a millisecond to make, and a microsecond or two to ask: each zone has one, which is asked once a minute. */
function clockOf(zone: string): Clock {
  const name = zone.toLowerCase();
  const known = clocks.get(name);
  if (known !== undefined) return known;
  const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  let at = Number.NaN;
  let local: LocalTime = { day: 0, minute: 0 };
  const clock: Clock = {
    read(now) {
      const minutes = Math.floor(now / MINUTE_MS);
      if (minutes === at) return local;
      const parts = new Map(format.formatToParts(now).map(({ type, value }) => [type, value]));
      local = { day: WEEKDAYS.indexOf(parts.get('weekday') ?? ''), minute: Number(parts.get('hour')) * 60 + Number(parts.get('minute')) };
      at = minutes;
      return local;
    },
  };
  clocks.set(name, clock);
  return clock;
}

const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];
