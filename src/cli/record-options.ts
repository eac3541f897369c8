import type { Command } from 'commander';
import type { RecordFilter } from '../audit/filter.ts';

/** Milliseconds of a time on the command line. Throws for what is none. */
export function moment(option: string, text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new Error(`${option}: expected a time such as 2026-11-22 or 2026-11-22T08:00:00Z, not ${JSON.stringify(text)}`);
  return time;
}

/** The same as ISO 8601; undefined where none was given. */
export function instant(option: string, text: string | undefined): string | undefined {
  return text === undefined ? undefined : new Date(moment(option, text)).toISOString();
}

/** The options that say which records are meant. */
export function recordOptions(command: Command): Command {
  return command
    .option('--from <time>', 'not before this time')
    .option('--to <time>', 'before this time')
    .option('--fingerprint <hex>', 'of the certificate')
    .option('--serial <hex>', 'of the certificate')
    .option('--route <name>', 'which route')
    .option('--patient <id>', 'whom it concerned');
}

/** Which records are meant, as options. */
export interface FilterOptions {
  readonly from?: string;
  readonly to?: string;
  readonly fingerprint?: string;
  readonly serial?: string;
  readonly route?: string;
  readonly patient?: string;
  readonly id?: string;
}

/** The filter that options mean. Throws for times that are none. */
export function recordFilter({ from, to, fingerprint, serial, route, patient, id }: FilterOptions): RecordFilter {
  return {
    ...(from === undefined ? {} : { from: moment('--from', from) }), ...(to === undefined ? {} : { to: moment('--to', to) }),
    ...Object.fromEntries(Object.entries({ fingerprint: fingerprint?.toLowerCase(), serial: serial?.toLowerCase(), route, patient, id }).filter(([, value]) => value !== undefined)),
  };
}
