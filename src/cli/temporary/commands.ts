import type { Command } from 'commander';
import type { CommandGround } from '../ground.ts';
import { listTemporaries, replacedTemporary, temporaryClient, type ClientOptions } from './client.ts';
import { temporaryServer, type ServerOptions } from './server.ts';

function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...before ?? [], value];
}

/** Adds `temporary` to the program. */
export function addTemporaryCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const temporary = program.command('temporary').description('certificates for a week, in minutes, flagged until they are replaced')
    .addHelpText('after', "\nExamples:\n  wardgate temporary server --listener clinical --reason 'the old one has run out' --approver-cert security.pem --approver-key security.key\n  wardgate temporary client --profile doctor --name 'Dr Chen' --reason 'card lost on night duty' --out chen.p12 --approver-cert security.pem --approver-key security.key\n  wardgate temporary list");
  const asked = (command: Command): Command => command
    .option(...configOption).option(...jsonOption)
    .requiredOption('--reason <text>', 'why, for the record')
    .option('--dir <dir>', 'the directory of the CA (default: ca in the state directory)')
    .option('--system <name>', 'the business system that it is for', 'gateway')
    .option('--approver-cert <pem>', 'certificate of the person who approves')
    .option('--approver-key <pem>', "that person's private key")
    .option('--request <id>', 'go on with a request that was approved meanwhile (wardgate ca approve)')
    .option('--passphrase-file <file>', 'where the passphrase of the CA is; then that of the approver', collect)
    .option('--passphrase-command <command>', 'what prints it', collect)
    .option('--dry-run', 'say what would be done, and change nothing')
    .option('--who <name>', 'who asks for it; somebody else approves', user);
  asked(temporary.command('server').description('a new key and certificate for a listener, in force without a restart, and seen in a handshake'))
    .requiredOption('--listener <name>', 'which listener')
    .option('--certificate <file>', 'which of its certificates, where there are several')
    .option('--name <host>', 'for this name (default: the names of the one that it replaces)')
    .option('--profile <profile>', "the CA's profile (default: the first for servers)")
    .addHelpText('after', "\nExample:\n  wardgate temporary server --listener clinical --certificate server.pem --reason 'the old one has run out' --approver-cert security.pem --approver-key security.key\n\nExit status 0: in force; 1: not, and the old one is in its place.")
    .action(settle((options: ServerOptions) => temporaryServer(options, print)));
  asked(temporary.command('client').description('a certificate for a person or a device, as PKCS#12'))
    .requiredOption('--profile <profile>', "the CA's profile, such as doctor")
    .requiredOption('--name <name>', 'of the person or device')
    .option('--id <id>', 'the id, where the profile has one')
    .requiredOption('--out <file>', 'where to write it; never over another')
    .addHelpText('after', "\nExample:\n  wardgate temporary client --profile doctor --name 'Dr Chen' --reason 'card lost on night duty' --out chen.p12 --approver-cert security.pem --approver-key security.key")
    .action(settle((options: ClientOptions) => temporaryClient(options, print)));
  temporary.command('list').description('those that are to be replaced')
    .option(...configOption).option(...jsonOption)
    .option('--all', 'those that were, too')
    .addHelpText('after', '\nExample:\n  wardgate temporary list --all')
    .action(settle((options: never) => listTemporaries(options, print)));
  temporary.command('replaced').description('say that a regular certificate is in use: no longer flagged')
    .argument('<serial>', 'of the temporary one, as list shows it')
    .option(...configOption).option(...jsonOption)
    .requiredOption('--note <text>', 'by which, for the record')
    .option('--who <name>', 'who says so', user)
    .addHelpText('after', "\nExample:\n  wardgate temporary replaced 0a1b2c --note 'card 4711 handed out'")
    .action(settle((serial: string, options: never) => replacedTemporary(serial, options, print)));
}
