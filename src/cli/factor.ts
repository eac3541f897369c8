import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parseDuration } from '../config/values.ts';
import type { EnrolmentReport } from '../factor/factors.ts';
import { callGateway } from './call.ts';
import { counted } from './counted.ts';
import type { CommandGround } from './ground.ts';
import { readPlaces } from './places.ts';
import { usage } from './usage.ts';

type Print = (text: string) => void;

interface FactorOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly role: string;
  readonly id: string;
  readonly who: string;
  readonly reason?: string;
}

/** Adds `factor` to the program. */
export function addFactorCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const factor = program.command('factor').description('second factors of people and devices, on the running gateway')
    .addHelpText('after', "\nExamples:\n  wardgate factor invite --role patient --id urn:patient:1001\n  wardgate factor phone --role patient --id urn:patient:1001 --phone +8613800138000 --card - <card.txt\n  wardgate factor reset --role patient --id urn:patient:1001\n  wardgate factor list");
  const person = (command: Command): Command => command
    .option(...configOption).option(...jsonOption)
    .requiredOption('--role <role>', 'the role that the certificate maps to')
    .requiredOption('--id <id>', 'the id that it maps to')
    .option('--reason <text>', 'why, for the record')
    .option('--who <name>', 'on whose behalf', user);
  person(factor.command('invite').description('print an invitation: the code with which somebody sets up an authenticator app or a security key'))
    .option('--expires <duration>', 'how long it is good', '7d')
    .addHelpText('after', '\nExample:\n  wardgate factor invite --role patient --id urn:patient:1001 --expires 2d')
    .action(settle((options: never) => invite(options, print)));
  person(factor.command('phone').description('register where codes are sent by text message, and the card number that is typed with them'))
    .requiredOption('--phone <number>', 'as +8613800138000')
    .requiredOption('--card <number>', 'the card number; - reads it from stdin')
    .addHelpText('after', '\nExample:\n  wardgate factor phone --role patient --id urn:patient:1001 --phone +8613800138000 --card - <card.txt')
    .action(settle((options: never) => phone(options, print)));
  person(factor.command('reset').description('forget an enrolment and end the sessions that stand on it: a phone was lost or stolen'))
    .option('--key <name>', 'one security key alone, by its name')
    .addHelpText('after', "\nExamples:\n  wardgate factor reset --role patient --id urn:patient:1001\n  wardgate factor reset --role patient --id urn:patient:1001 --key 'blue key'")
    .action(settle((options: never) => reset(options, print)));
  person(factor.command('status').description('what somebody is enrolled for, with every security key'))
    .addHelpText('after', '\nExample:\n  wardgate factor status --role patient --id urn:patient:1001')
    .action(settle((options: never) => status(options, print)));
  person(factor.command('unlock').description('forget wrong codes'))
    .addHelpText('after', '\nExample:\n  wardgate factor unlock --role patient --id urn:patient:1001')
    .action(settle((options: never) => unlock(options, print)));
  factor.command('list').description('who is enrolled for what')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate factor list --json')
    .action(settle((options: never) => list(options, print)));
}

/** `wardgate factor invite`: prints the code that somebody enrols an authenticator app or a security key with. */
export async function invite({ expires, ...options }: FactorOptions & { readonly expires: string }, print: Print): Promise<number> {
  const lifetime = parseDuration(expires);
  if (lifetime === undefined || lifetime === 0) return usage(`--expires: ${JSON.stringify(expires)} is not a duration such as 12h or 7d`);
  const answer = await ask(options, 'invite', { ...subjectOf(options), lifetime, who: options.who }) as { code: string; expires: string };
  print(options.json === true ? JSON.stringify(answer) : `${answer.code}\ngood until ${answer.expires}, once, with a certificate of ${options.role} ${options.id}, at https://…/.wardgate/enrol`);
  return 0;
}

