import type { Command } from 'commander';
import { triggerLine } from '../audit/alarms/channels/words.ts';
import { ALARM_ROWS, reportOf, type AlarmReport } from '../audit/alarms/desk.ts';
import { alarmFile, readAlarmStore } from '../store/alarms.ts';
import { callGateway } from './call.ts';
import { notedCommand, type CommandGround } from './ground.ts';
import { readPlaces } from './places.ts';

type Print = (text: string) => void;

interface Common {
  readonly config: string;
  readonly json?: boolean;
}

/** Adds `alarm` to the program. */
export function addAlarmCommands(program: Command, ground: CommandGround): void {
  const { configOption, jsonOption, print, settle } = ground;
  const alarm = program.command('alarm').description('what somebody should look at, open until it is acknowledged')
    .addHelpText('after', "\nExamples:\n  wardgate alarm list\n  wardgate alarm show 4be1a7c90f3d2e58\n  wardgate alarm acknowledge 4be1a7c90f3d2e58 --who 'Dr Chen' --note 'new workstation on ward 4'");
  alarm.command('list').description('those that nobody has acknowledged, oldest first')
    .option(...configOption).option(...jsonOption)
    .option('--all', 'acknowledged ones too')
    .addHelpText('after', '\nExample:\n  wardgate alarm list --all')
    .action(settle((options: never) => listAlarms(options, print)));
  alarm.command('show').description('one of them, with the records that led to it')
    .argument('<id>', 'the whole id, as list shows it')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate alarm show 4be1a7c90f3d2e58')
    .action(settle((id: string, options: never) => showAlarm(id, options, print)));
  notedCommand(alarm.command('acknowledge').description('say that one was looked into, and what was found'), ground)
    .addHelpText('after', "\nExample:\n  wardgate alarm acknowledge 4be1a7c90f3d2e58 --who 'Dr Chen' --note 'new workstation on ward 4'")
    .action(settle((id: string, options: never) => acknowledgeAlarm(id, options, print)));
}

/** `wardgate alarm list`: of the running gateway, or from its state when none runs. */
async function listAlarms(options: Common & { readonly all?: boolean }, print: Print): Promise<number> {
  const { running, alarms } = await alarmsOf(options.config);
  const wanted = options.all === true ? alarms : alarms.filter(({ acknowledged }) => acknowledged === undefined);
  if (options.json === true) print(JSON.stringify({ running, alarms: wanted }));
  else print(wanted.length === 0 ? 'none' : wanted.map(formatAlarm).join('\n'));
  return 0;
}

/** `wardgate alarm show`: exit 1 when there is none of that id. */
async function showAlarm(id: string, { config, json }: Common, print: Print): Promise<number> {
  const alarm = (await alarmsOf(config)).alarms.find((one) => one.id === id);
  if (alarm === undefined) throw new Error(`no alarm ${JSON.stringify(id)}; expected the whole id, as wardgate alarm list shows it`);
  print(json === true ? JSON.stringify(alarm) : [formatAlarm(alarm), ...[...alarm.records, ...alarm.recent].map(triggerLine)].join('\n'));
  return 0;
}

/** `wardgate alarm acknowledge`: exit 1 when there is none of that id, or it was acknowledged before. */
async function acknowledgeAlarm(id: string, { config, json, who, note }: Common & { readonly who: string; readonly note: string }, print: Print): Promise<number> {
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
