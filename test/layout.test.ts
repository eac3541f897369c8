import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';

const source = join(import.meta.dirname, '..', 'src');

/** The rooms of the house from top to bottom: an import goes to the same room or further down. */
const ROOMS = ['main', 'cli', 'demo', 'composition', 'admin', 'tls', 'tracing', 'factor', 'forward', 'backup', 'audit', 'ca', 'store', 'policy', 'identity', 'revocation', 'pki', 'config'];

/** Reading a configuration includes the certificates that it names. */
const UPWARD = [/^config\/(snapshot|checked-files|certificate-lint|read-again|material|own-keys|device|inventory|trust-files)\.ts -> pki\//];

/** Decisions and formats: the same input gives the same answer, on any day and any machine. */
const PURE = [/^(pki|identity|policy)\//, /^revocation\/(status|crl-handle|crl-statement|crl-index)\.ts$/];

/** What would let a pure module look outside. node:crypto computes; it may stay. */
const OUTSIDE = /^node:(?!crypto$)/;
const CLOCK = /Date\.now\(|new Date\(\)|performance\.now\(|hrtime|setTimeout\(|setInterval\(/;

interface Import {
  readonly from: string;
  /** A file of ours by its path below src, or a package. */
  readonly to: string;
  readonly own: boolean;
  /** Gone at run time. */
  readonly typeOnly: boolean;
  /** Only when it is asked for, or as a thread of its own. */
  readonly late: boolean;
}

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts')).sort();
const texts = new Map(files.map((file) => [file, withoutComments(readFileSync(join(source, file), 'utf8'))]));
const imports = files.flatMap(importsOf);

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
}

function importsOf(file: string): Import[] {
  const text = texts.get(file) ?? '';
  const named = [...text.matchAll(/^(?:import|export)\s+(type\s+)?[^'";]*?\bfrom\s+'([^']+)'/gm)].map(([, type, to = '']) => ({ to, typeOnly: type !== undefined, late: false }));
  // `import('…')`, `import '…'`, and the entry files of threads.
  const others = [...text.matchAll(/\bimport\s*\(?\s*'([^']+)'|new URL\([^)]*'(\.[^']*\.ts)'/g)].map(([whole, a, b]) => ({ to: a ?? b ?? '', typeOnly: false, late: b !== undefined || whole.includes('(') }));
  return [...named, ...others].map(({ to, typeOnly, late }) => {
    const own = to.startsWith('.');
    return { from: file, to: own ? normalize(join(file, '..', to)) : to, own, typeOnly, late };
  });
}

function room(file: string): string {
  const [first = '', second] = file.split('/');
  if (second !== undefined) return first;
  return first === 'main.ts' ? 'main' : 'composition';
}

function isPure(file: string): boolean {
  return PURE.some((pattern) => pattern.test(file));
}

function shown({ from, to }: Import): string {
  return `${from} -> ${to}`;
}

describe('layout of src', () => {
  test('every import is found, and every file stands in a known room', () => {
    const statements = files.reduce((sum, file) => sum + (texts.get(file)?.match(/^(?:import|export)\b.*\bfrom '|^\} from '/gm)?.length ?? 0), 0);
    expect(imports.length).toBeGreaterThanOrEqual(statements);
    expect(files.map(room).filter((name) => !ROOMS.includes(name))).toEqual([]);
    expect(imports.filter(({ to, own }) => own && !texts.has(to)).map(shown)).toEqual([]);
  });

  test('imports point down', () => {
    const upward = imports.filter(({ from, to, own }) => own && ROOMS.indexOf(room(to)) < ROOMS.indexOf(room(from))).map(shown);
    expect(upward.filter((line) => !UPWARD.some((allowed) => allowed.test(line)))).toEqual([]);
  });

  test('pure modules import nothing that looks outside', () => {
    expect(imports.filter(({ from, to }) => isPure(from) && OUTSIDE.test(to)).map(shown)).toEqual([]);
  });

  test('pure modules run no code of others', () => {
    const running = imports.filter(({ from, to, own, typeOnly }) => isPure(from) && own && !typeOnly && !isPure(to));
    expect(running.map(shown)).toEqual([]);
  });

  test('pure modules read no clock and wait for nothing', () => {
    expect(files.filter((file) => isPure(file) && CLOCK.test(texts.get(file) ?? ''))).toEqual([]);
  });
});

describe('what threads load', () => {
  // Each thread reads it anew at every start, and has it in memory once more.
  test.each([
    ['data-plane.ts', ['http-proxy', 'jose', 'lru-cache', 'otpauth', 'prom-client']],
    ['evidence.ts', ['lru-cache', 'undici']],
    ['revocation/crl-worker.ts', []],
  ])('%s brings these packages and no others', (entry, packages) => {
    const loaded = new Set([entry]);
    // A set that grows is gone through to its end.
    for (const file of loaded) for (const { from, to, own, typeOnly, late } of imports) if (from === file && own && !typeOnly && !late) loaded.add(to);
    const brought = imports.filter(({ from, to, own, typeOnly, late }) => loaded.has(from) && !own && !typeOnly && !late && !to.startsWith('node:'));
    expect([...new Set(brought.map(({ to }) => to))].sort()).toEqual(packages);
  });
});

describe('what the lint cannot see', () => {
  test('verification is switched off nowhere without a reason', () => {
    const root = join(source, '..');
    const folders = ['src', 'test', 'bench', 'scripts'].filter((folder) => existsSync(join(root, folder)));
    const scripts = folders.flatMap((folder) => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)));
    const bare = scripts.filter((file) => /\.[cm]?[jt]s$/.test(file)).flatMap((file) => {
      const lines = readFileSync(join(root, file), 'utf8').split('\n');
      const off = lines.flatMap((line, index) => (/rejectUnauthorized: *false|checkServerIdentity: *\(\)/.test(line) ? [index] : []));
      return off.filter((index) => !lines.slice(Math.max(0, index - 2), index + 1).join(' ').includes('why:')).map((index) => `${file}:${index + 1}`);
    });
    expect(bare).toEqual([]);
  });
});
