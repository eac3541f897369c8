import { triggerLine } from '../audit/alarms/channels/words.ts';
import { ALARM_ROWS, reportOf, type AlarmReport } from '../audit/alarms/desk.ts';
import { alarmFile, readAlarmStore } from '../store/alarms.ts';
import { callGateway } from './call.ts';
import { readPlaces } from './places.ts';

type Print = (text: string) => void;

interface Common {
  readonly config: string;
  readonly json?: boolean;
}

/** `wardgate alarm list`: of the running gateway, or from its state when none runs. */
export async function listAlarms(options: Common & { readonly all?: boolean }, print: Print): Promise<number> {
  const { running, alarms } = await alarmsOf(options.config);
  const wanted = options.all === true ? alarms : alarms.filter(({ acknowledged }) => acknowledged === undefined);
  if (options.json === true) print(JSON.stringify({ running, alarms: wanted }));
  else print(wanted.length === 0 ? 'none' : wanted.map(formatAlarm).join('\n'));
  return 0;
}

/** `wardgate alarm show`: exit 1 when there is none of that id. */
export async function showAlarm(id: string, { config, json }: Common, print: Print): Promise<number> {
  const alarm = (await alarmsOf(config)).alarms.find((one) => one.id === id);
  if (alarm === undefined) throw new Error(`no alarm ${JSON.stringify(id)}; expected the whole id, as wardgate alarm list shows it`);
  print(json === true ? JSON.stringify(alarm) : [formatAlarm(alarm), ...[...alarm.records, ...alarm.recent].map(triggerLine)].join('\n'));
  return 0;
}

/** `wardgate alarm acknowledge`: exit 1 when there is none of that id, or it was acknowledged before. */
export async function acknowledgeAlarm(id: string, { config, json, who, note }: Common & { readonly who: string; readonly note: string }, print: Print): Promise<number> {
  const answer = await callGateway(readPlaces(config).socket, 'POST', '/v1/alarms/acknowledge', { id, who, note });
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  print(json === true ? JSON.stringify({ acknowledged: id }) : `acknowledged ${id}`);
  return 0;
}

/** Those that nobody has acknowledged, as they are kept in a state directory; `since` in ms. */
export function openAlarmsIn(state: string): readonly { readonly id: string; readonly rule: string; readonly since: number }[] {
  return keptIn(state).filter(({ acknowledged }) => acknowledged === undefined).map(({ id, rule, opened }) => ({ id, rule, since: Date.parse(opened) }));
}

function keptIn(state: string): readonly AlarmReport[] {
  const kept = readAlarmStore(alarmFile(state), ALARM_ROWS).map(({ value }) => reportOf(value as AlarmReport));
  return kept.sort((one, other) => (one.opened < other.opened ? -1 : 1));
}

async function alarmsOf(config: string): Promise<{ readonly running: boolean; readonly alarms: readonly AlarmReport[] }> {
  const { state, socket } = readPlaces(config);
  const answer = await callGateway(socket, 'GET', '/v1/alarms') as { readonly alarms: readonly AlarmReport[] } | undefined;
  if (answer !== undefined) return { running: true, alarms: answer.alarms };
  return { running: false, alarms: keptIn(state) };
}

function formatAlarm({ id, rule, subject, text, opened, last, count, acknowledged }: AlarmReport): string {
  return [
    `${id}  ${rule}, ${acknowledged === undefined ? 'OPEN' : `acknowledged ${acknowledged.at} by ${JSON.stringify(acknowledged.who)}: ${JSON.stringify(acknowledged.note)}`}`,
    `  ${text}`,
    `  about       ${subject}`,
    `  found       ${count === 1 ? opened : `${count} times, ${opened} to ${last}`}`,
  ].join('\n');
}
