import { once } from 'node:events';
import { Agent } from 'node:https';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openEvidence } from '../../src/audit/evidence.ts';
import { readAnchor, verifyAudit, type Verdict } from '../../src/audit/verify.ts';
import { startBackend } from './backend.ts';
import { wardgateRun } from './command.ts';
import { ask, configuration, gatewayDirectory, readRecords } from './gateway.ts';
import { testPki } from './pki.ts';

/** One gateway killed under load, and what was found after the next start. */
export interface KilledRound {
  /** Requests whose 2xx had come whole when it was killed. */
  readonly completed: number;
  /** Those of them without a record. */
  readonly lost: readonly string[];
  readonly verdict: Verdict;
  /** Whether the kill left half a line that was cut off. */
  readonly torn: boolean;
  /** Segments that there are by then. */
  readonly segments: number;
}

const CLIENTS = 12;

/**
 * Starts a gateway, has clients ask without a pause, kills it with SIGKILL within `most` ms of the time that `least` requests were answered, starts it
 * again on the same state, and so on; the audit is verified beside each new process.
 */
export async function killUnderLoad(rounds: number, { least = CLIENTS, most = 400, durability = 'write', rotate = '256MiB', done = () => undefined }: {
  readonly least?: number; readonly most?: number; readonly durability?: 'write' | 'fsync'; readonly rotate?: string; readonly done?: (round: KilledRound) => void;
} = {}): Promise<readonly KilledRound[]> {
  const pki = await testPki();
  const backend = await startBackend(pki);
  const directory = await gatewayDirectory(pki);
  const config = join(directory, 'wardgate.yaml');
  const anchor = join(directory, 'anchors.ndjson');
  await writeFile(config, configuration(backend.port, { top: `audit: { anchor: { file: anchors.ndjson }, checkpoint: ${rotate === '256MiB' ? '100ms' : '50ms'}, durability: ${durability}, rotate: { size: ${rotate} } }` }));
  const found: KilledRound[] = [];
  const completed = new Set<string>();
  let running = await wardgateRun(config);
  try {
    for (let round = 0; round < rounds; round++) {
      const before = completed.size;
      const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
      let going = true;
      const clients = Array.from({ length: CLIENTS }, async (_, client) => {
        for (let request = 0; going; request++) {
          const reply = await ask(pki, running.port, request % 3 === 0 ? '/records' : `/echo/${client}`, { client: pki.doctor, agent }).catch(() => undefined);
          if (reply === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
          else if (reply.status >= 200 && reply.status < 300) completed.add(String(reply.headers['x-request-id']));
        }
      });
      while (completed.size < before + least) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * most));
      const exit = once(running.child, 'exit');
      process.kill(running.pid, 'SIGKILL');
      await exit;
      going = false;
      await Promise.all(clients);
      agent.destroy();
      running = await wardgateRun(config);
      const recorded = new Set((await readRecords(join(directory, 'state/audit'))).filter(({ result }) => result === 'permitted').map((record) => record['request_id']));
      const evidence = openEvidence(join(directory, 'state/audit'));
      const verdict = verifyAudit({ evidence, anchor: readAnchor(anchor) });
      let torn = false;
      evidence.register((line) => {
        torn ||= line.includes(`"start":${round + 2},`) && line.includes('"cut"');
      });
      found.push({ completed: completed.size - before, lost: [...completed].filter((id) => !recorded.has(id)), verdict, torn, segments: verdict.segments });
      done(found.at(-1) as KilledRound);
    }
    return found;
  } finally {
    await running.stop();
    await backend.close();
    await rm(directory, { recursive: true, force: true });
  }
}
