import type { Answered, Call, Question } from '../message.ts';
import type { Failed, Trail, Turn, Upstream } from './upstream.ts';

/** The tries of one request, with their trail. */
export interface Tries {
  begin(): Turn | Failed;
  /** Another try after one that came to nothing and may be repeated; its turn is done. Undefined when there is to be none. */
  again(turn: Turn, detail: string): Turn | undefined;
}

/** Begins the tries of a request, whose endpoints are written into `trail`. */
export function createTries(upstream: Upstream, key: string, trail: Trail): Tries {
  const failed: Turn[] = [];
  return {
    begin() {
      const turn = upstream.choose(key);
      if (turn.kind === 'turn') trail.endpoint = turn.endpoint.name;
      return turn;
    },
    again(turn, detail) {
      failed.push(turn);
      const next = upstream.again(key, failed);
      if (next === undefined) return undefined;
      trail.attempts = [...trail.attempts, `${turn.endpoint.name}: ${detail}`];
      trail.endpoint = next.endpoint.name;
      return next;
    },
  };
}

/** One try at one endpoint. `settled` hears what came of it, and whether it may be tried again; what it gives back ends it. */
export type Attempt = (turn: Turn, settled: (answered: Answered, again: boolean) => void) => () => void;

/** Asks by one attempt after the other until there is an answer, or none is to be had. */
export function askInTurn({ upstream, key, trail }: Question, attempt: Attempt): Call {
  let end: () => void = () => undefined;
  let cancelled = false;
  const answer = new Promise<Answered>((resolve) => {
    const tries = createTries(upstream, key, trail);
    const start = (turn: Turn): void => {
      end = attempt(turn, (answered, again) => {
        if (cancelled) return;
        const next = answered.kind === 'failed' && again ? tries.again(turn, answered.detail) : undefined;
        if (next === undefined) resolve(answered);
        else start(next);
      });
    };
    const first = tries.begin();
    if (first.kind === 'failed') resolve(first);
    else start(first);
  });
  return {
    answer,
    cancel() {
      cancelled = true;
      end();
    },
  };
}
