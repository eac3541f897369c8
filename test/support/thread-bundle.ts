import { hash } from 'node:crypto';
import http from 'node:http';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const SOURCE = fileURLToPath(new URL('../../src', import.meta.url));
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/wardgate-threads', import.meta.url));
const KEPT_MS = 86_400_000;
const HTTP_NAMES = Object.entries(Object.getOwnPropertyDescriptors(http)).flatMap(([name, { get }]) => (get === undefined ? [name] : []));

/** The sources that start a thread, the name that each has for its entry, and the variable that says where it is in one file. */
const STARTERS = [
  { starter: 'threads.ts', entry: './data-plane.ts', variable: 'WARDGATE_TEST_DATA_PLANE' },
  { starter: 'revocation/crl-store.ts', entry: './crl-worker.ts', variable: 'WARDGATE_TEST_CRL_WORKER' },
  { starter: 'dispatch.ts', entry: './evidence.ts', variable: 'WARDGATE_TEST_EVIDENCE' },
] as const;

/**
 * A plugin that has every thread run from one file. Gateways in tests are started by the hundred, with two threads each and one that reads CRLs:
 * one that reads two hundred sources and four hundred files of packages takes three times as long over it. What is started as a
 * process of its own (`wardgate run`) reads the sources one by one, as ever.
 */
export async function threadsFromOneFile(): Promise<{ readonly name: string; readonly enforce: 'pre'; transform(code: string, id: string): string | undefined }> {
  await Promise.all(STARTERS.map(async ({ starter, entry, variable }) => {
    process.env[variable] = await bundleThread(join(SOURCE, dirname(starter), entry));
  }));
  return {
    name: 'threads-from-one-file',
    enforce: 'pre',
    transform(code, id) {
      const found = STARTERS.find(({ starter }) => join(SOURCE, starter) === id);
      if (found === undefined) return undefined;
      // Nothing of this run: vitest keeps what comes out for the next ones, as long as the source is the same.
      const changed = code.replace(`.endsWith('.ts') ? '${found.entry}'`, `.endsWith('.ts') ? String(process.env['${found.variable}'])`);
      if (changed === code) throw new Error(`${id} starts no ${found.entry}`);
      return changed;
    },
  };
}

/** An import of node:http reads its WebSocket as well, and with it Node's own undici: a quarter of what a thread needs to start. None uses it. */
const httpAlone = {
  name: 'http-alone',
  resolveId: (id: string) => (id === 'node:http' ? { id: '\0http-alone' } : undefined),
  load: (id: string) => (id === '\0http-alone' ? `const http = process.getBuiltinModule('node:http'); export default http; export const { ${HTTP_NAMES.join(', ')} } = http;` : undefined),
};

/** The URL of one file that holds what the thread runs. */
async function bundleThread(entry: string): Promise<string> {
  const bundle = await rolldown({ input: entry, platform: 'node', logLevel: 'silent', plugins: [httpAlone] });
  const { output } = await bundle.generate({ format: 'esm', entryFileNames: 'entry.mjs', chunkFileNames: '[name]-[hash].mjs' });
  await bundle.close();
  const files = output.flatMap((file) => (file.type === 'chunk' ? [{ name: file.fileName, code: file.code }] : []));
  // Of the same name is the same: the cache of compiled code knows it.
  const directory = join(CACHE, hash('sha256', JSON.stringify(files), 'hex'));
  mkdirSync(CACHE, { recursive: true });
  // Whole at once, since another run may look for it.
  const fresh = mkdtempSync(join(CACHE, 'new-'));
  for (const { name, code } of files) writeFileSync(join(fresh, name), code);
  try {
    renameSync(fresh, directory);
  } catch {
    rmSync(fresh, { recursive: true });
    utimesSync(directory, new Date(), new Date());
  }
  forgetOld();
  return pathToFileURL(join(directory, 'entry.mjs')).href;
}

function forgetOld(): void {
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats !== undefined && stats.mtimeMs < Date.now() - KEPT_MS) rmSync(path, { recursive: true, force: true });
  }
}
