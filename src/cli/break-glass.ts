import { readGrants, type GrantReport } from '../store/grants.ts';
import { callGateway } from './call.ts';
import { readPlaces } from './places.ts';

type Print = (text: string) => void;

interface Common {
  readonly config: string;
  readonly json?: boolean;
}

/** `wardgate break-glass list`: of the running gateway, or from its state when none runs. */
export async function listGrants(options: Common & { readonly unreviewed?: boolean }, print: Print): Promise<number> {
  const { state, socket } = readPlaces(options.config);
  const answer = await callGateway(socket, 'GET', '/v1/break-glass') as { readonly grants: readonly GrantReport[] } | undefined;
  const all = answer?.grants ?? readGrants(state);
  const grants = options.unreviewed === true ? all.filter(({ review }) => review === undefined) : all;
  if (options.json === true) print(JSON.stringify({ running: answer !== undefined, grants }));
  else print(grants.length === 0 ? 'none' : grants.map((grant) => formatGrant(grant, Date.now())).join('\n'));
  return 0;
}

/** `wardgate break-glass review`: exit 1 when there is nothing to review under this id, or not yet. */
export function reviewGrant(id: string, options: Common & { readonly who: string; readonly note: string }, print: Print): Promise<number> {
  return change('/v1/break-glass/review', 'reviewed', id, options, print);
}

/** `wardgate break-glass withdraw`: exit 1 when it is not open. */
export function withdrawGrant(id: string, options: Common & { readonly who: string; readonly note: string }, print: Print): Promise<number> {
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
