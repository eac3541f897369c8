import { randomInt } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { UpstreamConfig } from '../../config/schema.ts';
import type { UpstreamMaterial } from '../../config/snapshot.ts';
import { byKey, hashOf, inTurn, leastLoaded } from './balance.ts';
import { createDialling } from './dial.ts';
import { connectFault } from './connect-fault.ts';
import { Endpoint, type EndpointOptions, type UpstreamEndpoint } from './endpoint.ts';
import {
  activeOn, beginOn, beginOnAll, compareFailure, count, countOnAll, endOn, endOnAll, endTrial, enter, isFailing, noteFailure, noteSuccess, openTable, passTrial,
  shareOf, type EjectionRules, type UpstreamTable,
} from './table.ts';
import { createTries } from './tries.ts';
import type { AddressFault, ConnectOptions, Failed, Target, Trail, Turn, TurnResult, Upstream, UpstreamConnection, UpstreamShare } from './upstream.ts';

export { connectFault, isOpen, type ConnectFault } from './connect-fault.ts';
export type { UpstreamEndpoint } from './endpoint.ts';
export { repeatable, type ConnectOptions, type Failed, type Target, type Trail, type Turn, type TurnResult, type Upstream, type UpstreamConnection, type UpstreamShare } from './upstream.ts';

export interface UpstreamOptions {
  readonly name: string;
  readonly config: UpstreamConfig;
  readonly material: UpstreamMaterial;
  readonly share: UpstreamShare;
  /** This thread's number among `threads`. */
  readonly thread: number;
  readonly threads: number;
  /** Milliseconds on a clock that all threads share. */
  readonly clock: () => number;
}

/** Retries that are possible whatever the share of the requests is. */
const RESERVE = 10;
/** First turns taken at random, so that threads and replicas do not all begin with the same endpoint. */
const MOST_SKIPPED = 1_000;

/** The endpoints of one upstream on one thread: which of them serves a request, and what is known of them. */
export function createUpstream(options: UpstreamOptions): Upstream {
  return new Pool(options);
}

/** The rules by which an upstream's addresses are left out and come back. */
export function ejectionRules({ ejection, slow_start, timeouts }: UpstreamConfig): EjectionRules {
  return { failures: ejection.failures, time: ejection.time, longest: ejection.longest, slowStart: slow_start, trial: timeouts.connect + timeouts.response };
}

/** How many of so many addresses may be out: never the last one. */
function mostOut({ ejection }: UpstreamConfig, addresses: number): number {
  return Math.min(addresses - 1, Math.floor(addresses * ejection.most + 1e-9));
}

/** Where whoever ends a turn cannot say why it failed. */
const UNSAID = 'the connection ended before its answer did';

class Pool implements Upstream {
  readonly name: string;
  readonly config: UpstreamConfig;
  readonly id: number;
  readonly table: UpstreamTable;
  readonly rules: EjectionRules;
  readonly thread: number;
  readonly clock: () => number;
  readonly #endpointOptions: (target: Target) => EndpointOptions;
  readonly #mostRequests: number;
  readonly #mostOnEndpoint: number;
  #endpoints: readonly Endpoint[] = [];
  #slots: readonly number[] = [];
  #mostOut = 0;
  #problem: string | undefined;
  /** One cell for each endpoint, in their order, so that a choice makes no garbage. */
  #shares = new Float64Array(0);
  #credits = new Float64Array(0);
  #loads = new Float64Array(0);
  #seeds = new Int32Array(0);
  #start = 0;
  #retryTokens = RESERVE;