/** `wardgate factor phone`: registers where codes are sent, and the card number that is typed with them. */
export async function phone({ phone: number, card, ...options }: FactorOptions & { readonly phone: string; readonly card: string }, print: Print): Promise<number> {
  if (!/^\+[1-9][0-9]{6,14}$/.test(number)) return usage(`--phone: ${JSON.stringify(number)} is not a number such as +8613800138000`);
  // What stands on a command line is seen by everybody on the machine.
  const secret = card === '-' ? readFileSync(0, 'utf8').trim() : card;
  if (secret === '') return usage('--card: no number');
  await ask(options, 'phone', { ...subjectOf(options), phone: number, card: secret, who: options.who });
  print(options.json === true ? JSON.stringify({ registered: true }) : `registered the number ending in ${number.slice(-3)} for ${options.role} ${options.id}`);
  return 0;
}

/** `wardgate factor reset`: exit 1 when there was nothing to forget. With `key` one security key alone, by its name. */
export async function reset(options: FactorOptions & { readonly key?: string }, print: Print): Promise<number> {
  const { key } = options;
  const answer = await ask(options, 'reset', { ...subjectOf(options), ...(key === undefined ? {} : { key }), who: options.who }) as { reset: boolean; sessions: number };
  const what = key === undefined ? 'enrolment' : `security key ${JSON.stringify(key)}`;
  print(options.json === true ? JSON.stringify(answer) : `${answer.reset ? `forgot the ${what} of` : `knew no ${what} of`} ${options.role} ${options.id}; ended ${counted(answer.sessions, 'session')}`);
  return answer.reset ? 0 : 1;
}

/** `wardgate factor unlock`: forgets wrong codes; exit 1 when there were none to forget. */
export async function unlock(options: FactorOptions, print: Print): Promise<number> {
  const answer = await ask(options, 'unlock', { ...subjectOf(options), who: options.who }) as { unlocked: boolean };
  print(options.json === true ? JSON.stringify(answer) : `${answer.unlocked ? 'forgot the' : 'knew no'} wrong codes of ${options.role} ${options.id}`);
  return answer.unlocked ? 0 : 1;
}

/** `wardgate factor status`: what one person is enrolled for, key by key; exit 1 when for nothing. */
export async function status(options: FactorOptions, print: Print): Promise<number> {
  const { enrolment } = await ask({ config: options.config }, 'status', { ...subjectOf(options), who: options.who }) as { enrolment: EnrolmentReport | null };
  const text = enrolment === null ? `knew no enrolment of ${options.role} ${options.id}` : [describe(enrolment), ...enrolment.keys.map(describeKey)].join('\n');
  print(options.json === true ? JSON.stringify(enrolment) : text);
  return enrolment === null ? 1 : 0;
}

/** `wardgate factor list`: who is enrolled for what. */
export async function list(options: Pick<FactorOptions, 'config' | 'json'>, print: Print): Promise<number> {
  const answer = await callGateway(readPlaces(options.config).socket, 'GET', '/v1/factor/list') as { enrolments: readonly EnrolmentReport[] } | undefined;
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  print(options.json === true ? JSON.stringify(answer.enrolments) : answer.enrolments.map(describe).join('\n') || 'nobody is enrolled');
  return 0;
}

function describe({ role, id, since, totp, keys, recovery_codes: codes, phone: number, invited_until: until }: EnrolmentReport): string {
  return [
    `${role} ${id}: since ${since}`, ...(totp ? [`totp, ${codes} recovery codes left`] : []), ...(keys.length === 0 ? [] : [keys.length === 1 ? 'one security key' : `${keys.length} security keys`]),
    ...(number === undefined ? [] : [`sms to …${number}`]), ...(until === undefined ? [] : [`invited until ${until}`]),
  ].join(', ');
}

function describeKey({ name, rp_id: rpId, since, used, counter }: EnrolmentReport['keys'][number]): string {
  return `  ${JSON.stringify(name)}: for ${rpId}, since ${since}, ${used === undefined ? 'not used since' : `last used ${used}`}, counter ${counter}`;
}

function subjectOf({ role, id }: FactorOptions): { role: string; id: string } {
  return { role, id };
}

async function ask({ config, reason }: Pick<FactorOptions, 'config' | 'reason'>, what: string, given: object): Promise<unknown> {
  const body = { ...given, ...(reason === undefined ? {} : { reason }) };
  const answer = await callGateway(readPlaces(config).socket, 'POST', `/v1/factor/${what}`, body);
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  return answer;
}
