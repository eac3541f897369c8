import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSafeBoard } from '../../src/audit/board.ts';
import { createFeed, type ConsumerReport, type Feed } from '../../src/audit/feed.ts';
import { createForms, type Forms } from '../../src/audit/forms/forms.ts';
import { maskRules } from '../../src/audit/masking.ts';
import type { AuditRecord } from '../../src/audit/record.ts';
import type { ReceiverSetup, SinkSetup } from '../../src/audit/sinks/setup.ts';
import { createSink } from '../../src/audit/sinks/sink.ts';
import { openAuditWriter } from '../../src/audit/writer.ts';
import { audit as auditSchema } from '../../src/config/schema/audit.ts';
import type { TestPki } from './pki.ts';

/** An audit that grows, and sinks that are fed from it, without a gateway around. */
export interface Feeding {
  readonly directory: string;
  path(name: string): string;
  readonly feed: Feed;
  /** Puts so many records on record; resolves with their request ids. */
  record(count: number, parts?: Partial<AuditRecord>): Promise<readonly string[]>;
  add(setup: SinkSetup): void;
  report(name?: string): ConsumerReport | undefined;
  readonly warnings: readonly string[];
  stop(): Promise<void>;
}

const RULES = maskRules({ audit: { masking: auditSchema.parse({}).masking }, routes: [] } as never);
const KEY = { id: '0badcafe', secret: Buffer.alloc(32, 7) };

/** Forms as the gateway makes them, under the name gateway.test. */
export const forms: Forms = createForms({ rules: RULES, key: () => KEY, reporter: { name: 'gateway.test', version: '0.1.0' } });

export async function startFeeding(): Promise<Feeding> {
  const directory = await mkdtemp(join(tmpdir(), 'wardgate-sink-'));
  const path = (name: string): string => join(directory, name);
  mkdirSync(path('feed'), { mode: 0o700 });
  const warnings: string[] = [];
  const warn = (detail: string): void => void warnings.push(detail);
  const board = createSafeBoard(1);
  const writer = openAuditWriter({ directory: path('audit'), gateway: 'g', start: 1, after: 'a', durability: 'write', board: board.buffer }, 'main', Date.now());
  const feed = createFeed({ directory: path('audit'), positions: path('feed'), board, now: () => Date.now(), warn });
  let number = 0;
  return {
    directory, path, feed, warnings,
    async record(count, parts = {}) {
      const ids = Array.from({ length: count }, () => `r${String(number++).padStart(6, '0')}`);
      await Promise.all(ids.map((id) => writer.append({
        time: new Date().toISOString(), event: 'request', result: 'permitted', request_id: id, listener: 'clinical', address: '127.0.0.1', route: 'records', method: 'GET',
        host: 'api.hospital.test', path: '/records', status: 200, ...parts,
      })));
      return ids;
    },
    add: (setup) => feed.add(createSink(setup, { forms, host: 'gateway.test', process: 1, now: () => Date.now(), warn }), 'start'),
    report: (name) => feed.report().find((one) => name === undefined || one.name === name),
    async stop() {
      await feed.close(0);
      writer.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** A receiver on this machine that shows the backend's certificate; the gateway shows its own. */
export function receiverSetup(pki: TestPki, port: number, parts: Partial<ReceiverSetup> = {}): ReceiverSetup {
  return {
    host: '127.0.0.1', port, serverName: 'records.internal', trust: pki.backendCa.certificate, certificate: pki.gatewayClient.chain, key: pki.gatewayClient.key, timeout: 2_000, ...parts,
  };
}
