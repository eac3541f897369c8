import type { Command } from 'commander';
import { GROUPS, namesOf, PROFILES, SUITES, type Clause, type ProfileText, type SuiteName } from '../config/profiles.ts';
import type { TlsProfile } from '../config/schema.ts';
import type { CommandGround } from './ground.ts';
import { oneOf, WrongUsage } from './usage.ts';

const WIDTH = 100;

/** Adds `profile` to the program. */
export function addProfileCommand(program: Command, { jsonOption, print, settle }: CommandGround): void {
  program.command('profile').description('what a TLS profile allows, and why; without a name the list of them')
    .addArgument(oneOf('[name]', 'which', Object.keys(PROFILES)))
    .option(...jsonOption)
    .addHelpText('after', '\nExamples:\n  wardgate profile\n  wardgate profile ihe-atna\n  wardgate profile dicom --json')
    .action(settle(async (name: string | undefined, options: { readonly json?: boolean }) => showProfile(name, options, print)));
}

/** Prints one profile, or the list of them. */
function showProfile(name: string | undefined, { json }: { readonly json?: boolean }, print: (text: string) => void): number {
  if (name === undefined) {
    const list = Object.entries(PROFILES).map(([key, { standard, summary }]) => ({ name: key, standard, summary }));
    print(json === true ? JSON.stringify(list) : list.map((one) => `${one.name.padEnd(10)}${one.summary}\n${' '.repeat(10)}${one.standard}`).join('\n'));
    return 0;
  }
  if (!Object.hasOwn(PROFILES, name)) throw new WrongUsage(`there is no profile ${JSON.stringify(name)}; there are ${Object.keys(PROFILES).join(', ')}`);
  const profile = PROFILES[name as TlsProfile];
  print(json === true ? JSON.stringify(profileFacts(name as TlsProfile)) : inWords(name, profile));
  return 0;
}

/** A profile as JSON: every name by itself, in the order of preference, with its number, its reason and the text it comes from. */
function profileFacts(name: TlsProfile): object {
  const { standard, summary, versions, suites, groups, signatures, departures } = PROFILES[name];
  const each = <Name extends string>(clauses: readonly Clause<Name>[], more: (name: Name) => object = () => ({})): object[] =>
    clauses.flatMap(({ names, why, source }) => names.map((one) => ({ name: one, ...more(one), why, source })));
  return {
    name, standard, summary,
    versions: each(versions),
    suites: each(suites, (suite) => ({ version: SUITES[suite].version, openssl: SUITES[suite].openssl, id: hex(SUITES[suite].id) })),
    groups: each(groups, (group) => ({ id: hex(GROUPS[group]) })),
    signatures: each(signatures),
    departures,
  };
}

function inWords(name: string, { standard, summary, versions, suites, groups, signatures, departures }: ProfileText): string {
  const of = (version: string) => suites.map((clause) => ({ ...clause, names: clause.names.filter((suite: SuiteName) => SUITES[suite].version === version) })).filter(({ names }) => names.length > 0);
  const section = (title: string, clauses: readonly Clause[]): string[] => (clauses.length === 0 ? [] : ['', title, ...clauses.flatMap(clauseLines)]);
  return [
    `${name}: ${summary}`, standard,
    ...section('versions', versions),
    ...namesOf(versions).flatMap((version) => section(`cipher suites of ${version}, the preferred first`, of(version))),
    ...section('key exchange, the preferred first', groups),
    ...section('signatures', signatures),
    '', 'where it departs from a text', ...departures.flatMap(({ what, source }) => [...wrapped(what, '  '), ...wrapped(`[${source}]`, '    ')]),
    '', 'Nothing else is negotiated: no compression, no renegotiation, no early data.',
  ].join('\n');
}

function clauseLines({ names, why, source }: Clause): string[] {
  return [...wrapped(names.join(' '), '  '), ...wrapped(`${why} [${source}]`, '      ')];
}

function wrapped(text: string, indent: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length >= WIDTH) lines.push(`${indent}${word}`);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

function hex(id: number): string {
  return `0x${id.toString(16).padStart(4, '0')}`;
}
