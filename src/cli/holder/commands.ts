import type { Command } from 'commander';
import type { CommandGround } from '../ground.ts';
import { listItems, showItem } from './show.ts';
import { destroy, give, giveBack, lose, recover, revokeItem, writeOff } from './steps.ts';

function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...before ?? [], value];
}

/** Adds `holder` to the program. */
export function addHolderCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const holder = program.command('holder').description('who has which USB key or device: handed out, returned, recovered, revoked, destroyed, in this order')
    .addHelpText('after', "\nExamples:\n  wardgate holder give YK-12345678 --to 'Dr Chen' --cert chen.pem --until 2027-01-31\n  wardgate holder list\n  wardgate holder lost YK-12345678 --note 'left in the tram'\n  wardgate holder list --overdue");
  const plain = (name: string, description: string): Command => holder.command(name).description(description)
    .argument('<id>', 'its serial number, or the id of the device')
    .option(...configOption).option(...jsonOption)
    .option('--dir <dir>', 'the directory of the CA (default: ca in the state directory)')
    .option('--who <name>', 'who puts it on record', user)
    .option('--dry-run', 'say what would be done, and change nothing');
  const step = (name: string, description: string): Command => plain(name, description).option('--note <text>', 'for the record');
  const noted = (name: string, description: string): Command => plain(name, description).requiredOption('--note <text>', 'for the record');

  step('give', 'hand it out: from now on somebody has it')
    .requiredOption('--to <name>', 'who gets it')
    .option('--cert <pem>', 'a certificate on it; again for each', collect)
    .option('--fingerprint <hex>', 'the SHA-256 of a certificate on it; again for each', collect)
    .option('--until <time>', 'when it is to be back')
    .option('--device', 'it is a device, not a USB key')
    .option('--description <text>', 'what it is')
    .addHelpText('after', "\nExample:\n  wardgate holder give YK-12345678 --to 'Dr Chen' --cert chen.pem --until 2027-01-31 --who 'IT Li'")
    .action(settle((id: string, options: never) => give(id, options, print)));
  step('return', 'it is back, and may be handed out again')
    .addHelpText('after', "\nExample:\n  wardgate holder return YK-12345678 --who 'IT Li'")
    .action(settle((id: string, options: never) => giveBack(id, options, print)));
  noted('lost', 'it is gone: its certificates are revoked at once')
    .addHelpText('after', "\nExample:\n  wardgate holder lost YK-12345678 --note 'left in the tram' --who 'IT Li'")
    .action(settle((id: string, options: never) => lose(id, options, print)));
  step('recover', 'it is back for good: out of service after its return, or found after it was lost')
    .addHelpText('after', "\nExample:\n  wardgate holder recover kiosk-7 --note 'scrapped, screen broken'")
    .action(settle((id: string, options: never) => recover(id, options, print)));
  step('revoke', 'revoke the certificates of what is out of service')
    .addHelpText('after', '\nExample:\n  wardgate holder revoke kiosk-7')
    .action(settle((id: string, options: never) => revokeItem(id, options, print)));
  noted('write-off', 'it is lost and will not be found')
    .requiredOption('--witness <name>', 'who agrees, somebody else')
    .addHelpText('after', "\nExample:\n  wardgate holder write-off YK-12345678 --note 'a year ago' --witness 'Security Zhao'")
    .action(settle((id: string, options: never) => writeOff(id, options, print)));
  noted('destroy', 'it is no more, and somebody else has seen that')
    .requiredOption('--witness <name>', 'who saw it, somebody else')
    .addHelpText('after', "\nExample:\n  wardgate holder destroy kiosk-7 --note 'disk shredded' --witness 'Security Zhao'")
    .action(settle((id: string, options: never) => destroy(id, options, print)));
  holder.command('list').description('who has what; with --overdue what should be back (exit status 1 when something should)')
    .option(...configOption).option(...jsonOption)
    .option('--holder <name>', 'what one person has')
    .option('--overdue', 'what should be back')
    .option('--all', 'what was destroyed or written off, too')
    .addHelpText('after', "\nExample:\n  wardgate holder list --holder 'Dr Chen'")
    .action(settle((options: never) => listItems(options, print)));
  holder.command('show').description('one of them, from the beginning')
    .argument('<id>', 'as list shows it')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate holder show YK-12345678')
    .action(settle((id: string, options: never) => showItem(id, options, print)));
}
