import { createHash } from 'node:crypto';

/** A time of day during which to renew, in minutes after local midnight; one that ends before it begins goes over midnight. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

const WINDOW = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/;

/** `03:00-05:00`; undefined when it is none. */
export function parseWindow(text: string): Window | undefined {
  const [, fromHour, fromMinute, toHour, toMinute] = WINDOW.exec(text) ?? [];
  if (fromHour === undefined) return undefined;
  const window = { from: Number(fromHour) * 60 + Number(fromMinute), to: Number(toHour) * 60 + Number(toMinute) };
  return window.from === window.to ? undefined : window;
}

/** When to begin, and when the window closes; milliseconds since the epoch. */
export interface Turn {
  readonly at: number;
  readonly closes: number;
}

/** The share of a window in which devices begin: what is behind it is for those that have to try again. */
const BEGINNING = 0.75;
const JITTER = 0.05;

/**
 * The next turn of a device in local time. Each has its own place in the window, by a hash of its name, so that a thousand kiosks do not come
 * in one second, and `random` (0 to 1) moves it a little, so that two with one name do not meet every night. In a window that is open and
 * whose place has passed the turn is now. A night in which the clocks are put forward may have no window at all; the next one has.
 */
export function nextTurn(now: number, window: Window, device: string, random: number): Turn {
  const place = createHash('sha256').update(device).digest().readUInt32BE() / 2 ** 32;
  for (let night = -1; ; night += 1) {
    const opens = localTime(now, night, window.from);
    const closes = localTime(now, window.to > window.from ? night : night + 1, window.to);
    if (closes <= opens || closes <= now) continue;
    const length = closes - opens;
    return { at: Math.max(now, Math.floor(opens + length * (place * BEGINNING + random * JITTER))), closes };
  }
}

/** Whether a window is open, and then until when. */
export function openUntil(now: number, window: Window): number | undefined {
  for (const night of [-1, 0]) {
    const closes = localTime(now, window.to > window.from ? night : night + 1, window.to);
    if (localTime(now, night, window.from) <= now && now < closes) return closes;
  }
  return undefined;
}

/** Days and hours by the calendar: a day on which the clocks change has 23 or 25 hours. */
function localTime(now: number, days: number, minutes: number): number {
  const day = new Date(now);
  return new Date(day.getFullYear(), day.getMonth(), day.getDate() + days, Math.floor(minutes / 60), minutes % 60).getTime();
}

/** What the life of a certificate asks for at a moment. */
export interface Schedule {
  /** From when on it is to be renewed; ms since the epoch. */
  readonly due: number;
  /** From when on no window counts any more: a quarter of the time between due and its end is left. */
  readonly urgent: number;
  readonly notAfter: number;
}

/** Due at a third of the lifetime before the end, or `before` ms before it. */
export function scheduleOf({ notBefore, notAfter }: { readonly notBefore: number; readonly notAfter: number }, before?: number): Schedule {
  const ahead = Math.min(before ?? (notAfter - notBefore) / 3, notAfter - notBefore);
  return { due: notAfter - ahead, urgent: notAfter - ahead / 4, notAfter };
}

const FIRST_PAUSE = 60_000;
const LONGEST_PAUSE = 15 * 60_000;

/** How long to wait after so many failures in a row (1, 2, …), in ms: a minute, doubled, at most a quarter of an hour, and up to a quarter more at random. */
export function pauseAfter(failures: number, random: number): number {
  return Math.min(FIRST_PAUSE * 2 ** Math.min(failures - 1, 10), LONGEST_PAUSE) * (1 + random / 4);
}
