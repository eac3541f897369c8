import { userInfo } from 'node:os';
import { Command, CommanderError, Help } from 'commander';
import { harmless, printable } from '../config/issue.ts';
import { addAcmeCommand } from './acme/command.ts';
import { addAlarmCommands } from './alarm.ts';
import { addAuditCommands } from './audit.ts';
import { addBackupCommands } from './backup/commands.ts';
import { addBreakGlassCommands } from './break-glass.ts';
import { addCaCommands } from './ca/commands.ts';
import { addServeCommand } from './ca/serve.ts';
import { check } from './check.ts';
import { addCompletionCommand } from './completion.ts';
import { addDiagnoseCommand } from './diagnose/command.ts';
import { addDrillCommand } from './drill/command.ts';
import { addExpiryCommand } from './expiry.ts';
import { addEstRelayCommand } from './est-relay.ts';
import { addFactorCommands } from './factor.ts';
import type { CommandGround } from './ground.ts';
import { addHolderCommands } from './holder/commands.ts';
import { addKeepingCommands } from './keeping-commands.ts';
import { addMaskingKeyCommands } from './masking-key.ts';
import { addIncidentCommands } from './incident/commands.ts';
import { lint, type LintOptions } from './lint.ts';
import { leaveRoot } from './owner.ts';
import { addProfileCommand } from './profile.ts';
import { addRenewCommand } from './renew/command.ts';
import { addEnrolCommand } from './renew/enrol.ts';
import { addReloadCommand } from './reload.ts';
import { addRevokeCommands } from './revoke.ts';
import { addSinkCommands } from './sinks.ts';
import { addStatusCommand } from './status.ts';
import { addSuspendCommands } from './suspend.ts';
import { addTemporaryCommands } from './temporary/commands.ts';
import { addTrustCommands } from './trust.ts';
import { addUpgradeCommand } from './upgrade.ts';
import { usage, WrongUsage } from './usage.ts';
import { VERSION } from '../version.ts';
import { showWaiting } from './waiting.ts';

/** What a command needs of the process. */
export interface Process {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Ends the process now: for a signal while nothing can be awaited. */
  readonly exit: (code: number) => never;
}

/** Exit codes of the contract. */
const EXIT = { done: 0, failed: 1, usage: 2, denied: 3 } as const;

