import { printable } from '../../config/issue.ts';
import { ENDED } from '../../pki/ending.ts';
import type { Announcement } from '../alarms/channels/channel.ts';
import type { Due } from './book.ts';

const UNITS = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'm'], [1_000, 's'], [1, 'ms']] as const;
/** What an SMS holds. */
const LONGEST_TEXT = 160;

const WHAT = {
  server: 'server certificate', intermediate: 'intermediate CA', client: 'own client certificate', ca: 'trusted CA', crl: 'CRL', user: 'client certificate',
} as const;

/** A tier as the configuration writes it: `30d`; `ended` behind the end. */
export function tierText(before: number): string {
  if (before === ENDED) return 'ended';
  const [ms, unit] = UNITS.find(([one]) => before % one === 0) ?? UNITS[4];
  return `${before / ms}${unit}`;
}

/** One message about all that is due on a channel, the first to end first; `more`: how many others there are. `now` in ms. */
export function announcementOf(due: readonly Due[], more: number, gateway: string, now: number): Announcement {
  const short = shortText(due, more);
  const lines = due.map((one) => ({ text: sentence(one, now), body: shown(one) }));
  return {
    kind: 'expiry', time: new Date(now).toISOString(), subject: `Wardgate: ${short}`.slice(0, 200), lines,
    body: { text: `${gateway}: ${short}`.slice(0, LONGEST_TEXT), expiring: lines.map(({ body }) => body), more },
    text: [
      `Of the gateway ${gateway}:`, ...lines.map(({ text }) => `  ${text}`), ...(more === 0 ? [] : [`And ${more} more.`]),
      '', 'Each is told once in each tier; in the last one, and once it has ended, daily until it is replaced. wardgate expiry lists everything.',
    ].join('\n'),
  };
}

function shortText(due: readonly Due[], more: number): string {
  const [first] = due;
  if (first === undefined) return 'nothing ends';
  const count = due.length + more;
  const { entry: { use, name, places, until }, before } = first;
  const what = `${WHAT[use]} ${printable(places[0] ?? name)} ${before === ENDED ? 'ENDED' : 'ends'} ${day(until)}`;
  return count === 1 ? what : `${count} certificates and CRLs end, first: ${what}`;
}

function sentence({ entry: { use, name, places, serial, issuer, until, user }, before }: Due, now: number): string {
  return printable([
    `${before === ENDED ? 'ENDED' : 'ends'} ${new Date(until).toISOString().slice(0, 16).replace('T', ' ')} UTC${before === ENDED ? '' : ` (in ${leftText(until - now)})`}`,
    `${WHAT[use]} ${name}`, ...(serial === undefined ? [] : [`serial ${serial}`]), ...(user === undefined || issuer === undefined ? [] : [`issued by ${issuer}`]),
    ...(user === undefined ? [] : [`role ${user.role}${user.id === undefined ? '' : `, id ${user.id}`}`]), ...(places.length === 0 ? [] : [`used by ${places.join(', ')}`]),
  ].join('; '));
}

/** `left` in ms. */
function leftText(left: number): string {
  const hours = Math.floor(left / 3_600_000);
  if (hours < 1) return `${Math.max(0, Math.floor(left / 60_000))} min`;
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}

function shown({ entry: { use, name, places, serial, issuer, until, user }, before }: Due): object {
  return {
    tier: tierText(before), use, name, places, ...(serial === undefined ? {} : { serial }), ...(issuer === undefined ? {} : { issuer }), not_after: new Date(until).toISOString(),
    ...(user === undefined ? {} : { role: user.role, ...(user.id === undefined ? {} : { id: user.id }) }),
  };
}

function day(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}
