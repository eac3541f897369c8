import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { inEitherForm } from '../audit/either-form.ts';
import { openEvidence } from '../audit/evidence.ts';
import { exportAudit } from '../audit/export.ts';
import { filterText } from '../audit/filter.ts';
import { readAuditKey } from '../audit/key.ts';
import { readAnchor, verifyAudit, type Verdict } from '../audit/verify.ts';
import { auditRun, type RunCommand } from './audit-run/command.ts';
import { counted } from './counted.ts';
import { auditPlaces, noteUse } from './archive.ts';
import { followed } from './followed.ts';
import type { CommandGround } from './ground.ts';
import { recordFilter, recordOptions, type FilterOptions } from './record-options.ts';
import { seal } from './seal.ts';

export interface VerifyCommand {
  readonly config: string;
  readonly anchor?: string;
  readonly key?: string;
  readonly json?: boolean;
}

/** Adds `audit` to the program, and to it what reads the record; `told` is where progress is shown. The command, for what others add to it. */
export function addAuditCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround, told: (text: string) => void): Command {
  const audit = program.command('audit').description('the record of every decision: whether it is whole, and what is in it')
    .addHelpText('after', "\nExamples:\n  wardgate audit verify\n  wardgate audit verify /mnt/copy/audit --anchor /mnt/other/anchors.ndjson --key gateway-audit.pem\n  wardgate audit export --patient P123 --from 2026-11-01 --to 2026-12-01 >p123.ndjson\n  wardgate audit key >gateway-audit.pem");
  audit.command('verify').description('follow every chain and checkpoint, and name the first bad record; works beside a running gateway')
    .argument('[dir]', 'an audit directory or an export (default: that of the configuration)')
    .option(...configOption).option(...jsonOption)
    .option('--anchor <file>', 'checkpoints that were kept outside (default: that of the configuration, where it names the directory too)')
    .option('--key <pem>', 'the public key, as wardgate audit key printed it; without it the one that lies beside the files is taken')
    .addHelpText('after', '\nExamples:\n  wardgate audit verify\n  wardgate audit verify /mnt/copy/audit --anchor /mnt/other/anchors.ndjson --key gateway-audit.pem\n\nExit status 0: whole; 1: not.')
    .action(settle((path: string | undefined, options: VerifyCommand) => verifyCommand(path, options, print, told)));
  recordOptions(audit.command('export').description('JSON lines that can be verified: whole segments, or with a filter the records that match all of it'))
    .argument('[dir]', 'an audit directory (default: that of the configuration)')
    .option(...configOption)
    .option('--id <id>', 'who did it')
    .option('--seal <file>', 'a sealed file instead, as wardgate seal makes it')
    .option('--case <text>', 'with --seal: what for')
    .option('--who <name>', 'on whose behalf', user)
    .addHelpText('after', '\nExample:\n  wardgate audit export --patient P123 --from 2026-11-01 --to 2026-12-01 >p123.ndjson')
    .action(settle((path: string | undefined, options: ExportCommand) => exportCommand(path, options, process.stdout)));
  audit.command('key').description('print the public key that checkpoints are signed with')
    .option(...configOption)
    .addHelpText('after', '\nExample:\n  wardgate audit key >gateway-audit.pem')
    .action(settle((options: { config: string }) => keyCommand(options, print)));

  audit.command('run').description('the half-yearly audit: what the configuration allows, what the records show, and what somebody has to do')
    .option(...configOption).option(...jsonOption)
    .option('--from <time>', 'of the period (default: half a year before its end)')
    .option('--to <time>', 'its end (default: now)')
    .option('--page <file>', 'write it as a page too, to print or to file')
    .option('--anchor <file>', 'checkpoints that were kept outside (default: that of the configuration)')
    .option('--key <pem>', 'the public key, as wardgate audit key printed it (default: that of the state directory)')
    .addHelpText('after', '\nExample:\n  wardgate audit run --from 2026-01-01 --to 2026-07-01 --page audit-2026-1.html\n\nExit status 0: no findings; 1: findings.')
    .action(settle((options: RunCommand) => auditRun(options, print, told)));
  return audit;
}

/** Verifies a directory, an export, or what the configuration names; resolves with 0 when it is whole, 1 when not. `told` hears how far it has come. */
export async function verifyCommand(path: string | undefined, options: VerifyCommand, print: (text: string) => void, told: (text: string) => void = () => undefined): Promise<number> {
  const places = path === undefined ? auditPlaces(options.config) : undefined;
  const anchor = options.anchor ?? places?.anchor;
  const evidence = openEvidence(path ?? places?.directory ?? '');
  try {
    const verdict = verifyAudit({
      evidence: followed(evidence, told), ...(anchor === undefined ? {} : { anchor: readAnchor(anchor) }), ...(options.key === undefined ? {} : { key: readFileSync(options.key, 'utf8') }),
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
    await pipeline(Readable.from(exportAudit(evidence, inEitherForm(evidence, filter), Date.now()), { objectMode: true, highWaterMark: 1 }), out, { end: false });
    return 0;
  } catch (error) {
    // Whoever reads has seen enough.
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return 0;
    throw error;
  } finally {
    evidence.close();
  }
}

/** Prints the public key that checkpoints are signed with. */
async function keyCommand(options: { readonly config: string }, print: (text: string) => void): Promise<number> {
  const { state } = auditPlaces(options.config);
  const key = readAuditKey(state);
  if (key === undefined) throw new Error(`${state}: there is no key yet; the gateway makes it at its first start`);
  print(key.publicPem);
  return 0;
}
