import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** A file of the console as it is served. */
export interface Asset {
  readonly type: string;
  readonly content: Uint8Array;
}

const TYPES: Readonly<Record<string, string>> = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml' };
const HERE = new URL('./assets/', import.meta.url);
/** Of the package that draws the plots; everything comes from our own origin. */
const PLOTS: Readonly<Record<string, string>> = { 'uplot.js': 'uplot/dist/uPlot.iife.min.js', 'uplot.css': 'uplot/dist/uPlot.min.css' };

let files: ReadonlyMap<string, Asset> | undefined;

/** The file at a path of the operators' listener; undefined: there is none. They are read once, when somebody first looks. */
export function assetAt(path: string): Asset | undefined {
  files ??= readAssets();
  return files.get(path);
}

function readAssets(): ReadonlyMap<string, Asset> {
  const require = createRequire(import.meta.url);
  const own = readdirSync(HERE).map((name) => [name === 'index.html' ? '/' : `/console/${name}`, assetOf(name, readFileSync(new URL(name, HERE)))] as const);
  const plots = Object.entries(PLOTS).map(([name, file]) => [`/console/${name}`, assetOf(name, readFileSync(require.resolve(file)))] as const);
  return new Map([...own, ...plots]);
}

function assetOf(name: string, content: Uint8Array): Asset {
  return { type: TYPES[name.slice(name.lastIndexOf('.') + 1)] ?? 'application/octet-stream', content };
}
