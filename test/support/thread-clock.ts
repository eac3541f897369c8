import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { setEnvironmentData } from 'node:worker_threads';

const VARIABLE = 'WARDGATE_TEST_DATA_PLANE';
const KEY = 'wardgate-test-clock';

/** How far the clocks of the data-plane threads are ahead, in ms. To be imported before anything that starts a gateway: what ends on the minute need not be waited for. */
export const threadClock = new Float64Array(new SharedArrayBuffer(8));

const entry = process.env[VARIABLE];
const directory = mkdtempSync(join(tmpdir(), 'wardgate-clock-'));
const clocked = join(directory, 'clocked.mjs');
writeFileSync(clocked, `
  import { getEnvironmentData } from 'node:worker_threads';
  const ahead = getEnvironmentData(${JSON.stringify(KEY)});
  const { now } = Date;
  Date.now = () => now() + ahead[0];
  await import(${JSON.stringify(entry)});`);
setEnvironmentData(KEY, threadClock as never);
process.env[VARIABLE] = pathToFileURL(clocked).href;

/** Lets clocks be clocks for whatever is started later. */
export async function putClocksRight(): Promise<void> {
  if (entry !== undefined) process.env[VARIABLE] = entry;
  setEnvironmentData(KEY, undefined as never);
  await rm(directory, { recursive: true });
}