/** Parses the command line and runs the command; resolves with the exit code. */
export async function runCommandLine(argv: readonly string[], process_: Process): Promise<number> {
  let code: number = EXIT.done;
  let asOwner: string | undefined;
  let endWaiting = (): void => undefined;
  const program = new Command('wardgate')
    .description('A mutual-TLS gateway for medical APIs')
    .version(VERSION)
    .option('--openssl-config <file>', 'what OpenSSL starts with, for keys in tokens (docs/keys.md); in front of the command')
    .exitOverride()
    // Those below take it over.
    .configureHelp({ optionDescription: (option) => `${new Help().optionDescription(option)}${option.mandatory ? ' (required)' : ''}` })
    .showHelpAfterError('(wardgate --help lists the commands)')
    .addHelpText('after', `
Examples:
  wardgate demo                                       everything on this machine, to try it
  wardgate check -c wardgate.yaml && wardgate run -c wardgate.yaml
  wardgate explain --cert doctor.pem --request 'GET https://api.hospital.test/records'
  wardgate revoke --cert doctor.pem --reason 'laptop stolen'
  wardgate diagnose                                   what is wrong, and what to do

Each command has examples of its own: wardgate revoke --help`);
  const ground: CommandGround = {
    configOption: ['-c, --config <file>', 'the configuration; $WARDGATE_CONFIG names another default', process_.env.WARDGATE_CONFIG ?? './wardgate.yaml'],
    jsonOption: ['--json', 'print JSON'],
    user: process_.env.SUDO_USER ?? process_.env.USER ?? accountName(),
    print: (text) => {
      endWaiting();
      const shown = harmless(text);
      process.stdout.write(shown === '' || shown.endsWith('\n') ? shown : `${shown}\n`);
    },
    settle: (action) => async (...args) => {
      // Who types a passphrase or an answer does so in raw mode.
      endWaiting = showWaiting(process.stderr, () => process.stdin.isRaw);
      try {
        code = await action(...(args as never[]));
      } finally {
        endWaiting();
      }
    },
  };
  const { configOption, jsonOption, print, settle } = ground;
  const told = (text: string): void => {
    endWaiting();
    process.stderr.write(`${text}\n`);
  };
  const toldOnTerminal = (text: string): void => void (process.stderr.isTTY && told(text));

  program.command('run').description('start the gateway')
    .option(...configOption)
    .option('--log-level <level>', 'debug, info, warn or error', 'info')
    .addHelpText('after', '\nExamples:\n  wardgate run -c /etc/wardgate/wardgate.yaml\n  kill -HUP <pid>   reloads the configuration\n  kill -TERM <pid>  lets answers finish, then exits 0')
    .action(settle(async (options: { config: string; logLevel: string }) => (await import('./run.ts')).run(options, print, process_.env)));

  program.command('check').description('read the configuration and every file it names; bind nothing')
    .option('--run-commands', 'also run every passphrase_command, as the gateway does, and look at the keys that they open')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExamples:\n  wardgate check -c wardgate.yaml\n  wardgate check --run-commands -c wardgate.yaml')
    .action(settle((options: { config: string; json?: boolean; runCommands?: boolean }) => check(options, { write: print })));

  program.command('lint').description('a closer look at certificates: keys, names, validity, usages, chains, and what they have in common')
    .argument('<cert...>', 'files with certificates, PEM or DER, and with their private keys if you like')
    .option('--use <use>', 'server, client, ca or upstream (default: what each seems to be for)')
    .option('--validation <level>', 'the least that is expected of public server certificates: dv, ov or ev')
    .option(...jsonOption)
    .addHelpText('after', '\nExamples:\n  wardgate lint server.pem\n  wardgate lint --use client doctors/*.pem\n\nExit status 0: nothing but notes; 1: findings; 2: wrong usage, or a file that cannot be read.')
    .action(settle((files: readonly string[], options: LintOptions) => lint(files, options, print)));

  program.command('explain').description('the whole decision about a certificate and a request, rule by rule')
    .option(...configOption).option(...jsonOption)
    .option('--cert <pem>', 'the client certificate, with intermediates if it brings any (default: the client shows none)')
    .option('--listener <name>', 'the listener it comes to (default: the first)')
    .option('--request <request>', "the request, as 'GET https://host/path'")
    .option('--sender <names>', "on a tcp listener that lists senders: 'APPLICATION|FACILITY' (MLLP) or 'CALLING|CALLED' (DICOM)")
    .option('--token <file>', 'a file with the access token that it comes with')
    .option('--address <ip>', "the client's address", '127.0.0.1')
    .addHelpText('after', "\nExample:\n  wardgate explain -c wardgate.yaml --cert doctor.pem --request 'GET https://api.hospital.test/records'\n  wardgate explain --request 'GET https://api.hospital.test/public/news'     what somebody without a certificate gets\n\nExit status 3: denied.")
    .action(settle(async (options: never) => (await import('./explain.ts')).explain(options, print)));

  addRevokeCommands(program, ground);
  addFactorCommands(program, ground);
  addSuspendCommands(program, ground);
  addBreakGlassCommands(program, ground);
  addAlarmCommands(program, ground);
  const audit = addAuditCommands(program, ground, toldOnTerminal);
  addIncidentCommands(program, ground, told);
  addDrillCommand(program, ground, process_.exit);
  addTrustCommands(program, ground);
  addBackupCommands(program, ground);
  addTemporaryCommands(program, ground);
  addHolderCommands(program, ground);
  addEstRelayCommand(program, ground);
  addAcmeCommand(program, ground);
  addRenewCommand(program, ground);
  addEnrolCommand(program, ground);
  addServeCommand(addCaCommands(program, ground), ground);
  addUpgradeCommand(program, ground);
  addExpiryCommand(program, ground);
  addProfileCommand(program, ground);
  addSinkCommands(audit, ground);
  addKeepingCommands(program, audit, ground);
  addMaskingKeyCommands(audit, ground);
  addReloadCommand(program, ground);
  addStatusCommand(program, ground);
  addDiagnoseCommand(program, ground, toldOnTerminal);
  program.command('demo').description('a development PKI, a blood-pressure API and the gateway in front')
    .option('--port <port>', "the gateway's port; of all that are taken, the console's, the API's and the others' too, a free one is taken and named", '8443')
    .option('--database <url>', 'sqlite:FILE, mysql://… or postgresql://… (default: an SQLite file that goes with the demo)')
    .option('--certificates <dir>', 'where the development PKI is kept (default: certs/demo)')
    .addHelpText('after', '\nExample:\n  wardgate demo --port 9443')
    .action(settle(async (options: { port: string; database?: string; certificates?: string }) => (await import('./demo.ts')).demo(options, print)));
  addCompletionCommand(program, ground);
  pointToOwnHelp(program, 'wardgate');
  program.hook('preAction', (_, command) => {
    asOwner = leaveRoot(command);
    // What these find goes to where they say everything.
    if (asOwner !== undefined && ['run', 'check'].includes(command.name())) process.stderr.write(`wardgate: ${asOwner}\n`);
  });

  try {
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (error instanceof WrongUsage) return usage(error.message);
    // What others have written stands in it, such as why they have denied what is to be denied.
    const fault = faultOf(error as NodeJS.ErrnoException).split('\n').map(printable).join('\n');
    process.stderr.write(`wardgate: ${fault}\n${asOwner !== undefined && /EACCES|EPERM|may not be|unable to open/.test(fault) ? `wardgate: ${asOwner}\n` : ''}`);
    return EXIT.failed;
  }
}

/** Has the message about a wrong use of a command name that command's own help, where its example is. */
function pointToOwnHelp(command: Command, name: string): void {
  for (const below of command.commands) {
    below.showHelpAfterError(`(${name} ${below.name()} --help has an example)`);
    pointToOwnHelp(below, `${name} ${below.name()}`);
  }
}

/** A message with the file in front, where the system has one to complain about. */
function faultOf({ message, code, path }: NodeJS.ErrnoException): string {
  if (path === undefined || code === undefined) return message;
  const why = code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'may not be read or written by this user' : code === 'EISDIR' ? 'is a directory' : message;
  return `${path}: ${why}`;
}

/** By the system: a timer, a container and a unit of systemd may have no $USER, and a record that says `unknown` names nobody. */
function accountName(): string {
  try {
    return userInfo().username;
  } catch {
    // No line in passwd.
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}
