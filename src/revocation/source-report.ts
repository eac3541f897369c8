import type { CrlProblem } from './crl-load.ts';
import type { CrlSource } from './crl-sources.ts';
import type { CrlHandle } from './crl-handle.ts';
import { validityOf } from './kept-source.ts';

/** How fresh each source is, as `status` prints it: times in ISO 8601, names as in JSON. */
export interface SourceReport {
  readonly sources: readonly SourceState[];
  readonly responders: readonly ResponderReport[];
}

export interface SourceState {
  readonly kind: 'file' | CrlSource['kind'];
  readonly source: string;
  readonly entries: number;
  readonly this_update?: string;
  readonly next_update?: string;
  readonly last_success?: string;
  readonly last_error?: { readonly at?: string; readonly detail: string };
}

export interface ResponderReport {
  readonly responder: string;
  readonly last_success?: string;
  readonly last_error?: { readonly at: string; readonly detail: string };
}

/** Times are milliseconds since the epoch. */
export interface ResponderState {
  readonly lastSuccess?: number;
  readonly lastError?: { readonly at: number; readonly detail: string };
}

export interface ReportOptions {
  readonly files: readonly string[];
  readonly sources: readonly CrlSource[];
  readonly bySource: ReadonlyMap<string, readonly CrlHandle[]>;
  readonly problems: ReadonlyMap<string, readonly CrlProblem[]>;
  readonly responders: ReadonlyMap<string, ResponderState>;
}

export function reportSources({ files, sources, bySource, problems, responders }: ReportOptions): SourceReport {
  return {
    sources: [
      ...files.map((file): SourceState => {
        const detail = problems.get(file)?.map((problem) => problem.detail).join('; ') ?? '';
        return { kind: 'file', source: file, ...contents(bySource.get(file)), ...(detail === '' ? {} : { last_error: { detail } }) };
      }),
      ...sources.map(({ kind, url, succeededAt, failure }): SourceState => ({
        kind, source: url, ...contents(bySource.get(url)),
        ...(succeededAt === undefined ? {} : { last_success: isoTime(succeededAt) }),
        ...(failure === undefined ? {} : { last_error: { at: isoTime(failure.at), detail: failure.detail } }),
      })),
    ],
    responders: [...responders].map(([responder, { lastSuccess, lastError }]) => ({
      responder,
      ...(lastSuccess === undefined ? {} : { last_success: isoTime(lastSuccess) }),
      ...(lastError === undefined ? {} : { last_error: { at: isoTime(lastError.at), detail: lastError.detail } }),
    })),
  };
}

function contents(handles: readonly CrlHandle[] = []): Pick<SourceState, 'entries' | 'this_update' | 'next_update'> {
  if (handles.length === 0) return { entries: 0 };
  const { thisUpdate, nextUpdate } = validityOf(handles);
  return { entries: handles.reduce((sum, { index }) => sum + index.entries, 0), this_update: isoTime(thisUpdate), next_update: isoTime(nextUpdate) };
}

function isoTime(at: number): string {
  return new Date(at).toISOString();
}
