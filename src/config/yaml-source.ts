import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node, type Pair } from 'yaml';
import type { Fault, Path } from './issue.ts';
import { pathKey, show } from './issue.ts';

/** Line and column, both from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A syntax error, at its place. */
export interface SyntaxFault extends Position {
  readonly message: string;
}

/** A YAML file as plain values, and where each of them stands. */
export interface YamlSource {
  readonly kind: 'ok';
  readonly value: unknown;
  /** Where the value at `path` stands, or the nearest value around it when there is none. */
  readonly locate: (path: Path) => Position;
  /** Where the key at the end of `path` stands. */
  readonly locateKey: (path: Path) => Position;
  /** What the YAML syntax allows and we do not, such as a key given twice. */
  readonly faults: readonly Fault[];
}

/** How much a document may hold. */
export interface YamlLimits {
  /** Characters of its text. */
  readonly size: number;
  // Aliases let a few lines stand for billions of values ("billion laughs"): what they expand to is counted.
  readonly values: number;
}

const MIB = 1024 * 1024;
const CONFIGURATION: YamlLimits = { size: MIB, values: 100_000 };
const DEEPEST = 40;
const MOST_SYNTAX_ERRORS = 20;

/** Reads one YAML 1.2 document; `limits` are those of a configuration unless they are given. Never throws. */
export function readYaml(text: string, limits = CONFIGURATION): YamlSource | { readonly kind: 'invalid'; readonly faults: readonly SyntaxFault[] } {
  const early = textFault(text, limits.size);
  if (early !== undefined) return { kind: 'invalid', faults: [early] };
  const lines = new LineCounter();
  // Keys given twice are found below in linear time; the parser compares each key with every other.
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: false, stringKeys: true, resolveKnownTags: false, prettyErrors: false, logLevel: 'error' });
  const faults = syntaxFaults(document, lines);
  if (faults.length > 0) return { kind: 'invalid', faults };
  if (isEmpty(document)) return { kind: 'invalid', faults: [{ line: 1, column: 1, message: 'the file is empty' }] };
  return convert(document, lines, limits.values);
}

function textFault(text: string, largest: number): SyntaxFault | undefined {
  if (text.length > largest) return { line: 1, column: 1, message: `the file is larger than ${largest / MIB} MiB` };
  // eslint-disable-next-line no-control-regex -- YAML 1.2 §5.1 allows none of them: this is no text file.
  const control = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ufffe\uffff]/.exec(text);
  if (control === null) return undefined;
  const before = text.slice(0, control.index).split('\n');
  const code = control[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  return { line: before.length, column: (before.at(-1) ?? '').length + 1, message: `expected YAML text; the file holds the control character U+${code}` };
}

function syntaxFaults(document: Document.Parsed, lines: LineCounter): SyntaxFault[] {
  const at = (offset: number): Position => positionOf(lines, offset);
  const tooDeep = document.errors.find((error) => error.code === 'RESOURCE_EXHAUSTION');
  if (tooDeep !== undefined) return [{ ...at(tooDeep.pos[0]), message: 'values are nested too deeply' }];
  const found = [...document.errors, ...document.warnings].map((error) => ({ ...at(error.pos[0]), message: wordSyntaxError(error.code, error.message) }));
  const version = document.directives?.yaml;
  // Under %YAML 1.1 the words yes, no, on and off change their meaning.
  if (version?.explicit === true && version.version !== '1.2') found.push({ line: 1, column: 1, message: `expected YAML 1.2; the file asks for ${version.version}` });
  // One slip makes the parser stumble several times on the same line; the first says it best.
  const firstOfLine = found.filter((fault, index) => found.findIndex((other) => other.line === fault.line) === index);
  return firstOfLine.sort((a, b) => a.line - b.line).slice(0, MOST_SYNTAX_ERRORS);
}

function wordSyntaxError(code: string, message: string): string {
  if (code === 'TAB_AS_INDENT') return 'tabs are not allowed as indentation; use spaces';
  if (code === 'MULTIPLE_DOCS') return 'expected one YAML document; found a second one';
  if (code === 'NON_STRING_KEY') return 'expected a key that is text';
  if (code === 'MISSING_CHAR' && message.endsWith('quote')) return 'a text in quotes is not closed';
  const line = message.split('\n', 1)[0] ?? message;
  return `${line.charAt(0).toLowerCase()}${line.slice(1)}`;
}

function positionOf(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

function isEmpty(document: Document.Parsed): boolean {
  const { contents } = document;
  return contents === null || (isScalar(contents) && contents.value === null && (contents.source ?? '') === '');
}

interface Place {
  readonly value: number;
  readonly key?: number;
}

function convert(document: Document.Parsed, lines: LineCounter, most: number): YamlSource | { readonly kind: 'invalid'; readonly faults: readonly SyntaxFault[] } {
  const places = new Map<string, Place>();
  const faults: Fault[] = [];
  let values = 0;
  let overflow: SyntaxFault | undefined;

  const visit = (node: Node | null | undefined, path: Path, offset: number, key?: number): unknown => {
    const start = node?.range?.[0] ?? offset;
    if (overflow !== undefined) return null;
    if (++values > most || path.length > DEEPEST) {
      const message = path.length > DEEPEST ? `values are nested more than ${DEEPEST} deep` : `more than ${most} values, aliases included`;
      overflow = { ...positionOf(lines, start), message };
      return null;
    }
    if (isAlias(node)) {
      const target = node.resolve(document);
      if (target !== undefined) return visit(target, path, start, key);
      faults.push({ path, message: `no anchor named ${show(node.source)} before this alias` });
    }
    places.set(pathKey(path), key === undefined ? { value: start } : { value: start, key });
    if (isMap(node)) return mapping(node.items as readonly Pair<Node, Node | null>[], path, start);
    if (isSeq(node)) return node.items.map((item, index) => visit(item as Node, [...path, index], start));
    return isScalar(node) ? node.value : null;
  };

  const mapping = (pairs: readonly Pair<Node, Node | null>[], path: Path, start: number): unknown => {
    const result = Object.create(null) as Record<string, unknown>;
    for (const pair of pairs) {
      const name = isScalar(pair.key) ? String(pair.key.value ?? '') : '';
      const inner = [...path, name];
      const keyStart = pair.key.range?.[0] ?? start;
      const value = visit(pair.value, inner, keyStart, keyStart);
      // The place of the second key has replaced the first one's by now, and is where the message must point.
      if (Object.hasOwn(result, name)) faults.push({ path: inner, at: 'key', message: 'this key is given twice' });
      if (name === '__proto__') faults.push({ path: inner, at: 'key', message: 'this key is not allowed' });
      result[name] = value;
    }
    return result;
  };

  const value = visit(document.contents, [], 0);
  if (overflow !== undefined) return { kind: 'invalid', faults: [overflow] };
  const locate = (path: Path): Position => positionOf(lines, nearest(places, path)?.value ?? 0);
  const locateKey = (path: Path): Position => positionOf(lines, places.get(pathKey(path))?.key ?? nearest(places, path)?.value ?? 0);
  return { kind: 'ok', value, locate, locateKey, faults };
}

function nearest(places: ReadonlyMap<string, Place>, path: Path): Place | undefined {
  for (let length = path.length; length >= 0; length--) {
    const place = places.get(pathKey(path.slice(0, length)));
    if (place !== undefined) return place;
  }
  return undefined;
}
