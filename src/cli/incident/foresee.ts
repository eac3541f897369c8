import type { ConcernedRoute } from '../../concern.ts';
import type { DenySubject } from '../../store/deny-list.ts';
import type { Foreseen, Hit } from '../../thread-protocol.ts';
import { printable } from '../../config/issue.ts';
import { callGateway } from '../call.ts';
import { readPlaces } from '../places.ts';
import { warningLines } from './warned.ts';

type Answer = Foreseen & { readonly allowed: readonly ConcernedRoute[]; readonly warnings: readonly string[] };

/** What somebody thinks of, as it was given and as people read it. */
export interface Thought {
  readonly hit: Hit;
  readonly text: string;
}

/** Says whom it would hit: nothing is changed. Exit 0, also where no gateway runs that could tell. */
export async function foresee({ config, json }: { readonly config: string; readonly json?: boolean }, { hit, text }: Thought, print: (text: string) => void): Promise<number> {
  const answer = await callGateway(readPlaces(config).socket, 'POST', '/v1/foresee', hit) as Answer | undefined;
  const lately = 'id' in hit || hit.kind === 'serial' || hit.kind === 'fingerprint' ? impactCommand(hit) : undefined;
  if (json === true) print(JSON.stringify({ hit, running: answer !== undefined, ...answer, ...(lately === undefined ? {} : { impact: lately }) }));
  else print([`would hit: ${text}; nothing was changed`, ...(answer === undefined ? ['the gateway is not running'] : linesOf(answer)), ...(lately === undefined ? [] : [`what was done  ${lately}`])].join('\n'));
  return 0;
}

function linesOf({ connections, of, under_way: underWay, clients, roles, routes, allowed, lately, warnings }: Answer): readonly string[] {
  const named = clients.reduce((sum, client) => sum + client.connections, 0);
  return [
    ...warningLines(warnings),
    `connections    ${connections} of ${of} open, ${underWay} requests and streams under way`,
    ...Object.entries(roles).map(([role, count]) => `role           ${role === '' ? 'none' : role}: ${count}`),
    ...Object.entries(routes).map(([route, count]) => `under way      ${route}: ${count}`),
    ...clients.map(({ role, id, address, connections: count }) => `client         ${role === undefined ? `without a role, ${address}` : `${role} ${id}, ${address}`}: ${count}`),
    ...(named < connections ? [`               and ${connections - named} more connections`] : []),
    ...lately.map(({ certificate, role, id }) => `let in lately  ${role === undefined ? 'without a role' : `${role} ${id}`}, certificate ${certificate}…`),
    ...(allowed.length === 0 ? [] : [`routes         ${allowed.map(({ route }) => route).join(', ')}`]),
  ].map(printable);
}

function impactCommand(subject: Extract<DenySubject, { readonly id: string }> | Extract<DenySubject, { readonly kind: 'serial' | 'fingerprint' }>): string {
  const option = 'id' in subject ? `--id ${quoted(subject.id)}` : subject.kind === 'serial' ? `--serial ${subject.serial} --issuer ${quoted(subject.issuer_text)}` : `--fingerprint ${subject.fingerprint}`;
  return `wardgate impact ${option}`;
}

/** For a shell that it is pasted into. */
function quoted(text: string): string {
  return `'${printable(text).replaceAll("'", "'\\''")}'`;
}
