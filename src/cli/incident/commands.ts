import type { Command } from 'commander';
import type { CommandGround } from '../ground.ts';
import { certificateOptions } from '../named-certificate.ts';
import { drain, type DrainOptions } from './drain.ts';
import { isolate, listIsolated, type IsolateOptions } from './isolate.ts';

/** Adds `isolate` and `drain`. `told` is where progress is shown. */
export function addIncidentCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround, told: (text: string) => void): void {
  const isolated = certificateOptions(program.command('isolate').description('cut a certificate, an issuer, a device or an address off: open connections end at once, new ones are closed as they come')
    .option(...configOption).option(...jsonOption))
    .option('--device <id>', 'a device: its certificates, and whoever the inventory lets work at it')
    .option('--address <network>', 'clients from an address or network, such as 10.7.1.9 or 10.7.0.0/16')
    .option('--for <duration>', 'let in again by itself after this time, such as 2h')
    .option('--reason <text>', 'why, for the record')
    .option('--lift', 'let in again now')
    .option('--dry-run', 'say whom it would hit, and change nothing')
    .option('--who <name>', 'on whose behalf', user)
    .addHelpText('after', "\nExamples:\n  wardgate isolate --address 203.0.113.7 --dry-run\n  wardgate isolate --address 203.0.113.0/24 --for 2h --reason 'attack on the log-in'\n  wardgate isolate --device kiosk-7 --reason 'stolen on ward 4'\n  wardgate isolate --serial 0a1b --issuer 'CN=Hospital CA,O=Hospital' --for 12h --reason 'under suspicion'\n  wardgate isolate --device kiosk-7 --lift --reason 'found'\n  wardgate isolate list")
    .action(settle((options: IsolateOptions) => isolate(options, print)));
  isolated.command('list').description('what is cut off, why, by whom and until when')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate isolate list --json')
    .action(settle((_options: unknown, command: Command) => listIsolated(command.optsWithGlobals(), print)));

  program.command('drain').description('take no new connections, let what is under way finish, and end when nothing is open any more; /readyz says 503')
    .option(...configOption).option(...jsonOption)
    .option('--listener <name>', 'one listener (default: all but the admin listener)')
    .option('--for <duration>', 'how long to wait for what is under way', '10m')
    .option('--undo', 'take new connections again')
    .option('--reason <text>', 'why, for the record')
    .option('--dry-run', 'say what is open, and change nothing')
    .option('--who <name>', 'on whose behalf', user)
    .addHelpText('after', "\nExamples:\n  wardgate drain --reason 'moving to the other machine'\n  wardgate drain --listener dicom --for 5m\n  wardgate drain --undo\n\nExit status 0: nothing is open any more; 1: something still is after --for, or was not drained.")
    .action(settle((options: DrainOptions) => drain(options, print, told)));
}
