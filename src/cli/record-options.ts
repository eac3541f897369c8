import type { Command } from 'commander';
import type { RecordFilter } from '../audit/filter.ts';
import { fingerprintText, serialText } from './named-certificate.ts';
import { WrongUsage } from './usage.ts';

/** Milliseconds of a time on the command line. Throws for what is none. */
export function moment(option: string, text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new WrongUsage(`${option}: expected a time such as 2026-11-22 or 2026-11-22T08:00:00Z, not ${JSON.stringify(text)}`);
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
    ...(from === undefined ? {} : { from: moment('--from', from) }), ...(to === undefined ? {} : { to: moment('--to', to) }),
    ...Object.fromEntries(Object.entries({ ...certificateIn({ fingerprint, serial }), route, patient, id }).filter(([, value]) => value !== undefined)),
  };
}
