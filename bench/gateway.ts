import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeBenchPki, type BenchPki } from './pki.ts';
import { start, type Running } from './process.ts';

/** A gateway in a process of its own, run from the sources. */
export interface SpawnedGateway {
  readonly port: number;
  readonly process: Running;
  /** Writes another configuration; in force after the next SIGHUP. */
  configure(yaml: string): Promise<void>;
  stop(): Promise<void>;
}

export interface BenchDirectory {
  readonly path: string;
  readonly pki: BenchPki;
  remove(): Promise<void>;
}

/** A temporary directory with the PKI of the bench in it. */
export async function benchDirectory(): Promise<BenchDirectory> {
  const path = await mkdtemp(join(tmpdir(), 'wardgate-bench-'));
  return { path, pki: await writeBenchPki(join(path, 'pki')), remove: () => rm(path, { recursive: true, force: true }) };
}

/** Starts `wardgate run` with a configuration whose first listener is named `clinical`. */
export async function spawnGateway(directory: string, yaml: string): Promise<SpawnedGateway> {
  const file = join(directory, 'wardgate.yaml');
  await writeFile(file, yaml);
  const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
  const running = start(process.execPath, [main, 'run', '-c', file]);
  try {
    const [, port] = await running.said(/^listening clinical 127\.0\.0\.1:(\d+)$/m);
    return { port: Number(port), process: running, configure: (next) => writeFile(file, next), stop: () => running.stop() };
  } catch (error) {
    await running.stop();
    throw error;
  }
}
