import type { DrainReport } from '../../admin/calls/incident.ts';
import { parseDuration } from '../../config/values.ts';
import { callGateway, why } from '../call.ts';
import { counted } from '../counted.ts';
import { readPlaces } from '../places.ts';
import { usage } from '../usage.ts';

export interface DrainOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly listener?: string;
  readonly for: string;
  readonly reason?: string;
  readonly undo?: true;
  readonly dryRun?: true;
  readonly who: string;
}

const LOOK_MS = 500;

/** `wardgate drain`: exit 0 once nothing is open any more, 1 when something still is after `--for`. `told` shows progress, which is no part of the output. */
export async function drain(options: DrainOptions, print: (text: string) => void, told: (text: string) => void): Promise<number> {
  const patience = parseDuration(options.for);
  if (patience === undefined) return usage(`--for: ${JSON.stringify(options.for)} is not a duration such as 10m`);
  const { socket } = readPlaces(options.config);
  const call = async <Answer>(method: string, path: string, body?: object): Promise<Answer> => {
    const answer = await callGateway(socket, method, path, body);
    if (answer === undefined) throw new Error('no gateway is running on this configuration');
    return answer as Answer;
  };
  const scope = options.listener === undefined ? {} : { listener: options.listener };
  if (options.dryRun === true) return foreseeDrain(options, await call<DryRun>('POST', '/v1/drain/foresee', scope), print);
  if (options.undo === true) {
    const { undone } = await call<{ undone: boolean }>('POST', '/v1/drain/undo', { ...scope, who: options.who, ...why(options) });
    print(options.json === true ? JSON.stringify({ undone }) : undone ? 'takes new connections again' : 'was not drained');
    return undone ? 0 : 1;
  }
  let report = await call<DrainReport>('POST', '/v1/drain', { ...scope, who: options.who, ...why(options) });
  const deadline = performance.now() + patience;
  for (let before = -1; report.connections > 0 && performance.now() < deadline; before = report.connections) {
    if (report.connections !== before) told(`${counted(report.connections, 'connection')} open, ${report.under_way} requests and streams under way`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(LOOK_MS, Math.max(0, deadline - performance.now()))));
    report = await call<DrainReport>('GET', '/v1/drain');
  }
  const done = report.connections === 0;
  const names = report.listeners.join(', ');
  print(options.json === true ? JSON.stringify({ drained: done, ...report }) : done
    ? `drained: ${names}; nothing new is taken until wardgate drain --undo`
    : `still open on ${names}: ${counted(report.connections, 'connection')}, ${report.under_way} requests and streams under way; nothing new is taken`);
  return done ? 0 : 1;
}

interface DryRun {
  readonly listeners: readonly string[];
  readonly connections: number;
  readonly under_way: number;
}

function foreseeDrain({ json }: DrainOptions, found: DryRun, print: (text: string) => void): number {
  print(json === true ? JSON.stringify(found) : [
    `would take nothing new: ${found.listeners.join(', ')}; nothing was changed`, `connections    ${found.connections} open, ${found.under_way} requests and streams under way, which would finish`,
  ].join('\n'));
  return 0;
}
