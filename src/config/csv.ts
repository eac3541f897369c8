import type { Position, SyntaxFault } from './yaml-source.ts';

/** One record of a CSV file. */
export interface CsvRow {
  readonly fields: readonly string[];
  /** Where each field begins. */
  readonly positions: readonly Position[];
}

const MOST_FAULTS = 20;

/** Reads RFC 4180: commas, quotes where a field needs them, lines that end in LF or CRLF. Empty lines count for nothing. */
export function readCsv(text: string): { readonly rows: readonly CsvRow[]; readonly faults: readonly SyntaxFault[] } {
  const rows: CsvRow[] = [];
  const faults: SyntaxFault[] = [];
  let at = text.startsWith('\ufeff') ? 1 : 0;
  let line = 1;
  let lineStart = at;

  /** The field that begins at `at`, which moves behind it. */
  function readField(): string {
    if (text[at] !== '"') {
      const start = at;
      while (at < text.length && !SEPARATORS.has(text[at] as string)) at++;
      return text.slice(start, at);
    }
    const opened: Position = { line, column: at - lineStart + 1 };
    let value = '';
    for (;;) {
      const close = text.indexOf('"', at + 1);
      if (close === -1) {
        faults.push({ ...opened, message: 'a text in quotes is not closed' });
        at = text.length;
        return value;
      }
      value += text.slice(at + 1, close);
      countLines(at + 1, close);
      at = close + 1;
      if (text[at] !== '"') break;
      value += '"';
    }
    if (at < text.length && !SEPARATORS.has(text[at] as string)) {
      faults.push({ line, column: at - lineStart + 1, message: 'expected a comma or the end of the line behind a text in quotes' });
      while (at < text.length && text[at] !== '\n') at++;
    }
    return value;
  }

  function countLines(from: number, to: number): void {
    for (let feed = text.indexOf('\n', from); feed !== -1 && feed < to; feed = text.indexOf('\n', feed + 1)) {
      line++;
      lineStart = feed + 1;
    }
  }

  while (at < text.length && faults.length < MOST_FAULTS) {
    const fields: string[] = [];
    const positions: Position[] = [];
    for (;;) {
      positions.push({ line, column: at - lineStart + 1 });
      fields.push(readField());
      if (text[at] !== ',') break;
      at++;
    }
    if (fields.length > 1 || fields[0] !== '') rows.push({ fields, positions });
    if (text[at] === '\r') at++;
    if (text[at] === '\n') at++;
    line++;
    lineStart = at;
  }
  return { rows, faults };
}

const SEPARATORS = new Set([',', '\n', '\r']);
