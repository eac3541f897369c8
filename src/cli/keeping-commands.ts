import type { Command } from 'commander';
import { addHold, listHolds, prune, releaseHold, type HoldOptions, type PruneOptions } from './audit-keep.ts';
import type { CommandGround } from './ground.ts';
import { recordOptions } from './record-options.ts';
import { impact, seal, type ImpactOptions, type SealOptions } from './seal.ts';

/** Adds `seal` and `impact` to the program, `prune` and `hold` to its `audit`. */
export function addKeepingCommands(program: Command, audit: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const who = ['--who <name>', 'on whose behalf', user] as const;

  recordOptions(program.command('seal').description('one signed file for an investigator: the records that match all of it, each with the proof of its place; without a filter everything'))
    .option(...configOption).option(...jsonOption)
    .option('--id <id>', 'who did it')
    .requiredOption('--case <text>', 'what for, for the record and the bundle')
    .requiredOption('--out <file>', 'the bundle; never written over another one')
    .option(...who)
    .addHelpText('after', "\nExample:\n  wardgate seal --patient P123 --from 2026-11-01 --to 2026-12-01 --case 'police 2026/881' --out p123.sealed\n  wardgate audit verify p123.sealed --key gateway-audit.pem")
    .action(settle((options: SealOptions) => seal(options, print)));

  program.command('impact').description('whom a stolen certificate concerns: patients, resources, routes, addresses and denials, from the audit')
    .option(...configOption).option(...jsonOption)
    .option('--cert <file>', 'the certificate, PEM')
    .option('--serial <hex>', 'of the certificate')
    .option('--issuer <dn>', "of the serial number, as 'CN=Hospital CA,O=Hospital'; without it those of all CAs")
    .option('--fingerprint <hex>', 'of the certificate')
    .option('--id <id>', 'the person or device, by the id that roles give it')
    .option('--from <time>', 'not before this time: a day (from midnight UTC), or with the time and its offset')
    .option('--to <time>', 'before this time')
    .option(...who)
    .addHelpText('after', "\nExamples:\n  wardgate impact --cert doctor.pem\n  wardgate impact --serial 0a1b --issuer 'CN=Hospital CA,O=Hospital'\n  wardgate impact --fingerprint 9f86d0… --from 2026-11-20 --json")
    .action(settle((options: ImpactOptions) => impact(options, print)));

  audit.command('prune').description('remove segments all of whose records are older than audit.retention and not held; says which, and removes them with --confirm')
    .option(...configOption).option(...jsonOption)
    .option('--before <time>', 'only what ended before this time')
    .option('--confirm', 'do it')
    .requiredOption('--reason <text>', 'why, for the record')
    .option(...who)
    .addHelpText('after', "\nExamples:\n  wardgate audit prune --reason 'yearly clearance'\n  wardgate audit prune --reason 'yearly clearance' --confirm")
    .action(settle((options: PruneOptions) => prune(options, print)));

  const hold = audit.command('hold').description('records that must not be removed, however old')
    .addHelpText('after', "\nExamples:\n  wardgate audit hold add --patient P123 --reason 'court order 12/26'\n  wardgate audit hold list\n  wardgate audit hold release 0b6f… --reason 'case closed'");
  recordOptions(hold.command('add').description('hold what matches all of it; prints its id'))
    .option(...configOption).option(...jsonOption)
    .requiredOption('--reason <text>', 'why, for the record')
    .option(...who)
    .addHelpText('after', "\nExample:\n  wardgate audit hold add --patient P123 --from 2026-01-01 --reason 'court order 12/26' --who legal")
    .action(settle((options: HoldOptions) => addHold(options, print)));
  hold.command('list').description('what is held')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate audit hold list --json')
    .action(settle((options: never) => listHolds(options, print)));
  hold.command('release').description('let it go')
    .argument('<id>', 'as list shows it')
    .option(...configOption).option(...jsonOption)
    .requiredOption('--reason <text>', 'why, for the record')
    .option(...who)
    .addHelpText('after', "\nExample:\n  wardgate audit hold release 5f0c7a52-90d1-4f7e-8a44-6f1f9f6f3b0e --reason 'case closed' --who legal")
    .action(settle((id: string, options: never) => releaseHold(id, options, print)));
}
