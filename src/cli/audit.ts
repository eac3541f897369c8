import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { openEvidence } from '../audit/evidence.ts';
import { exportAudit } from '../audit/export.ts';
import { filterText } from '../audit/filter.ts';
import { readAuditKey } from '../audit/key.ts';
import { readAnchor, verifyAudit, type Verdict } from '../audit/verify.ts';
import { counted } from './counted.ts';
import { auditPlaces, noteUse } from './archive.ts';
import { recordFilter, type FilterOptions } from './record-options.ts';
import { seal } from './seal.ts';

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
  const counts = `${counted(records, 'record')} in ${counted(segments, 'segment')}, ${counted(checkpoints, 'checkpoint')}`;
  const first = bad === undefined
    ? `whole: ${counts}`
    : `NOT WHOLE: ${bad.file}${bad.line === undefined ? '' : `:${bad.line}`}${bad.seq === undefined ? '' : ` record ${bad.seq}`}: ${bad.kind}: ${bad.detail} (${counts} up to there)`;
  return [
    first,
    ...(whole && anchored !== undefined ? [`anchored up to checkpoint ${anchored.checkpoint} of ${anchored.time}`] : []),
    ...(whole && unanchored > 0 ? [`${counted(unanchored, 'record is', 'records are')} newer than the last ${anchored === undefined ? '' : 'anchored '}checkpoint: that none was cut off behind them is not proven`] : []),
    ...notes.map((note) => `note: ${note}`),
  ].join('\n');
}

export interface ExportCommand extends FilterOptions {
  readonly config: string;
  readonly seal?: string;
  readonly case?: string;
  readonly who: string;
}

/** Writes an export to `out`, or seals it into a file; resolves with 0. That the audit was used is on record, where it is the configuration's own. */
export async function exportCommand(path: string | undefined, options: ExportCommand, out: NodeJS.WritableStream): Promise<number> {
  if (options.seal !== undefined) {
    if (path !== undefined) throw new Error('--seal: only the audit of the configuration can be sealed, by the key that is there');
    return seal({ ...options, out: options.seal, case: options.case ?? 'export' }, (text) => void out.write(`${text}\n`));
  }
  const filter = recordFilter(options);
  const { from = 'the beginning', to = 'now', ...meant } = filterText(filter);
  const places = path === undefined ? auditPlaces(options.config) : undefined;
  if (places !== undefined) await noteUse(places, { who: options.who, ...meant, detail: `exports ${from} to ${to}` });
  const evidence = openEvidence(path ?? places?.directory ?? '');
  try {
    await pipeline(Readable.from(exportAudit(evidence, filter, Date.now()), { objectMode: true, highWaterMark: 1 }), out, { end: false });
    return 0;
  } finally {
    evidence.close();
  }
}

/** Prints the public key that checkpoints are signed with. */
export async function keyCommand(options: { readonly config: string }, print: (text: string) => void): Promise<number> {
  const { state } = auditPlaces(options.config);
  const key = readAuditKey(state);
  if (key === undefined) throw new Error(`${state}: there is no key yet; the gateway makes it at its first start`);
  print(key.publicPem);
  return 0;
}
