import type { Command } from 'commander';
import type { RecordFilter } from '../audit/filter.ts';
import { parseMoment } from '../config/values.ts';
import { fingerprintText, serialText } from './named-certificate.ts';
import { WrongUsage } from './usage.ts';

/** A day, or a time of it with its offset: without one it would be of whatever zone the machine is set to, beside days that are those of UTC. */
const TIME = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d))?$/;

/** Milliseconds of a time on the command line. Throws for what is none: Date.parse takes nearly any text for one, and evidence of another time than was asked for looks whole. */
export function moment(option: string, text: string): number {
  const time = TIME.test(text) ? parseMoment(text) : undefined;
  if (time === undefined) throw new WrongUsage(`${option}: expected a time such as 2026-11-22 (from midnight UTC), 2026-11-22T08:00:00Z or 2026-11-22T08:00+08:00, not ${JSON.stringify(text)}`);
  return time;
}

/** The time from and the time to on the command line, milliseconds each. Throws for those that are none, and where the first is not before the second: nothing would match. */
export function span({ from, to }: { readonly from?: string | undefined; readonly to?: string | undefined }): { readonly from?: number; readonly to?: number } {
  const first = from === undefined ? undefined : moment('--from', from);
  const last = to === undefined ? undefined : moment('--to', to);
  if (first !== undefined && last !== undefined && first >= last) throw new WrongUsage('--from: must be before --to');
  return { ...(first === undefined ? {} : { from: first }), ...(last === undefined ? {} : { to: last }) };
}

/** The same as ISO 8601; undefined where none was given. */
export function instant(option: string, text: string | undefined): string | undefined {
  return text === undefined ? undefined : new Date(moment(option, text)).toISOString();
}

/** The options that say which records are meant. */
export function recordOptions(command: Command): Command {
  return command
    .option('--from <time>', 'not before this time: a day (from midnight UTC), or with the time and its offset')
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

/**
 * The certificate that options name, written as it is on record: OpenSSL prints fingerprints in capitals and with colons, and one that is taken as it
 * stands matches nothing. Throws for what is none.
 */
export function certificateIn({ fingerprint, serial }: { readonly fingerprint?: string | undefined; readonly serial?: string | undefined }): { readonly fingerprint?: string; readonly serial?: string } {
  const print = fingerprint === undefined ? undefined : fingerprintText(fingerprint);
  const number = serial === undefined ? undefined : serialText(serial);
  if (print !== undefined && !/^[0-9a-f]{64}$/.test(print)) throw new WrongUsage(`--fingerprint: ${JSON.stringify(fingerprint)} is not a SHA-256 in hex (64 digits)`);
  if (number !== undefined && !/^[0-9a-f]+$/.test(number)) throw new WrongUsage(`--serial: ${JSON.stringify(serial)} is not a hexadecimal number`);
  return { ...(print === undefined ? {} : { fingerprint: print }), ...(number === undefined ? {} : { serial: number }) };
}

/** The filter that options mean. Throws for times, fingerprints and serial numbers that are none. */
export function recordFilter({ from, to, fingerprint, serial, route, patient, id }: FilterOptions): RecordFilter {
  return {
    ...span({ from, to }),
    ...Object.fromEntries(Object.entries({ ...certificateIn({ fingerprint, serial }), route, patient, id }).filter(([, value]) => value !== undefined)),
  };
}