  constructor({ name, config, material, share, thread, threads, clock }: UpstreamOptions) {
    this.name = name;
    this.config = config;
    this.id = share.id;
    this.table = openTable(share.buffer, threads, config.endpoints.length);
    this.rules = ejectionRules(config);
    this.thread = thread;
    this.clock = clock;
    this.#mostRequests = config.limits.requests;
    this.#mostOnEndpoint = config.limits.endpoint_requests ?? Infinity;
    const dialling = createDialling(config, material);
    const mostConnections = config.limits.connections === undefined ? Infinity : Math.max(1, Math.floor(config.limits.connections / threads));
    this.#endpointOptions = ({ slot, endpoint: index, address }) => {
      const endpoint = config.endpoints[index] as UpstreamConfig['endpoints'][number];
      const tlsOptions = dialling.options(endpoint.host, endpoint.port, address);
      return {
        slot, index, weight: endpoint.weight,
        url: endpointUrl(endpoint.host, endpoint.port),
        name: address === endpoint.host ? endpoint.text : `${endpoint.text} ${address}`,
        connectOptions: () => tlsOptions,
        connectTime: config.timeouts.connect,
        idleTime: config.timeouts.idle,
        mostConnections,
        refused: () => countOnAll(this.table, thread, 'connections_refused'),
      };
    };
    this.retarget(share.targets, share.problem);
  }

  choose(key: string): Turn | Failed {
    if (this.#retryTokens < RESERVE) this.#retryTokens = Math.min(RESERVE, this.#retryTokens + this.config.retries.budget);
    return this.#take(key, undefined);
  }

  again(key: string, failed: readonly Turn[]): Turn | undefined {
    const last = failed.at(-1);
    if (last === undefined || failed.length >= this.config.retries.attempts) return undefined;
    // Its connection had been closed while nobody used it: the endpoint itself may be as well as ever.
    const stale = last.result === 'stale';
    if (!stale && this.config.retries.budget === 0) return undefined;
    const turn = this.#take(key, failed);
    if (turn.kind === 'failed') return undefined;
    if (!stale && !this.#spend(turn)) return undefined;
    countOnAll(this.table, this.thread, 'retried');
    return turn;
  }

  async connect(key: string, { allowHalfOpen = true, preface }: ConnectOptions = {}): Promise<UpstreamConnection> {
    const trail: Trail = { endpoint: undefined, attempts: [] };
    const tries = createTries(this, key, trail);
    for (let turn = tries.begin(); ;) {
      if (turn.kind === 'failed') return { ...turn, trail };
      const opened = await openSocket(turn.endpoint, allowHalfOpen, preface);
      if ('socket' in opened) return { kind: 'connected', socket: opened.socket, turn, trail };
      const { result, code, detail } = opened.fault;
      turn.done(result, detail);
      const next = tries.again(turn, detail);
      if (next === undefined) return { kind: 'failed', code, detail, trail };
      turn = next;
    }
  }

  retarget(targets: readonly Target[], problem?: string): void {
    const before = new Map(this.#endpoints.map((endpoint) => [endpoint.slot, endpoint]));
    this.#endpoints = targets.map((target) => {
      const wanted = this.#endpointOptions(target);
      const kept = before.get(target.slot);
      if (kept?.name !== wanted.name) return new Endpoint(wanted);
      before.delete(target.slot);
      return kept;
    });
    for (const gone of before.values()) gone.retire();
    const { length } = this.#endpoints;
    this.#problem = problem;
    this.#slots = this.#endpoints.map(({ slot }) => slot);
    this.#mostOut = mostOut(this.config, length);
    this.#shares = new Float64Array(length);
    this.#loads = new Float64Array(length);
    this.#seeds = Int32Array.from(this.#endpoints, ({ seed }) => seed);
    this.#credits = new Float64Array(length);
    this.#start = length === 0 ? 0 : randomInt(length);
    const weights = Float64Array.from(this.#endpoints, ({ weight }) => weight);
    for (let skipped = randomInt(Math.min(MOST_SKIPPED, 1 + weights.reduce((sum, weight) => sum + weight, 0))); skipped > 0; skipped--) inTurn(weights, this.#credits);
  }

  faults(): readonly AddressFault[] {
    return this.#endpoints.flatMap(({ slot, fault }) => (fault === undefined ? [] : [{ slot, ...fault }]));
  }

  retire(): void {
    for (const endpoint of this.#endpoints) endpoint.retire();
  }

  /** Notes how a turn went, in the table that all threads read. */
  ended(turn: OpenTurn, result: TurnResult, detail = UNSAID): void {
    const { endpoint, trial } = turn;
    const { table, thread } = this;
    endOn(table, thread, endpoint.slot);
    count(table, thread, endpoint.index, result);
    switch (result) {
      case 'answered': return this.passed(turn);
      case 'failed':
      case 'timeout':
      case 'unverified': {
        endpoint.fault = { at: Date.now(), detail: result === 'timeout' && detail === UNSAID ? 'no answer in time' : detail };
        const failure = { trial, conclusive: result === 'unverified', slots: this.#slots, most: this.#mostOut, now: this.clock(), spread: randomInt(1_000) / 1_000 };
        if (noteFailure(table, endpoint.slot, this.rules, failure)) {
          count(table, thread, endpoint.index, 'ejected');
          endpoint.drop();
        }
        return;
      }
      default:
        if (trial) endTrial(table, endpoint.slot);
    }
  }

  /** A turn has brought an answer, or the beginning of one. */
  passed({ endpoint, trial }: OpenTurn): void {
    if (trial) passTrial(this.table, endpoint.slot, this.rules.slowStart, this.clock());
    else noteSuccess(this.table, endpoint.slot);
  }

  #take(key: string, failed: readonly Turn[] | undefined): OpenTurn | Failed {
    if (!beginOnAll(this.table, this.#mostRequests)) {
      countOnAll(this.table, this.thread, 'requests_refused');
      return { kind: 'failed', code: 'overloaded', detail: `the upstream ${this.name} has ${this.#mostRequests} requests under way, as many as it may` };
    }
    const turn = this.#takeShare(key, failed);
    if (turn.kind === 'failed') endOnAll(this.table);
    return turn;
  }

  #takeShare(key: string, failed: readonly Turn[] | undefined): OpenTurn | Failed {
    const { table, thread, rules, clock } = this;
    let full = false;
    switch (this.#fillShares(failed)) {
      case 'full': full = true; break;
      case 'failing': return this.#leastRecentlyFailed(failed);
      default:
    }
    for (let index = this.#pick(key); index !== -1; index = this.#pick(key)) {
      const endpoint = this.#endpoints[index] as Endpoint;
      const entry = enter(table, endpoint.slot, rules, clock);
      if (entry !== 'refused') {
        if (beginOn(table, thread, endpoint.slot, this.#mostOnEndpoint)) return new OpenTurn(this, endpoint, entry === 'trial');
        if (entry === 'trial') endTrial(table, endpoint.slot);
        full = true;
      }
      this.#shares[index] = -1;
    }
    if (full) return this.#full();
    return this.#leastRecentlyFailed(failed);
  }

  /** What each endpoint may have now. `full`: one had to be passed over because it has as much as it may. `failing`: none is known to work. */
  #fillShares(failed: readonly Turn[] | undefined): 'some' | 'full' | 'failing' {
    const { table, rules, clock } = this;
    const limited = this.#mostOnEndpoint !== Infinity;
    const counted = limited || this.config.balance === 'least_connections';
    let full = false;
    let sound = this.config.all_down === 'refuse';
    for (let index = 0; index < this.#endpoints.length; index++) {
      const endpoint = this.#endpoints[index] as Endpoint;
      let share = shareOf(table, endpoint.slot, rules, clock) * endpoint.weight;
      if (counted) {
        const load = activeOn(table, endpoint.slot);
        this.#loads[index] = load;
        if (limited && share > 0 && load >= this.#mostOnEndpoint) {
          share = -1;
          full = true;
        }
      }
      this.#shares[index] = failed !== undefined && wasTried(failed, endpoint) ? -1 : share;
      sound ||= share !== 0 && !isFailing(table, endpoint.slot);
    }
    if (!sound) return 'failing';
    return full ? 'full' : 'some';
  }

  #pick(key: string): number {
    switch (this.config.balance) {
      case 'round_robin': return inTurn(this.#shares, this.#credits);
      case 'least_connections':
        this.#start = (this.#start + 1) % Math.max(1, this.#shares.length);
        return leastLoaded(this.#shares, this.#loads, this.#start);
      case 'hash': return byKey(this.#shares, this.#seeds, hashOf(key));
    }
  }

  #full(): Failed {
    countOnAll(this.table, this.thread, 'requests_refused');
    return { kind: 'failed', code: 'overloaded', detail: `every endpoint of the upstream ${this.name} has ${this.#mostOnEndpoint} requests under way, as many as it may` };
  }

  /** None is known to work. Better a try than a refusal, unless it is wanted otherwise: what is known may be out of date. */
  #leastRecentlyFailed(failed: readonly Turn[] | undefined): OpenTurn | Failed {
    if (this.#endpoints.length === 0) return unavailable(this.#problem ?? `the upstream ${this.name} has no address`);
    let best: Endpoint | undefined;
    for (const endpoint of this.#endpoints) {
      if (failed !== undefined && wasTried(failed, endpoint)) continue;
      if (best === undefined || compareFailure(this.table, endpoint.slot, best.slot) < 0) best = endpoint;
    }
    // Nothing else is left: a connection that had gone stale says nothing against the endpoint.
    if (best === undefined && failed?.at(-1)?.result === 'stale') best = failed.at(-1)?.endpoint as Endpoint;
    if (best === undefined) return unavailable('no other endpoint is left to ask');
    if (this.config.all_down === 'refuse' && failed?.at(-1)?.result !== 'stale') return unavailable(`no endpoint of the upstream ${this.name} is known to work`);
    return beginOn(this.table, this.thread, best.slot, this.#mostOnEndpoint) ? new OpenTurn(this, best, true) : this.#full();
  }

  /** Takes one from the budget of retries; without one the turn is given back. */
  #spend(turn: Turn): boolean {
    if (this.#retryTokens >= 1) {
      this.#retryTokens--;
      return true;
    }
    turn.done('abandoned');
    countOnAll(this.table, this.thread, 'retry_refused');
    return false;
  }
}

class OpenTurn implements Turn {
  readonly kind = 'turn';
  readonly endpoint: Endpoint;
  /** Whether the endpoint is not known to work. */
  readonly trial: boolean;
  result: TurnResult | undefined = undefined;
  readonly #pool: Pool;

  constructor(pool: Pool, endpoint: Endpoint, trial: boolean) {
    this.#pool = pool;
    this.endpoint = endpoint;
    this.trial = trial;
  }

  answering(): void {
    if (this.trial && this.result === undefined) this.#pool.passed(this);
  }

  done(result: TurnResult, detail?: string): void {
    if (this.result !== undefined) return;
    this.result = result;
    this.#pool.ended(this, result, detail);
  }
}

function wasTried(failed: readonly Turn[], endpoint: UpstreamEndpoint): boolean {
  for (const turn of failed) if (turn.endpoint === endpoint) return true;
  return false;
}

function unavailable(detail: string): Failed {
  return { kind: 'failed', code: 'upstream_unavailable', detail };
}

function openSocket(endpoint: UpstreamEndpoint, allowHalfOpen: boolean, preface: Buffer | undefined): Promise<{ readonly socket: TLSSocket } | { readonly fault: ReturnType<typeof connectFault> }> {
  return new Promise((resolve) => {
    const socket = endpoint.open({ allowHalfOpen } as object, preface);
    const failed = (error: NodeJS.ErrnoException): void => resolve({ fault: connectFault(socket, error) });
    socket.once('error', failed);
    socket.once('close', () => failed(new Error('the connection was closed before it was open')));
    socket.once('secureConnect', () => resolve({ socket }));
  });
}

function endpointUrl(host: string, port: number): URL {
  return new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`);
}
