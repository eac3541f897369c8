import { randomBytes } from 'node:crypto';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { ReadableSpan, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace';
import type { TracingConfig } from '../config/schema.ts';
import type { TracingMaterial } from '../config/snapshot.ts';
import type { Tracer } from '../forward/exchange.ts';
import { createTracer } from './span.ts';

/** What became of spans. */
export type SpanResult = 'exported' | 'failed' | 'dropped';

/** The way of one thread's spans to the collector. */
export interface Collector {
  readonly tracer: Tracer;
  /** Sends what waits, for as long as `limit` ms, and forgets the rest. */
  close(limit: number): Promise<void>;
}

/** Spans that wait or are on their way at a time, on one thread: a few megabytes. */
const MOST_WAITING = 2_048;
const BATCH = 256;
const DELAY_MS = 500;
const EXPORT_MS = 10_000;
/** When even the exporter's own deadlines have not ended an export. */
const LOST_MS = 30_000;

/**
 * Opens the way to an OpenTelemetry collector, verified by the configured trust alone. The packages are loaded here and nowhere
 * else. A collector that is slow or away costs spans, never requests: what waits is bounded, and what does not fit is dropped and counted.
 */
export async function openCollector(config: TracingConfig, material: TracingMaterial, count: (result: SpanResult, spans: number) => void): Promise<Collector> {
  const [api, { BatchSpanProcessor, ParentBasedSampler, TraceIdRatioBasedSampler, TracerProvider }, { resourceFromAttributes }, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/api'), import('@opentelemetry/sdk-trace'), import('@opentelemetry/resources'), import('@opentelemetry/exporter-trace-otlp-http'),
  ]);
  const agent = agentFor(config, material);
  const exporter = new OTLPTraceExporter({
    url: config.endpoint, httpAgentOptions: () => agent, timeoutMillis: EXPORT_MS, concurrencyLimit: 4,
    headers: material.authorization === undefined ? {} : { authorization: material.authorization },
  });
  let waiting = 0;
  const settled = (spans: number, result: SpanResult): void => {
    waiting -= spans;
    count(result, spans);
  };
  const batches = new BatchSpanProcessor({
    exporter: counted(exporter, settled), maxQueueSize: MOST_WAITING, maxExportBatchSize: BATCH, scheduledDelayMillis: DELAY_MS, exportTimeoutMillis: LOST_MS,
  });
  const bounded: SpanProcessor = {
    onStart: () => undefined,
    onEnd(span) {
      if (waiting >= MOST_WAITING) return count('dropped', 1);
      waiting += 1;
      batches.onEnd(span);
    },
    forceFlush: () => batches.forceFlush(),
    shutdown: () => batches.shutdown(),
  };
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': config.service_name }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(config.sample) }),
    // The package's own ids can be predicted.
    idGenerator: { generateTraceId: () => randomBytes(16).toString('hex'), generateSpanId: () => randomBytes(8).toString('hex') },
    spanProcessors: [bounded],
  });
  return {
    tracer: createTracer(api, provider.getTracer('wardgate'), config),
    async close(limit) {
      await Promise.race([provider.shutdown().catch(() => undefined), new Promise((resolve) => setTimeout(resolve, limit).unref())]);
      agent.destroy();
    },
  };
}

function agentFor(config: TracingConfig, { trust, certificate, key }: TracingMaterial): HttpAgent | HttpsAgent {
  if (!config.endpoint.toLowerCase().startsWith('https:')) return new HttpAgent({ keepAlive: true, maxSockets: 2 });
  if (trust === undefined) throw new Error('tracing: an https collector without trust');
  return new HttpsAgent({
    keepAlive: true, maxSockets: 2, ca: trust, minVersion: 'TLSv1.2', rejectUnauthorized: true, ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
  });
}

/** Tells of every export once how it ended, one that never ends included. */
function counted(exporter: SpanExporter, settled: (spans: number, result: SpanResult) => void): SpanExporter {
  return {
    export(spans: ReadableSpan[], done) {
      let open = true;
      const settle = (result: SpanResult): void => {
        if (!open) return;
        open = false;
        clearTimeout(timer);
        settled(spans.length, result);
      };
      const timer = setTimeout(() => settle('failed'), LOST_MS).unref();
      exporter.export(spans, (result) => {
        settle(result.error === undefined && result.code === 0 ? 'exported' : 'failed');
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
  };
}
