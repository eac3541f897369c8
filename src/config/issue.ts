/** Keys and indexes from the top of the configuration to a value. */
export type Path = readonly (string | number)[];

/** Something wrong, or worth a warning, at one place of a file. Lines and columns count from 1; both are 0 where there is no such place. */
export interface Issue {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly path: string;
  readonly message: string;
}

/** An issue before its place in the file is known; `at: 'key'` means the key itself, not its value. */
export interface Fault {
  readonly path: Path;
  readonly message: string;
  readonly at?: 'key';
}

/** `FILE:LINE:COL: PATH: MESSAGE`, or without a place `FILE: PATH: MESSAGE`; one line whatever the file is called. */
export function formatIssue(issue: Issue, severity: 'error' | 'warning' = 'error'): string {
  const mark = severity === 'warning' ? 'warning: ' : '';
  const place = issue.line === 0 ? '' : `:${issue.line}:${issue.column}`;
  return `${printable(issue.file)}${place}: ${issue.path}: ${mark}${issue.message}`;
}

/** `routes[2].upstream`; a key that is no plain word is quoted: `names["a.test"]`. The top is `configuration`. */
export function formatPath(path: Path): string {
  if (path.length === 0) return 'configuration';
  return path.map((step, index) => formatStep(step, index === 0)).join('');
}

/** A path as the key of a Set or Map. */
export function pathKey(path: Path): string {
  return JSON.stringify(path);
}

function formatStep(step: string | number, first: boolean): string {
  if (typeof step === 'number') return `[${step}]`;
  if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(step)) return `[${printable(JSON.stringify(step))}]`;
  return first ? step : `.${step}`;
}

const LONGEST_SHOWN = 60;

/** A value as it is quoted in a message: short, on one line, harmless to a terminal. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return Object.keys(value).length === 0 ? 'an empty mapping' : 'a mapping';
  if (typeof value !== 'string') return String(value);
  const short = value.length > LONGEST_SHOWN ? `${value.slice(0, LONGEST_SHOWN)}…` : value;
  return printable(JSON.stringify(short));
}

/** Control and direction-changing characters as escapes: a file name or value must not steer the operator's terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
}

/** Text of several lines, or JSON, which stays the same JSON: control and direction-changing characters in it as escapes. */
export function harmless(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]|[\p{Zl}\p{Zp}\p{Bidi_C}]/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
