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
