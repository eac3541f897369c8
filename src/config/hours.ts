/** Part of every week in which something is allowed. */
export interface HoursWindow {
  /** Bit 0 is Monday, bit 6 Sunday: the days on which it begins. */
  readonly days: number;
  /** Minutes of the day; `to` is not included. Where `to` is not after `from`, it ends on the next day. */
  readonly from: number;
  readonly to: number;
}

/** When something is allowed, by the clocks of a time zone. */
export interface Hours {
  /** IANA name. */
  readonly zone: string;
  readonly windows: readonly HoursWindow[];
}

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
const WINDOW = /^(?:(daily)|([a-z]{3})(?:-([a-z]{3}))?) (\d\d):(\d\d)-(\d\d):(\d\d)$/;
const ALL_DAYS = 0b111_1111;
const DAY_MINUTES = 1_440;

/**
 * `Mon-Fri 07:00-19:00, Sat 08:00-12:00`, `daily 22:00-06:00` (which ends on the next day), `daily 00:00-24:00`; `undefined` when it is
 * none of these.
 */
export function parseHours(text: string): readonly HoursWindow[] | undefined {
  const windows = text.split(',').map((part) => parseWindow(part.trim().replace(/\s+/g, ' ').toLowerCase()));
  return windows.every((window) => window !== undefined) ? windows : undefined;
}

function parseWindow(text: string): HoursWindow | undefined {
  const [, daily, first = '', last = first, fromHour, fromMinute, toHour, toMinute] = WINDOW.exec(text) ?? [];
  const days = daily === undefined ? daysBetween(first, last) : ALL_DAYS;
  const from = minuteOfDay(fromHour, fromMinute);
  const to = minuteOfDay(toHour, toMinute);
  if (days === undefined || from === undefined || to === undefined || from === DAY_MINUTES || from === to) return undefined;
  return { days, from, to };
}

function daysBetween(first: string, last: string): number | undefined {
  const [from, to] = [DAYS.indexOf(first), DAYS.indexOf(last)];
  if (from === -1 || to === -1) return undefined;
  let days = 1 << to;
  for (let day = from; day !== to; day = (day + 1) % 7) days |= 1 << day;
  return days;
}

function minuteOfDay(hour: string | undefined, minute: string | undefined): number | undefined {
  const minutes = Number(hour) * 60 + Number(minute);
  return Number(minute) < 60 && minutes <= DAY_MINUTES ? minutes : undefined;
}

/** Whether this machine knows a time zone by its IANA name. Offsets such as +08:00 are none: they know nothing of summer time. */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/.test(name)) return false;
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
