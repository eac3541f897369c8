import type { Fault, Issue } from './issue.ts';
import { formatPath, pathKey } from './issue.ts';
import { referenceFaults } from './references.ts';
import { completeConfig, configSchema, type Config } from './schema.ts';
import { schemaFaults } from './schema-faults.ts';
import { configWarnings } from './warnings.ts';
import { readYaml, type Position } from './yaml-source.ts';

export { formatIssue, type Issue } from './issue.ts';

/** What the parser must be told of the machine. */
export interface LoadOptions {
  /** Threads the machine can run: the default of `threads`. */
  readonly cores?: number;
}

export type ParseResult =
  | { readonly kind: 'ok'; readonly config: Config; readonly warnings: readonly Issue[] }
  | { readonly kind: 'invalid'; readonly issues: readonly Issue[] };

/** A configuration read as far as it goes: with issues, yet with its values and their places, so that files can be checked too. */
export interface ReadConfig {
  /** The plain values; `undefined` when the text is not even YAML. */
  readonly value: unknown;
  readonly config?: Config;
  readonly issues: readonly Issue[];
  readonly warnings: readonly Issue[];
  readonly place: (fault: Fault) => Issue;
}

const MOST_ISSUES = 200;

/**
 * Parses the text of a configuration; `file` is only its name in messages. Every issue is reported at once, in the order
 * of the lines. Never throws.
 */
export function parseConfig(text: string, file: string, options: LoadOptions = {}): ParseResult {
  const { config, issues, warnings } = readConfig(text, file, options);
  return config === undefined || issues.length > 0 ? { kind: 'invalid', issues } : { kind: 'ok', config, warnings };
}

/** As `parseConfig`, for a caller that goes on to check the files the configuration names. */
export function readConfig(text: string, file: string, options: LoadOptions = {}): ReadConfig {
  const source = readYaml(text);
  if (source.kind === 'invalid') {
    const issues = source.faults.map((fault) => ({ file, line: fault.line, column: fault.column, path: formatPath([]), message: fault.message }));
    return { value: undefined, issues, warnings: [], place: (fault) => placed(file, { line: 1, column: 1 }, fault) };
  }
  const place = (fault: Fault): Issue => placed(file, fault.at === 'key' ? source.locateKey(fault.path) : source.locate(fault.path), fault);
  const parsed = configSchema.safeParse(source.value);
  const wrong = firstOfEach([...source.faults, ...(parsed.success ? [] : schemaFaults(parsed.error.issues, source.value))]);
  // What else is wrong with a value that breaks its own rule, or holds one that does, follows from that.
  const reported = new Set(wrong.flatMap(({ path }) => [pathKey(path), ...path.map((_, length) => pathKey(path.slice(0, length)))]));
  const further = referenceFaults(source.value).filter((fault) => !reported.has(pathKey(fault.path)));
  const issues = inOrder([...wrong, ...further].map(place));
  if (!parsed.success) return { value: source.value, issues, warnings: [], place };
  const config = completeConfig(parsed.data, options.cores ?? 1);
  return { value: source.value, config, issues, warnings: inOrder(configWarnings(config).map(place)), place };
}

function placed(file: string, position: Position, fault: Fault): Issue {
  return { file, line: position.line, column: position.column, path: formatPath(fault.path), message: fault.message };
}

function firstOfEach(faults: readonly Fault[]): readonly Fault[] {
  const first = new Map(faults.toReversed().map((fault) => [pathKey(fault.path), fault]));
  return faults.filter((fault) => first.get(pathKey(fault.path)) === fault);
}

/** By line and column; a file that is wrong everywhere is cut off with a last word about the rest. */
export function inOrder(issues: readonly Issue[]): readonly Issue[] {
  const sorted = [...issues].sort((a, b) => a.line - b.line || a.column - b.column);
  const last = sorted[MOST_ISSUES - 1];
  if (sorted.length <= MOST_ISSUES || last === undefined) return sorted;
  return [...sorted.slice(0, MOST_ISSUES - 1), { ...last, path: formatPath([]), message: `and ${sorted.length - MOST_ISSUES + 1} more issues` }];
}
