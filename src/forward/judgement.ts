import type { Denial, Policy } from '../policy/decision.ts';
import type { Reason, RequestFacts } from '../policy/facts.ts';
import type { Exchange } from './exchange.ts';
import type { HttpOptions } from './http-options.ts';

/** Why a request with these facts would not be let in any more; undefined while it would. */
export type Objection = (facts: RequestFacts, policy: Policy) => Denial | undefined;

/** Why a connection is ended with everything that is under way on it. */
export interface EndCause {
  /** Absent where nobody's right has ended. */
  readonly reason?: Reason;
  readonly detail: string;
}

/** What takes the right away from a request that is under way; undefined while nothing does, and before it has been decided. */
export function objectionTo(exchange: Exchange, objection: Objection, options: Pick<HttpOptions, 'retired' | 'service'>): Denial | undefined {
  const { facts, decision, service } = exchange;
  if (facts === undefined || decision?.kind !== 'permit') return undefined;
  // Where nothing new is taken any more, what is under way finishes under what it began with.
  const { policy } = options.retired() ? service : options.service();
  const denial = objection(facts, policy);
  exchange.alarm = denial?.alarm;
  return denial;
}
