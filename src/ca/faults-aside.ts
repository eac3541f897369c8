import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** Of 30,000 events it takes about 5 s. */
const DEADLINE_MS = 600_000;

/** Everything that is wrong with a CA (see `faults`), by a thread of its own: a responder must answer meanwhile. Rejects when it cannot be looked at, or `over` comes first. */
export async function faultsAside(directory: string, over: AbortSignal): Promise<readonly string[]> {
  const worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './faults-worker.ts' : './faults-worker.js', import.meta.url), { workerData: directory });
  try {
    // Its error rejects this.
    const [found] = await once(worker, 'message', { signal: AbortSignal.any([over, AbortSignal.timeout(DEADLINE_MS)]) }) as [readonly string[]];
    return found;
  } finally {
    await worker.terminate();
  }
}
