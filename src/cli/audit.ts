import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { openEvidence } from '../audit/evidence.ts';
import { exportAudit, type ExportFilter } from '../audit/export.ts';
import { readAuditKey } from '../audit/key.ts';
import { readAnchor, verifyAudit, type Verdict } from '../audit/verify.ts';
import { parseConfig } from '../config/load.ts';
import { ConfigurationError } from '../gateway.ts';

interface Places {
  readonly state: string;
  readonly directory: string;
  readonly anchor: string | undefined;
}

/** Where a configuration keeps its audit. */
function auditPlaces(file: string): Places {
  const parsed = parseConfig(readFileSync(file, 'utf8'), file);
  if (parsed.kind === 'invalid') throw new ConfigurationError(parsed.issues);
  const { state, audit } = parsed.config;
  const inDirectory = (path: string): string => resolve(dirname(resolve(file)), path);
  return { state: inDirectory(state), directory: inDirectory(audit.directory), anchor: audit.anchor?.file === undefined ? undefined : inDirectory(audit.anchor.file) };
}

export interface VerifyCommand {
  readonly config: string;
  readonly anchor?: string;
  readonly key?: string;
  readonly json?: boolean;
}

/** Verifies a directory, an export, or what the configuration names; resolves with 0 when it is whole, 1 when not. */
export async function verifyCommand(path: string | undefined, options: VerifyCommand, print: (text: string) => void): Promise<number> {
  const places = path === undefined ? auditPlaces(options.config) : undefined;
  const anchor = options.anchor ?? places?.anchor;
  const evidence = openEvidence(path ?? places?.directory ?? '');
  try {
    const verdict = verifyAudit({
      evidence, ...(anchor === undefined ? {} : { anchor: readAnchor(anchor) }), ...(options.key === undefined ? {} : { key: readFileSync(options.key, 'utf8') }),
    });
    print(options.json === true ? JSON.stringify(verdict) : describe(verdict));
    return verdict.whole ? 0 : 1;
  } finally {
    evidence.close();
  }
}

function describe({ whole, bad, records, segments, checkpoints, anchored, unanchored, notes }: Verdict): string {
  const counts = `${records} records in ${segments} segments, ${checkpoints} checkpoints`;
  const first = bad === undefined
    ? `whole: ${counts}`
    : `NOT WHOLE: ${bad.file}${bad.line === undefined ? '' : `:${bad.line}`}${bad.seq === undefined ? '' : ` record ${bad.seq}`}: ${bad.kind}: ${bad.detail} (${counts} up to there)`;
  return [
    first,
    ...(whole && anchored !== undefined ? [`anchored up to checkpoint ${anchored.checkpoint} of ${anchored.time}`] : []),
    ...(whole && unanchored > 0 ? [`${unanchored} records are newer than the last ${anchored === undefined ? '' : 'anchored '}checkpoint: that none was cut off behind them is not proven`] : []),
    ...notes.map((note) => `note: ${note}`),
  ].join('\n');
}

export interface ExportCommand {
  readonly config: string;
  readonly from?: string;
  readonly to?: string;
  readonly fingerprint?: string;
  readonly serial?: string;
  readonly route?: string;
  readonly patient?: string;
  readonly id?: string;
}

/** Writes an export to `out`; resolves with 0. */
export async function exportCommand(path: string | undefined, options: ExportCommand, out: NodeJS.WritableStream): Promise<number> {
  const { from, to, fingerprint, serial, route, patient, id } = options;
  const filter: ExportFilter = {
    ...(from === undefined ? {} : { from: moment('--from', from) }), ...(to === undefined ? {} : { to: moment('--to', to) }),
    ...Object.fromEntries(Object.entries({ fingerprint: fingerprint?.toLowerCase(), serial: serial?.toLowerCase(), route, patient, id }).filter(([, value]) => value !== undefined)),
  };
  const evidence = openEvidence(path ?? auditPlaces(options.config).directory);
  try {
    await pipeline(Readable.from(exportAudit(evidence, filter, Date.now()), { objectMode: true, highWaterMark: 1 }), out, { end: false });
    return 0;
  } finally {
    evidence.close();
  }
}

function moment(option: string, text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new Error(`${option}: expected a time such as 2026-11-22 or 2026-11-22T08:00:00Z, not ${JSON.stringify(text)}`);
  return time;
}

/** Prints the public key that checkpoints are signed with. */
export async function keyCommand(options: { readonly config: string }, print: (text: string) => void): Promise<number> {
  const { state } = auditPlaces(options.config);
  const key = readAuditKey(state);
  if (key === undefined) throw new Error(`${state}: there is no key yet; the gateway makes it at its first start`);
  print(key.publicPem);
  return 0;
}
