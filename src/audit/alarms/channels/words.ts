import type { Trigger } from '../rule.ts';
import type { Told } from './channel.ts';

/** Alarms of a mail that are written out; of the others a line each. */
const WHOLE = 20;

/** The subject of a mail about alarms. */
export function subjectLine(told: readonly Told[]): string {
  const [first] = told;
  if (first === undefined) return 'Wardgate: no alarm';
  const still = first.kind === 'reminder' ? 'still open: ' : '';
  return told.length === 1 ? `Wardgate alarm, ${still}${first.alarm.rule}` : `Wardgate: ${told.length} alarms, first ${still}${first.alarm.rule}`;
}

/** The text of a mail about alarms of a gateway. */
export function plainText(told: readonly Told[], gateway: string): string {
  const whole = told.slice(0, WHOLE).map((one) => oneAlarm(one, gateway));
  const rest = told.slice(WHOLE).map(({ alarm }) => `${alarm.id}  ${alarm.rule}: ${alarm.text}`);
  return [...whole, ...(rest.length === 0 ? [] : [`And ${rest.length} more:\n${rest.join('\n')}`]), 'wardgate alarm show ID shows all of one; wardgate alarm acknowledge ID --who NAME --note TEXT ends it.'].join('\n\n');
}

function oneAlarm({ kind, alarm }: Told, gateway: string): string {
  const { id, rule, subject, text, opened, last, count, records, recent, acknowledged } = alarm;
  return [
    `${kind === 'reminder' ? 'STILL OPEN' : 'ALARM'} ${id}  ${rule}`,
    `  ${text}`,
    `  gateway     ${gateway}`,
    `  about       ${subject}`,
    `  found       ${count === 1 ? opened : `${count} times, ${opened} to ${last}`}`,
    ...(acknowledged === undefined ? [] : [`  acknowledged ${acknowledged.at} by ${JSON.stringify(acknowledged.who)}`]),
    ...[...records, ...recent].map(triggerLine),
  ].join('\n');
}

/** A record of an alarm, for people. */
export function triggerLine({ time, segment, seq, hash, summary }: Trigger): string {
  return `  record      ${time} ${summary}\n              ${segment} number ${seq}${hash === undefined ? '' : ` hash ${hash}`}`;
}

/** One alarm in one line, for syslog. */
export function oneLine({ kind, alarm: { rule, subject, text, count } }: Told): string {
  return `${kind === 'reminder' ? 'still open: ' : ''}${rule}: ${text} (${subject}, found ${count} times)`;
}
