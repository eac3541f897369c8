import { timeText } from '../backup/ground.ts';

/** One thing that a drill looked at. */
export interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly ms?: number;
  /** How long it may take, in ms. */
  readonly bar?: number;
  readonly detail?: string;
}

export interface DrillReport {
  readonly drill: string;
  readonly passed: boolean;
  /** ISO 8601 */
  readonly began: string;
  readonly ms: number;
  readonly findings: readonly Finding[];
  /** Who would have been hit, and where. */
  readonly hit: readonly { readonly role: string; readonly routes: readonly string[]; readonly listeners: readonly string[] }[];
  readonly left_out: readonly string[];
}

/** Does something against the clock: `ok` also means that it was done within the bar. What throws has failed, and the drill goes on. */
export async function timed(what: string, bar: number | undefined, act: () => Promise<{ readonly ok: boolean; readonly detail?: string }>): Promise<Finding> {
  const began = performance.now();
  const limit = Math.min(bar ?? LONGEST_MS, LONGEST_MS);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<{ readonly ok: boolean; readonly detail?: string }>((done) => {
    timer = setTimeout(() => done({ ok: false, detail: `not so within ${timeText(limit)}` }), limit);
  });
  const outcome = await Promise.race([act().catch((error: Error) => ({ ok: false, detail: error.message })), late]);
  clearTimeout(timer);
  const ms = Math.round(performance.now() - began);
  return { what, ...outcome, ok: outcome.ok && (bar === undefined || ms <= bar), ms, ...(bar === undefined ? {} : { bar }) };
}

/** What takes longer on a machine alone will not come. */
const LONGEST_MS = 90_000;

export function reportText({ drill, passed, ms, findings, hit, left_out: leftOut }: DrillReport): string {
  return [
    `drill ${drill}: ${passed ? 'passed' : 'NOT PASSED'} in ${timeText(ms)}, against a staging gateway`,
    ...findings.map(({ what, ok, ms: took, bar, detail }) => `${ok ? 'ok      ' : 'MISSED  '}${what}${took === undefined ? '' : `: ${timeText(took)}`}${bar === undefined ? '' : ` of ${timeText(bar)}`}${detail === undefined ? '' : ` (${detail})`}`),
    ...hit.map(({ role, routes, listeners }) => `would hit  ${role}: ${[...routes, ...listeners.map((name) => `listener ${name}`)].join(', ') || 'no route'}`),
    ...leftOut.map((text) => `left out   ${text}`),
  ].join('\n');
}
