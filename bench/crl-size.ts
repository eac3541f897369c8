import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, issueCrl } from '../src/ca/issue.ts';
import { lookupCrl } from '../src/revocation/crl-index.ts';
import { loadCrls } from '../src/revocation/crl-store.ts';
import type { LoadedCrls } from '../src/revocation/crl-store.ts';
import { crlEntries, crlPem, SERIAL_OCTETS, usual } from './crl.ts';

/**
 * What a CRL costs by its length: reading it (scan, index, signature, in the thread that reads CRLs), how long the calling thread
 * stalls meanwhile, looking a serial up, and memory. Prints a table. Each row is measured in a process of its own.
 *
 *   node bench/crl-size.ts [LENGTHS…]        default 1000 10000 100000 1000000
 */

const RELOADS = 5;
const LOOKUPS = 200_000;

interface Row {
  readonly octets: number;
  readonly firstLoad: number;
  readonly stall: number;
  readonly hit: number;
  readonly miss: number;
  readonly table: number;
  readonly resident: number;
  readonly peak: number;
  readonly afterReloads: number;
}

async function writeMaterial(directory: string, count: number): Promise<void> {
  const ca = await createAuthority({ name: 'CRL bench CA' });
  const serials = randomBytes(count * SERIAL_OCTETS);
  const der = await issueCrl(ca, { revoked: crlEntries(serials, [], usual) });
  writeFileSync(join(directory, 'ca.der'), ca.der);
  writeFileSync(join(directory, 'serials'), serials);
  writeFileSync(join(directory, 'list.der'), der);
  writeFileSync(join(directory, 'list.pem'), crlPem(der));
}

async function measure(directory: string, form: string): Promise<Row> {
  const anchors = [new Uint8Array(readFileSync(join(directory, 'ca.der')))];
  const read = (): Buffer => readFileSync(join(directory, `list.${form}`));
  const load = (bytes: Buffer): Promise<LoadedCrls> =>
    loadCrls({ files: [{ file: form, bytes }], realms: [{ anchors, intermediates: [] }], now: Date.now(), consume: true });
  const octets = statSync(join(directory, `list.${form}`)).size;
  const before = resident();
  const bytes = read();
  const watch = watchStalls();
  const started = performance.now();
  let loaded = await load(bytes);
  const firstLoad = performance.now() - started;
  const { stall, peak } = watch.stop();
  const settled = resident() - before;
  for (let reload = 0; reload < RELOADS; reload += 1) loaded = await load(read());
  const afterReloads = resident() - before;
  const { hit, miss, table } = measureLookups(loaded, readFileSync(join(directory, 'serials')));
  return { octets, firstLoad, stall, hit, miss, table, resident: settled, peak: peak - before, afterReloads };
}

function measureLookups({ handles }: LoadedCrls, serials: Buffer): { hit: number; miss: number; table: number } {
  const index = handles[0]!.index;
  const known = Array.from({ length: LOOKUPS }, (_, position) => {
    const at = ((position * 7919) % (serials.length / 16)) * 16;
    return serials.subarray(at, at + 16);
  });
  // Listed serials begin with 40 to 7f.
  const absent = known.map((serial) => Buffer.from(serial).fill(0x3f, 0, 1));
  return {
    hit: lookupTime(known, (serial) => lookupCrl(index, serial) !== undefined),
    miss: lookupTime(absent, (serial) => lookupCrl(index, serial) === undefined),
    table: index.table.byteLength,
  };
}

/** Nanoseconds a lookup, the second of two rounds: the first warms up. */
function lookupTime(serials: readonly Uint8Array[], check: (serial: Uint8Array) => boolean): number {
  let elapsed = 0;
  for (let round = 0; round < 2; round += 1) {
    const started = performance.now();
    for (const serial of serials) if (!check(serial)) throw new Error('the index is wrong');
    elapsed = performance.now() - started;
  }
  return (elapsed * 1e6) / serials.length;
}

function resident(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

/** The longest this thread did not get to a timer of 1 ms, and the largest resident size seen. */
function watchStalls(): { stop(): { stall: number; peak: number } } {
  let last = performance.now();
  let stall = 0;
  let peak = 0;
  const timer = setInterval(() => {
    const at = performance.now();
    stall = Math.max(stall, at - last - 1);
    last = at;
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 1);
  return {
    stop() {
      clearInterval(timer);
      return { stall, peak };
    },
  };
}

/** Runs one step of this script in a process of its own. */
function inProcess(...args: readonly string[]): Promise<Row | undefined> {
  return new Promise((resolve, reject) => {
    let row: Row | undefined;
    const child = fork(import.meta.filename, args, { execArgv: ['--expose-gc'] });
    child.on('message', (message) => {
      row = message as Row;
    });
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve(row) : reject(new Error(`${args.join(' ')} ended with ${code}`))));
  });
}

async function printTable(lengths: readonly number[]): Promise<void> {
  const mib = (octets: number): string => (octets / 1024 / 1024).toFixed(1);
  console.log('| entries | form | file MiB | load ms | stall ms | hit ns | miss ns | table MiB | B/entry | resident +MiB | peak +MiB | after 5 reloads +MiB |');
  console.log('| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |');
  for (const length of lengths) {
    const directory = mkdtempSync(join(tmpdir(), 'wardgate-crl-size-'));
    try {
      await inProcess('write', directory, String(length));
      for (const form of ['der', 'pem']) {
        const row = (await inProcess('measure', directory, form))!;
        const cells = [
          length, form, mib(row.octets), row.firstLoad.toFixed(0), row.stall.toFixed(1), row.hit.toFixed(0), row.miss.toFixed(0), mib(row.table),
          (row.table / length).toFixed(1), mib(row.resident), mib(row.peak), mib(row.afterReloads),
        ];
        console.log(`| ${cells.join(' | ')} |`);
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  }
}

const [step, directory, detail] = process.argv.slice(2);
if (step === 'write') await writeMaterial(directory!, Number(detail));
else if (step === 'measure') process.send!(await measure(directory!, detail!));
else await printTable(process.argv.slice(2).length > 0 ? process.argv.slice(2).map(Number) : [1_000, 10_000, 100_000, 1_000_000]);
