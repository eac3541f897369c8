import { describe, expect, it } from 'vitest';
import { isTimeZone, parseHours } from '../src/config/hours.ts';
import { clockTime, describeHours, endOfHours, withinHours } from '../src/policy/hours.ts';

function within(text: string, zone: string, at: string): boolean {
  return withinHours({ zone, windows: parseHours(text) ?? [] }, Date.parse(at));
}

describe('hours', () => {
  it.each([
    ['Mon-Fri 07:00-19:00', [{ days: 0b001_1111, from: 420, to: 1_140 }]],
    ['Fri-Mon 08:00-09:30', [{ days: 0b111_0001, from: 480, to: 570 }]],
    ['sun 00:00-24:00', [{ days: 0b100_0000, from: 0, to: 1_440 }]],
    ['daily  22:00-06:00 ,  Sat 08:00-12:00', [{ days: 0b111_1111, from: 1_320, to: 360 }, { days: 0b010_0000, from: 480, to: 720 }]],
  ])('reads %j', (text, windows) => expect(parseHours(text)).toEqual(windows));

  it.each(['', 'Mon', '07:00-19:00', 'Mon 7:00-19:00', 'Mon 07:00', 'Mon 07:60-19:00', 'Mon 24:00-08:00', 'Mon 25:00-26:00', 'Mon 08:00-24:30', 'Mon 08:00-08:00', 'Mo 07:00-19:00', 'Mon-Fri-Sun 07:00-19:00', 'daily 07:00-19:00,'])(
    'refuses %j', (text) => expect(parseHours(text)).toBeUndefined());

  it.each([
    // 2026-11-20 is a Friday.
    ['Mon-Fri 07:00-19:00', 'UTC', '2026-11-20T06:59:59Z', false],
    ['Mon-Fri 07:00-19:00', 'UTC', '2026-11-20T07:00:00Z', true],
    ['Mon-Fri 07:00-19:00', 'UTC', '2026-11-20T18:59:59Z', true],
    ['Mon-Fri 07:00-19:00', 'UTC', '2026-11-20T19:00:00Z', false],
    ['Mon-Fri 07:00-19:00', 'UTC', '2026-11-21T12:00:00Z', false],
    // Another day over there.
    ['Sat 00:00-08:00', 'Asia/Shanghai', '2026-11-20T16:00:00Z', true],
    ['Sat 00:00-08:00', 'Asia/Shanghai', '2026-11-20T15:59:00Z', false],
    // Over midnight: it belongs to the day on which it begins.
    ['Fri 22:00-06:00', 'UTC', '2026-11-20T22:00:00Z', true],
    ['Fri 22:00-06:00', 'UTC', '2026-11-21T05:59:00Z', true],
    ['Fri 22:00-06:00', 'UTC', '2026-11-21T06:00:00Z', false],
    ['Fri 22:00-06:00', 'UTC', '2026-11-20T05:00:00Z', false],
    ['Sun 22:00-06:00', 'UTC', '2026-11-23T05:00:00Z', true],
    ['Fri 22:00-00:00', 'UTC', '2026-11-20T23:59:00Z', true],
    ['Fri 22:00-00:00', 'UTC', '2026-11-21T00:00:00Z', false],
    ['daily 00:00-24:00', 'UTC', '2026-11-20T23:59:59Z', true],
    // Berlin is one hour ahead of UTC in winter and two in summer: the clocks on its walls count.
    ['daily 08:00-09:00', 'Europe/Berlin', '2026-01-15T07:30:00Z', true],
    ['daily 08:00-09:00', 'Europe/Berlin', '2026-07-15T07:30:00Z', false],
    ['daily 08:00-09:00', 'Europe/Berlin', '2026-07-15T06:30:00Z', true],
    // 2026-03-29, 02:00 to 03:00 does not exist there; the shift that ends at 03:30 still does.
    ['daily 02:30-03:30', 'Europe/Berlin', '2026-03-29T00:59:00Z', false],
    ['daily 02:30-03:30', 'Europe/Berlin', '2026-03-29T01:00:00Z', true],
    ['daily 02:30-03:30', 'Europe/Berlin', '2026-03-29T01:30:00Z', false],
    // 2026-10-25, 02:00 to 03:00 is there twice.
    ['daily 02:00-03:00', 'Europe/Berlin', '2026-10-25T00:30:00Z', true],
    ['daily 02:00-03:00', 'Europe/Berlin', '2026-10-25T01:30:00Z', true],
    ['daily 02:00-03:00', 'Europe/Berlin', '2026-10-25T02:00:00Z', false],
    // A quarter of an hour more than the others.
    ['daily 12:00-12:15', 'Asia/Kathmandu', '2026-11-20T06:20:00Z', true],
    ['daily 12:00-12:15', 'Asia/Kathmandu', '2026-11-20T06:30:00Z', false],
  ])('%s in %s: %s is %s', (text, zone, at, expected) => expect(within(text, zone, at)).toBe(expected));

  it.each([
    // 2026-03-08, 02:00 to 03:00 does not exist in New York: whatever would end then ends as the clocks are set, and not a minute from now.
    ['Sun 01:30-02:30', 'America/New_York', '2026-03-08T06:39:42.146Z', '2026-03-08T07:00:00.000Z'],
    ['Sun 01:30-02:00', 'America/New_York', '2026-03-08T06:39:42.146Z', '2026-03-08T07:00:00.000Z'],
    ['Sat 12:00-02:30', 'America/New_York', '2026-03-07T18:00:00.000Z', '2026-03-08T07:00:00.000Z'],
    ['Sun 01:30-03:30', 'America/New_York', '2026-03-08T06:39:42.146Z', '2026-03-08T07:30:00.000Z'],
    ['daily 00:00-24:00', 'America/New_York', '2026-03-08T06:39:42.146Z', '2026-03-09T04:00:00.000Z'],
  ])('%s in %s: at %s, it is until %s', (text, zone, at, expected) =>
    expect(new Date(endOfHours({ zone, windows: parseHours(text) ?? [] }, Date.parse(at)) ?? 0).toISOString()).toBe(expected));

  it('answer for several zones and times in any order', () => {
    const noon = 'daily 12:00-13:00';
    expect([within(noon, 'UTC', '2026-11-20T12:00:00Z'), within(noon, 'Asia/Shanghai', '2026-11-20T12:00:00Z'), within(noon, 'UTC', '2026-11-20T11:00:00Z'), within(noon, 'UTC', '2026-11-20T12:00:30Z')])
      .toEqual([true, false, false, true]);
  });

  it.each([['Asia/Shanghai', true], ['UTC', true], ['Europe/Berlin', true], ['+08:00', false], ['Europe/Atlantis', false], ['', false]])('%j is a time zone: %s', (zone, known) => expect(isTimeZone(zone)).toBe(known));
});

describe('hours, as the record tells them', () => {
  it.each(['Mon-Fri 07:00-19:00, Sat 08:00-12:00', 'daily 22:00-06:00', 'daily 00:00-24:00', 'Sat-Mon 10:00-11:30', 'Sun 02:00-04:00'])('%s', (text) => {
    expect(describeHours({ zone: 'Asia/Shanghai', windows: parseHours(text) ?? [] })).toBe(`${text} (Asia/Shanghai)`);
  });

  it('go by the clock of their zone', () => {
    expect(clockTime({ zone: 'Asia/Shanghai', windows: [] }, Date.parse('2026-11-22T16:05:00Z'))).toBe('Mon 00:05');
  });
});
