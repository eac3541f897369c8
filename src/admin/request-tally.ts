import { Counter, type Metric, type Registry } from 'prom-client';

/** What one request came to. */
export interface RequestOutcome {
  readonly route: string;
  readonly role: string;
  readonly status: number;
  readonly seconds: number;
  /** Why it was denied; absent: it was not. */
  readonly reason?: string;
}

export interface RequestTally {
  count(outcome: RequestOutcome): void;
  /** Counts a connection that was denied as a whole. */
  denied(reason: string): void;
  /** What has been counted since the thread began, but for the routes of `without`. */
  sums(without: ReadonlySet<string>): RequestSums;
}

/** Requests by the first digit of their status, denials by reason, and durations in the buckets of the histogram, each by itself and not added up. */
export interface RequestSums {
  readonly requests: Readonly<Record<string, number>>;
  readonly denials: Readonly<Record<string, number>>;
  readonly durations: readonly number[];
}

interface Durations {
  readonly buckets: number[];
  sum: number;
  count: number;
}

interface Cell extends Omit<RequestOutcome, 'seconds' | 'reason'> {
  /** Since the last scrape. */
  requests: number;
  /** Before it. */
  before: number;
  readonly durations: Durations;
}

/**
 * Counts requests by route, role and status, and their durations by route, in plain numbers that are made metrics of when they
 * are asked for: prom-client's own counting of labels would be a tenth of what a request costs. `bounds` are the upper ends
 * of the buckets in seconds, ascending.
 */
export function createRequestTally(registry: Registry, bounds: readonly number[]): RequestTally {
  const cells = new Map<string, Cell>();
  const byRoute = new Map<string, Durations>();
  let last: Cell | undefined;
  new Counter({
    name: 'wardgate_requests_total', help: 'Requests answered', labelNames: ['route', 'role', 'status'], registers: [registry],
    collect() {
      for (const cell of cells.values()) {
        if (cell.requests > 0) this.inc({ route: cell.route, role: cell.role, status: cell.status }, cell.requests);
        cell.before += cell.requests;
        cell.requests = 0;
      }
    },
  });
  const denials = new Map<string, { all: number; told: number }>();
  new Counter({
    name: 'wardgate_denials_total', help: 'Requests and connections denied', labelNames: ['reason'], registers: [registry],
    collect() {
      for (const [reason, counted] of denials) {
        this.inc({ reason }, counted.all - counted.told);
        counted.told = counted.all;
      }
    },
  });
  registry.registerMetric(durationMetric('wardgate_request_duration_seconds', 'From request head to end of answer', bounds, byRoute));

  function deny(reason: string): void {
    const known = denials.get(reason);
    if (known === undefined) denials.set(reason, { all: 1, told: 0 });
    else known.all++;
  }

  function cellOf({ route, role, status }: RequestOutcome): Cell {
    const key = JSON.stringify([route, role, status]);
    let cell = cells.get(key);
    if (cell === undefined) {
      const durations = byRoute.get(route) ?? { buckets: Array.from({ length: bounds.length + 1 }, () => 0), sum: 0, count: 0 };
      byRoute.set(route, durations);
      cell = { route, role, status, requests: 0, before: 0, durations };
      cells.set(key, cell);
    }
    return cell;
  }

  return {
    count(outcome) {
      const { seconds } = outcome;
      if (last === undefined || last.route !== outcome.route || last.role !== outcome.role || last.status !== outcome.status) last = cellOf(outcome);
      last.requests++;
      if (outcome.reason !== undefined) deny(outcome.reason);
      const { durations } = last;
      let bucket = 0;
      while (bucket < bounds.length && seconds > (bounds[bucket] as number)) bucket++;
      (durations.buckets[bucket] as number)++;
      durations.sum += seconds;
      durations.count++;
    },
    denied: deny,
    sums(without) {
      const requests: Record<string, number> = {};
      for (const { route, status, requests: since, before } of cells.values()) {
        if (without.has(route)) continue;
        const kind = `${String(status)[0]}xx`;
        requests[kind] = (requests[kind] ?? 0) + since + before;
      }
      const durations = Array.from({ length: bounds.length + 1 }, () => 0);
      for (const [route, { buckets }] of byRoute) if (!without.has(route)) buckets.forEach((count, index) => (durations[index] = (durations[index] as number) + count));
      return { requests, denials: Object.fromEntries([...denials].map(([reason, { all }]) => [reason, all])), durations };
    },
  };
}

/** A histogram as prom-client's registry takes it, of numbers kept elsewhere. */
function durationMetric(name: string, help: string, bounds: readonly number[], byRoute: ReadonlyMap<string, Durations>): Metric {
  const metric = {
    name, help, type: 'histogram', aggregator: 'sum',
    get: () => Promise.resolve({
      name, help, type: 'histogram', aggregator: 'sum',
      values: [...byRoute].flatMap(([route, { buckets, sum, count }]) => {
        let below = 0;
        return [
          ...buckets.map((here, index) => ({ metricName: `${name}_bucket`, labels: { le: bounds[index] ?? '+Inf', route }, value: below += here })),
          { metricName: `${name}_sum`, labels: { route }, value: sum },
          { metricName: `${name}_count`, labels: { route }, value: count },
        ];
      }),
    }),
  };
  // Not one of prom-client's own classes: the registry asks of a metric no more than this.
  return metric as unknown as Metric;
}
