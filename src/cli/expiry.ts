import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { createBook, ENTRY_ROWS } from '../audit/expiry/book.ts';
import { expiryFile, tiersOf } from '../audit/expiry/configured.ts';
import { reportOf, type EntryReport } from '../audit/expiry/report.ts';
import type { Entry } from '../audit/expiry/watched.ts';
import { tierText } from '../audit/expiry/words.ts';
import { printable } from '../config/issue.ts';
import { loadSnapshot } from '../config/snapshot.ts';
import { parseDuration } from '../config/values.ts';
import { watchedOf, type ExpiryReport } from '../expiry.ts';
import { ConfigurationError } from '../configuration.ts';
import { pausesOf } from '../pauses.ts';
import { ENDED } from '../pki/ending.ts';
import { describeScope } from '../policy/suspensions.ts';
import { readAlarmStore } from '../store/alarms.ts';
import { callGateway } from './call.ts';
import { readPlaces } from './places.ts';
import type { CommandGround } from './ground.ts';
import { WrongUsage } from './usage.ts';

interface Options {
  readonly config: string;
  readonly json?: boolean;
  readonly within?: string;
}

const DAY = 86_400_000;
/** What a terminal is shown; the rest is counted. */
const MOST = 1_000;

/** `wardgate expiry`: everything that ends, of the running gateway, or of the configuration and the state when none runs. */
export function addExpiryCommand(program: Command, { configOption, jsonOption, print, settle }: Pick<CommandGround, 'configOption' | 'jsonOption' | 'print' | 'settle'>): void {
  program.command('expiry').description('when certificates and CRLs end, where they are used, and who was told')
    .option(...configOption).option(...jsonOption)
    .option('--within <duration>', 'only what ends so soon, such as 90d')
    .addHelpText('after', '\nExamples:\n  wardgate expiry\n  wardgate expiry --within 90d --json')
    .action(settle(async (options: Options) => {
      const within = options.within === undefined ? undefined : parseDuration(options.within);
      if (options.within !== undefined && within === undefined) throw new WrongUsage(`--within: expected a duration such as 90d, not ${JSON.stringify(options.within)}`);
      const { running, report } = await reportFor(options.config, within);
      print(options.json === true ? JSON.stringify({ running, gateway: hostname(), ...report }) : textOf(report));
      return 0;
    }));
}

async function reportFor(config: string, within: number | undefined): Promise<{ readonly running: boolean; readonly report: ExpiryReport }> {
  const query = within === undefined ? '' : `&within=${within}`;
  const answer = await callGateway(readPlaces(config).socket, 'GET', `/v1/expiry?most=${MOST}${query}`) as ExpiryReport | undefined;
  return answer === undefined ? { running: false, report: await reportAlone(config, within ?? Infinity) } : { running: true, report: answer };
}

/** What is held by the configuration as it is now; of CRLs and of what clients have shown, what the state remembers. */
async function reportAlone(config: string, within: number): Promise<ExpiryReport> {
  const now = Date.now();
  const loaded = await loadSnapshot(config, { now });
  if (loaded.kind === 'invalid') throw new ConfigurationError(loaded.issues);
  const { snapshot } = loaded;
  const { expiry } = snapshot.config;
  const tiers = tiersOf(snapshot.config);
  const kept = readAlarmStore(expiryFile(resolve(snapshot.directory, snapshot.config.state)), ENTRY_ROWS).map(({ value }) => value as Entry);
  const book = createBook({ tiers, except: new Set(expiry === undefined || expiry.clients === 'off' ? [] : expiry.clients.except), kept });
  book.hold([...watchedOf(snapshot, []), ...kept.filter(({ use, gone }) => use === 'crl' && gone === undefined)], now);
  const found = [...book.entries()].filter(({ gone, until, user }) => gone === undefined && until - now <= within && (user === undefined || until > now)).sort((left, right) => left.until - right.until);
  return {
    tiers: [...tiers, ENDED].map(tierText), more: Math.max(0, found.length - MOST), paused: pausesOf(snapshot, now), channels: [],
    certificates: found.slice(0, MOST).map((entry) => reportOf(entry, { tiers, now, isInUse: book.isInUse(entry, now), waiting: [] })),
  };
}

function textOf({ certificates, more, paused }: ExpiryReport): string {
  return [
    ...(certificates.length === 0 ? ['nothing ends'] : certificates.map(lineOf)), ...(more === 0 ? [] : [`and ${more} more`]),
    ...paused.map(({ reason, ...scope }) => `paused: ${describeScope(scope)} (${reason})`),
  ].join('\n');
}

function lineOf({ use, name, places, role, id, serial, not_after: end, tier, told, seen, quiet }: EntryReport): string {
  const days = Math.floor((Date.parse(end) - Date.now()) / DAY);
  const about = [
    ...(places.length === 0 ? [] : [places.join(', ')]), ...(role === undefined ? [] : [`role ${role}${id === undefined ? '' : ` id ${id}`}`]), ...(serial === undefined ? [] : [`serial ${serial}`]),
    ...(seen === undefined ? [] : [`last used ${seen.slice(0, 10)}`]), ...(quiet === true ? ['nobody is told: replaced, or left out'] : []),
    ...(told === undefined ? [] : [`told in ${told.tier} ${told.at.slice(0, 16)}Z: ${told.channels.join(', ') || 'nobody'}${told.waiting.length === 0 ? '' : `; ${told.waiting.join(', ')} not yet`}`]),
  ];
  return printable(`${end.slice(0, 10)}  ${String(days).padStart(5)} d  ${(tier ?? '').padEnd(6)} ${use.padEnd(12)} ${name}`) + (about.length === 0 ? '' : `\n                              ${printable(about.join('; '))}`);
}
