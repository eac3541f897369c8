import type { Command } from 'commander';
import { readGrants, type GrantReport } from '../store/grants.ts';
import { callGateway } from './call.ts';
import { notedCommand, type CommandGround } from './ground.ts';
import { readPlaces } from './places.ts';

type Print = (text: string) => void;

interface Common {
  readonly config: string;
  readonly json?: boolean;
}

/** Adds `break-glass` to the program. */
export function addBreakGlassCommands(program: Command, ground: CommandGround): void {
  const { configOption, jsonOption, print, settle } = ground;
  const breakGlass = program.command('break-glass').description('grants for emergencies: who got through, and what is to be reviewed')
    .addHelpText('after', "\nExamples:\n  wardgate break-glass list --unreviewed\n  wardgate break-glass review 0b6f… --who 'Dr Chen' --note 'patient unconscious, allergies were needed'\n  wardgate break-glass withdraw 0b6f… --who security --note 'workstation stolen'");
  breakGlass.command('list').description('all of them, oldest first')
    .option(...configOption).option(...jsonOption)
    .option('--unreviewed', 'only those that nobody has reviewed')
    .addHelpText('after', '\nExample:\n  wardgate break-glass list --unreviewed')
    .action(settle((options: never) => listGrants(options, print)));
  notedCommand(breakGlass.command('review').description('say that one was looked into, and what was found'), ground)
    .addHelpText('after', "\nExample:\n  wardgate break-glass review 5f0c7a52-90d1-4f7e-8a44-6f1f9f6f3b0e --who 'Dr Chen' --note 'justified: anaphylaxis, see chart'")
    .action(settle((id: string, options: never) => reviewGrant(id, options, print)));
  notedCommand(breakGlass.command('withdraw').description('end one before its time'), ground)
    .addHelpText('after', "\nExample:\n  wardgate break-glass withdraw 5f0c7a52-90d1-4f7e-8a44-6f1f9f6f3b0e --who security --note 'workstation stolen'")
    .action(settle((id: string, options: never) => withdrawGrant(id, options, print)));
}

/** `wardgate break-glass list`: of the running gateway, or from its state when none runs. */
async function listGrants(options: Common & { readonly unreviewed?: boolean }, print: Print): Promise<number> {
  const { state, socket } = readPlaces(options.config);
  const answer = await callGateway(socket, 'GET', '/v1/break-glass') as { readonly grants: readonly GrantReport[] } | undefined;
  const all = answer?.grants ?? readGrants(state);
  const grants = options.unreviewed === true ? all.filter(({ review }) => review === undefined) : all;
  if (options.json === true) print(JSON.stringify({ running: answer !== undefined, grants }));
  else print(grants.length === 0 ? 'none' : grants.map((grant) => formatGrant(grant, Date.now())).join('\n'));
  return 0;
}

/** `wardgate break-glass review`: exit 1 when there is nothing to review under this id, or not yet. */
function reviewGrant(id: string, options: Common & { readonly who: string; readonly note: string }, print: Print): Promise<number> {
  return change('/v1/break-glass/review', 'reviewed', id, options, print);
}

/** `wardgate break-glass withdraw`: exit 1 when it is not open. */
function withdrawGrant(id: string, options: Common & { readonly who: string; readonly note: string }, print: Print): Promise<number> {
  return change('/v1/break-glass/withdraw', 'withdrawn', id, options, print);
}

async function change(path: string, done: string, id: string, { config, json, who, note }: Common & { readonly who: string; readonly note: string }, print: Print): Promise<number> {
  const answer = await callGateway(readPlaces(config).socket, 'POST', path, { id, who, note });
  if (answer === undefined) throw new Error('no gateway is running on this configuration');
  print(json === true ? JSON.stringify({ [done]: id }) : `${done} ${id}`);
  return 0;
}

function formatGrant({ id, at, until, route, role, who, certificate, address, reason, text, patient, breaks, closed, review }: GrantReport, now: number): string {
  return [
    `${id}  ${standing({ until, closed }, now)}, ${review === undefined ? 'NOT REVIEWED' : `reviewed ${review.at} by ${review.who}: ${quoted(review.note)}`}`,
    `  opened      ${at} until ${until}${closed?.who === undefined ? '' : `, withdrawn ${closed.at} by ${closed.who}: ${quoted(closed.note ?? '')}`}`,
    `  by          ${role} ${quoted(who)} from ${address}, certificate ${certificate}`,
    `  for         route ${route}${patient === undefined ? '' : `, patient ${quoted(patient)}`}, in spite of: ${breaks.join(', ')}`,
    `  because     ${reason}: ${quoted(text)}`,
  ].join('\n');
}

function standing({ until, closed }: { readonly until: string; readonly closed: GrantReport['closed'] | undefined }, now: number): string {
  return closed === undefined && Date.parse(until) > now ? 'OPEN' : 'ended';
}

/** What clients wrote must not steer a terminal. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
