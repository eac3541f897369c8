import { checkCrls } from './crl-check.ts';
import { judgeLimbo, judgePkits, LIMBO_EXCEPTIONS, limboCases, limboNotApplicable, PKITS_EXCEPTIONS, pkitsCases } from './vectors.ts';
import type { Exception, LimboCase, PkitsCase, Verdict } from './vectors.ts';

/** One case of a suite as the document shows it. */
export interface Row {
  readonly id: string;
  readonly expected: 'accepts' | 'refuses';
  readonly ours: Verdict;
}

export function pkitsRows(): readonly (Row & { readonly test: PkitsCase })[] {
  return pkitsCases().map((test) => ({ id: pkitsId(test), expected: test.should_validate ? 'accepts' : 'refuses', ours: judgePkits(test, checkCrls), test }));
}

export function pkitsId({ number, name }: PkitsCase): string {
  return `${number} ${name}`;
}

export function limboRows(): readonly (Row & { readonly test: LimboCase })[] {
  return limboCases()
    .filter((test) => limboNotApplicable(test) === undefined)
    .map((test) => ({ id: test.id, expected: test.expected_result === 'SUCCESS' ? 'accepts' : 'refuses', ours: judgeLimbo(test, checkCrls), test }));
}

export function agrees({ expected, ours }: Row): boolean {
  return (expected === 'accepts') === (ours.kind === 'accepted');
}

/** What the gateway says of a case, as the document has it. */
export function oursText({ ours }: Row): string {
  return ours.kind === 'accepted' ? 'accepts' : `refuses: ${ours.reason}`;
}

export interface Peer {
  readonly version: string;
  readonly pkits: (test: PkitsCase) => string;
  readonly limbo: (test: LimboCase) => string;
}

/** The generated parts of docs/conformance.md, by the name of their marker. */
export function conformanceTables(peer: Peer): Readonly<Record<string, string>> {
  const pkits = pkitsRows().map((row) => ({ ...row, peer: peer.pkits(row.test) }));
  const limbo = limboRows().map((row) => ({ ...row, peer: peer.limbo(row.test) }));
  return {
    summary: summary([['NIST PKITS', pkits], ['x509-limbo, applicable', limbo]], peer.version),
    exceptions: exceptions([...PKITS_EXCEPTIONS, ...LIMBO_EXCEPTIONS]),
    'not-applicable': notApplicable(),
    pkits: table(pkits, peer.version),
    limbo: table(limbo, peer.version),
  };
}

type ComparedRow = Row & { readonly peer: string };

function summary(suites: readonly (readonly [string, readonly ComparedRow[]])[], version: string): string {
  const lines = suites.map(([name, rows]) => `| ${name} | ${rows.length} | ${rows.filter(agrees).length} | ${rows.filter((row) => row.peer === row.expected).length} |`);
  return lined(['| suite | cases | ours agree | ' + version + ' agrees |', '| --- | --- | --- | --- |', ...lines]);
}

function exceptions(list: readonly Exception[]): string {
  return lined(['| cases | why |', '| --- | --- |', ...list.map(({ cases, why }) => `| ${cases.map((id) => `\`${id}\``).join(', ')} | ${why} |`)]);
}

function notApplicable(): string {
  const byReason = Map.groupBy(limboCases().filter((test) => limboNotApplicable(test) !== undefined), (test) => limboNotApplicable(test) as string);
  return lined(['| cases | why not |', '| --- | --- |', ...[...byReason].map(([why, tests]) => `| ${tests.map(({ id }) => `\`${id}\``).join(', ')} | ${why} |`)]);
}

function table(rows: readonly ComparedRow[], version: string): string {
  const lines = rows.map((row) => `| ${row.id} | ${row.expected} | ${mark(row, oursText(row))} | ${row.peer === row.expected ? row.peer : `**${row.peer}**`} |`);
  return lined([`| case | expected | ours | ${version} |`, '| --- | --- | --- | --- |', ...lines]);
}

function mark(row: Row, text: string): string {
  return agrees(row) ? text : `**${text}**`;
}

function lined(lines: readonly string[]): string {
  return `${lines.join('\n')}\n`;
}
