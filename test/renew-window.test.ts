import { describe, expect, test } from 'vitest';
import { nextTurn, openUntil, parseWindow, pauseAfter, scheduleOf, type Window } from '../src/cli/renew/window.ts';

const window = parseWindow('03:00-05:00') as Window;
const local = (day: number, hour: number, minute = 0): number => new Date(2026, 10, day, hour, minute).getTime();
const minutes = 60_000;

describe('the window of unattended renewal', () => {
  test.each(['3:00-05:00', '03:00', '03:00-24:00', '03:60-05:00', '03:00-03:00', '03:00-05:00 '])('is none in "%s"', (text) => {
    expect(parseWindow(text)).toBeUndefined();
  });

  test('opens at three and closes at five, local time', () => {
    expect(openUntil(local(22, 2, 59), window)).toBeUndefined();
    expect(openUntil(local(22, 3), window)).toBe(local(22, 5));
    expect(openUntil(local(22, 4, 59), window)).toBe(local(22, 5));
    expect(openUntil(local(22, 5), window)).toBeUndefined();
  });

  test('over midnight is open on both sides of it', () => {
    const late = parseWindow('23:00-01:00') as Window;
    expect(openUntil(local(22, 23, 30), late)).toBe(local(23, 1));
    expect(openUntil(local(22, 0, 30), late)).toBe(local(22, 1));
    expect(openUntil(local(22, 12), late)).toBeUndefined();
  });

  test('a device has the same turn every night, but for a little chance', () => {
    const turn = (day: number, random: number): number => nextTurn(local(day, 12), window, 'CN=Kiosk 7', random).at - local(day + 1, 3);
    expect(turn(10, 0)).toBe(turn(11, 0));
    expect(turn(10, 0.9)).toBeGreaterThan(turn(10, 0));
    expect(turn(10, 0.999) - turn(10, 0)).toBeLessThan(6.1 * minutes);
  });

  test('a thousand devices come in no one minute, and all early enough to try again', () => {
    const turns = Array.from({ length: 1000 }, (_, index) => nextTurn(local(22, 12), window, `CN=Kiosk ${index}`, (index % 10) / 10));
    const perMinute = new Map<number, number>();
    for (const { at, closes } of turns) {
      expect(at).toBeGreaterThanOrEqual(local(23, 3));
      expect(closes - at).toBeGreaterThan(20 * minutes);
      const minute = Math.floor(at / minutes);
      perMinute.set(minute, (perMinute.get(minute) ?? 0) + 1);
    }
    expect(perMinute.size).toBeGreaterThan(80);
    expect(Math.max(...perMinute.values())).toBeLessThan(35);
  });

  test('a device that wakes up behind its turn takes the rest of the window', () => {
    const now = local(22, 4, 58);
    expect(nextTurn(now, window, 'CN=Kiosk 7', 0.5)).toEqual({ at: now, closes: local(22, 5) });
  });

  test('a device that wakes up behind the window waits for the next', () => {
    const { at, closes } = nextTurn(local(22, 5), window, 'CN=Kiosk 7', 0.5);
    expect(closes).toBe(local(23, 5));
    expect(at).toBeGreaterThanOrEqual(local(23, 3));
  });
});

describe('when a certificate is due', () => {
  const day = 86_400_000;
  test('at a third of its lifetime before the end, or when it is told to; urgent at a quarter of that', () => {
    expect(scheduleOf({ notBefore: 0, notAfter: 90 * day })).toEqual({ due: 60 * day, urgent: 82.5 * day, notAfter: 90 * day });
    expect(scheduleOf({ notBefore: 0, notAfter: 90 * day }, 20 * day)).toEqual({ due: 70 * day, urgent: 85 * day, notAfter: 90 * day });
    expect(scheduleOf({ notBefore: 0, notAfter: 7 * day }, 30 * day).due).toBe(0);
  });

  test('pauses double up to a quarter of an hour', () => {
    expect([1, 2, 3, 4, 5, 50].map((failures) => pauseAfter(failures, 0) / minutes)).toEqual([1, 2, 4, 8, 15, 15]);
    expect(pauseAfter(1, 1)).toBe(1.25 * minutes);
  });
});
