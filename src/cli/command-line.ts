import { userInfo } from 'node:os';
import { Command, CommanderError } from 'commander';
import { addAcmeCommand } from './acme/command.ts';
import { auditRun, type RunCommand } from './audit-run/command.ts';
import { acknowledgeAlarm, listAlarms, showAlarm } from './alarm.ts';
import { exportCommand, keyCommand, verifyCommand, type ExportCommand, type VerifyCommand } from './audit.ts';
import { listGrants, reviewGrant, withdrawGrant } from './break-glass.ts';
import { addCaCommands } from './ca/commands.ts';
import { addServeCommand } from './ca/serve.ts';
import { check } from './check.ts';
import { addCompletionCommand } from './completion.ts';
import { addDiagnoseCommand } from './diagnose/command.ts';
import { addDrillCommand } from './drill/command.ts';
import { addExpiryCommand } from './expiry.ts';
import { addEstRelayCommand } from './est-relay.ts';
import { explain } from './explain.ts';
import { invite, list, phone, reset, status as factorStatus, unlock } from './factor.ts';
import { addBackupCommands } from './backup/commands.ts';
import { addHolderCommands } from './holder/commands.ts';
import { addKeepingCommands, recordOptions } from './keeping-commands.ts';
import { addMaskingKeyCommands } from './masking-key.ts';
import { addIncidentCommands } from './incident/commands.ts';
import { lint, type LintOptions } from './lint.ts';
import { reinstate, reload, revoke, status } from './operate.ts';
import { addProfileCommand } from './profile.ts';
import { addRenewCommand } from './renew/command.ts';
import { addEnrolCommand } from './renew/enrol.ts';
import { run } from './run.ts';
import { addSinkCommands } from './sinks.ts';
import { resume, suspend } from './suspend.ts';
import { addTemporaryCommands } from './temporary/commands.ts';
import { addTrustCommands } from './trust.ts';
import { addUpgradeCommand } from './upgrade.ts';
import { usage, WrongUsage } from './usage.ts';
import { VERSION } from '../version.ts';

/** What a command needs of the process. */
export interface Process {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Ends the process now: for a signal while nothing can be awaited. */
  readonly exit: (code: number) => never;
}

/** Exit codes of the contract. */
export const EXIT = { done: 0, failed: 1, usage: 2, denied: 3 } as const;

/** Parses the command line and runs the command; resolves with the exit code. */
export async function runCommandLine(argv: readonly string[], process_: Process): Promise<number> {
  let code: number = EXIT.done;
  const program = new Command('wardgate')
    .description('A mutual-TLS gateway for medical APIs')
    .version(VERSION)
    .option('--openssl-config <file>', 'what OpenSSL starts with, for keys in tokens (docs/keys.md); in front of the command')
    .exitOverride()
    .showHelpAfterError('(wardgate --help lists the commands)');
  const configOption = ['-c, --config <file>', 'the configuration; $WARDGATE_CONFIG names another default', process_.env.WARDGATE_CONFIG ?? './wardgate.yaml'] as const;
  const jsonOption = ['--json', 'print JSON'] as const;
  const user = process_.env.SUDO_USER ?? process_.env.USER ?? accountName();
  const print = (text: string): void => void process.stdout.write(text === '' || text.endsWith('\n') ? text : `${text}\n`);
  const settle = (action: (...args: never[]) => Promise<number>) => async (...args: unknown[]): Promise<void> => {
    code = await action(...(args as never[]));
  };

  program.command('run').description('start the gateway')
    .option(...configOption)
    .option('--log-level <level>', 'debug, info, warn or error', 'info')
    .addHelpText('after', '\nExamples:\n  wardgate run -c /etc/wardgate/wardgate.yaml\n  kill -HUP <pid>   reloads the configuration\n  kill -TERM <pid>  lets answers finish, then exits 0')
    .action(settle((options: { config: string; logLevel: string }) => run(options, print, process_.env)));

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
    .action(settle((options: never) => explain(options, print)));

  const subject = (command: Command): Command => command
    .option(...configOption).option(...jsonOption)
    .option('--cert <pem>', 'the certificate itself')
    .option('--serial <hex>', 'its serial number, with --issuer')
    .option('--issuer <dn>', "its issuer's name, as 'CN=Hospital CA,O=Hospital'")
    .option('--fingerprint <hex>', 'its SHA-256 fingerprint')
    .option('--key <pem|hex>', 'every certificate of a public key: that of a certificate file, or its SHA-256')
    .option('--whole-issuer <dn>', 'every certificate of a CA')
    .option('--id <id>', 'every certificate of a person or device, by the id that roles give it')
    .option('--who <name>', 'on whose behalf', user);
  subject(program.command('revoke').description('put a certificate on the deny list: no connection of it survives'))
    .requiredOption('--reason <text>', 'why, for the record')
    .option('--expires <duration>', 'lift it again after this time, such as 12h')
    .option('--dry-run', 'say whom it would hit, and change nothing')
    .addHelpText('after', "\nExamples:\n  wardgate revoke --cert doctor.pem --reason 'laptop stolen'\n  wardgate revoke --serial 0a1b --issuer 'CN=Hospital Issuing CA,O=Hospital' --reason 'left'\n  wardgate revoke --fingerprint 9f86d0…  --reason 'key found on a share'")
    .action(settle((options: never) => revoke(options, print)));
  subject(program.command('reinstate').description('take a certificate off the deny list'))
    .option('--reason <text>', 'why, for the record')
    .option('--dry-run', 'say what would come off the list, and what CRLs, OCSP and the CA say of it; change nothing')
    .addHelpText('after', "\nExample:\n  wardgate reinstate --cert doctor.pem --reason 'laptop found'\n\nIt lifts what revoke has done. What a CRL, an OCSP responder or the CA has revoked stays revoked, and the command says so.")
    .action(settle((options: never) => reinstate(options, print)));

  const factor = program.command('factor').description('second factors of people and devices, on the running gateway')
    .addHelpText('after', "\nExamples:\n  wardgate factor invite --role patient --id urn:patient:1001\n  wardgate factor phone --role patient --id urn:patient:1001 --phone +8613800138000 --card - <card.txt\n  wardgate factor reset --role patient --id urn:patient:1001\n  wardgate factor list");
  const person = (command: Command): Command => command
    .option(...configOption).option(...jsonOption)
    .requiredOption('--role <role>', 'the role that the certificate maps to')
    .requiredOption('--id <id>', 'the id that it maps to')
    .option('--reason <text>', 'why, for the record')
    .option('--who <name>', 'on whose behalf', user);
  person(factor.command('invite').description('print an invitation: the code with which somebody sets up an authenticator app or a security key'))
    .option('--expires <duration>', 'how long it is good', '7d')
    .addHelpText('after', '\nExample:\n  wardgate factor invite --role patient --id urn:patient:1001 --expires 2d')
    .action(settle((options: never) => invite(options, print)));
  person(factor.command('phone').description('register where codes are sent by text message, and the card number that is typed with them'))
    .requiredOption('--phone <number>', 'as +8613800138000')
    .requiredOption('--card <number>', 'the card number; - reads it from stdin')
    .addHelpText('after', '\nExample:\n  wardgate factor phone --role patient --id urn:patient:1001 --phone +8613800138000 --card - <card.txt')
    .action(settle((options: never) => phone(options, print)));
  person(factor.command('reset').description('forget an enrolment and end the sessions that stand on it: a phone was lost or stolen'))
    .option('--key <name>', 'one security key alone, by its name')
    .addHelpText('after', "\nExamples:\n  wardgate factor reset --role patient --id urn:patient:1001\n  wardgate factor reset --role patient --id urn:patient:1001 --key 'blue key'")
    .action(settle((options: never) => reset(options, print)));
  person(factor.command('status').description('what somebody is enrolled for, with every security key'))
    .addHelpText('after', '\nExample:\n  wardgate factor status --role patient --id urn:patient:1001')
    .action(settle((options: never) => factorStatus(options, print)));
  person(factor.command('unlock').description('forget wrong codes'))
    .addHelpText('after', '\nExample:\n  wardgate factor unlock --role patient --id urn:patient:1001')
    .action(settle((options: never) => unlock(options, print)));
  factor.command('list').description('who is enrolled for what')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate factor list --json')
    .action(settle((options: never) => list(options, print)));
  const scope = (command: Command): Command => command
    .option(...configOption).option(...jsonOption)
    .option('--route <name>', 'a route')
    .option('--listener <name>', 'a listener')
    .option('--role <role>', 'clients with a role')
    .option('--network <cidr>', 'clients from a network')
    .option('--outside', 'only clients from outside networks.inside')
    .option('--dry-run', 'say whom it concerns, and change nothing')
    .option('--who <name>', 'on whose behalf', user);
  scope(program.command('suspend').description('stop serving a route, a listener, a role or a network: 503 at once, open streams end; several options narrow each other'))
    .requiredOption('--reason <text>', 'why, for the record')
    .option('--for <duration>', 'resume by itself after this time, such as 2h')
    .addHelpText('after', "\nExamples:\n  wardgate suspend --route prescriptions --reason 'wrong doses' --dry-run\n  wardgate suspend --route prescriptions --outside --reason 'attack from outside' --for 2h\n  wardgate suspend --role device --network 10.7.0.0/16 --reason 'kiosks on the third floor'")
    .action(settle((options: never) => suspend(options, print)));
  scope(program.command('resume').description('serve again what was suspended, named by the same options'))
    .option('--reason <text>', 'why, for the record')
    .addHelpText('after', '\nExample:\n  wardgate resume --route prescriptions --outside')
    .action(settle((options: never) => resume(options, print)));

  const breakGlass = program.command('break-glass').description('grants for emergencies: who got through, and what is to be reviewed')
    .addHelpText('after', "\nExamples:\n  wardgate break-glass list --unreviewed\n  wardgate break-glass review 0b6f… --who 'Dr Chen' --note 'patient unconscious, allergies were needed'\n  wardgate break-glass withdraw 0b6f… --who security --note 'workstation stolen'");
  breakGlass.command('list').description('all of them, oldest first')
    .option(...configOption).option(...jsonOption)
    .option('--unreviewed', 'only those that nobody has reviewed')
    .addHelpText('after', '\nExample:\n  wardgate break-glass list --unreviewed')
    .action(settle((options: never) => listGrants(options, print)));
  const noted = (command: Command): Command => command
    .argument('<id>', 'the whole id, as list shows it')
    .option(...configOption).option(...jsonOption)
    .requiredOption('--who <name>', 'who does so')
    .requiredOption('--note <text>', 'for the record');
  noted(breakGlass.command('review').description('say that one was looked into, and what was found'))
    .addHelpText('after', "\nExample:\n  wardgate break-glass review 5f0c7a52-90d1-4f7e-8a44-6f1f9f6f3b0e --who 'Dr Chen' --note 'justified: anaphylaxis, see chart'")
    .action(settle((id: string, options: never) => reviewGrant(id, options, print)));
  noted(breakGlass.command('withdraw').description('end one before its time'))
    .addHelpText('after', "\nExample:\n  wardgate break-glass withdraw 5f0c7a52-90d1-4f7e-8a44-6f1f9f6f3b0e --who security --note 'workstation stolen'")
    .action(settle((id: string, options: never) => withdrawGrant(id, options, print)));

  const alarm = program.command('alarm').description('what somebody should look at, open until it is acknowledged')
    .addHelpText('after', "\nExamples:\n  wardgate alarm list\n  wardgate alarm show 4be1a7c90f3d2e58\n  wardgate alarm acknowledge 4be1a7c90f3d2e58 --who 'Dr Chen' --note 'new workstation on ward 4'");
  alarm.command('list').description('those that nobody has acknowledged, oldest first')
    .option(...configOption).option(...jsonOption)
    .option('--all', 'acknowledged ones too')
    .addHelpText('after', '\nExample:\n  wardgate alarm list --all')
    .action(settle((options: never) => listAlarms(options, print)));
  alarm.command('show').description('one of them, with the records that led to it')
    .argument('<id>', 'the whole id, as list shows it')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate alarm show 4be1a7c90f3d2e58')
    .action(settle((id: string, options: never) => showAlarm(id, options, print)));
  noted(alarm.command('acknowledge').description('say that one was looked into, and what was found'))
    .addHelpText('after', "\nExample:\n  wardgate alarm acknowledge 4be1a7c90f3d2e58 --who 'Dr Chen' --note 'new workstation on ward 4'")
    .action(settle((id: string, options: never) => acknowledgeAlarm(id, options, print)));

  const audit = program.command('audit').description('the record of every decision: whether it is whole, and what is in it')
    .addHelpText('after', "\nExamples:\n  wardgate audit verify\n  wardgate audit verify /mnt/copy/audit --anchor /mnt/other/anchors.ndjson --key gateway-audit.pem\n  wardgate audit export --patient P123 --from 2026-11-01 --to 2026-12-01 >p123.ndjson\n  wardgate audit key >gateway-audit.pem");
  audit.command('verify').description('follow every chain and checkpoint, and name the first bad record; works beside a running gateway')
    .argument('[dir]', 'an audit directory or an export (default: that of the configuration)')
    .option(...configOption).option(...jsonOption)
    .option('--anchor <file>', 'checkpoints that were kept outside (default: that of the configuration, where it names the directory too)')
    .option('--key <pem>', 'the public key, as wardgate audit key printed it; without it the one that lies beside the files is taken')
    .addHelpText('after', '\nExamples:\n  wardgate audit verify\n  wardgate audit verify /mnt/copy/audit --anchor /mnt/other/anchors.ndjson --key gateway-audit.pem\n\nExit status 0: whole; 1: not.')
    .action(settle((path: string | undefined, options: VerifyCommand) => verifyCommand(path, options, print)));
  recordOptions(audit.command('export').description('JSON lines that can be verified: whole segments, or with a filter the records that match all of it'))
    .argument('[dir]', 'an audit directory (default: that of the configuration)')
    .option(...configOption)
    .option('--id <id>', 'who did it')
    .option('--seal <file>', 'a sealed file instead, as wardgate seal makes it')
    .option('--case <text>', 'with --seal: what for')
    .option('--who <name>', 'on whose behalf', user)
    .addHelpText('after', '\nExample:\n  wardgate audit export --patient P123 --from 2026-11-01 --to 2026-12-01 >p123.ndjson')
    .action(settle((path: string | undefined, options: ExportCommand) => exportCommand(path, options, process.stdout)));
  audit.command('key').description('print the public key that checkpoints are signed with')
    .option(...configOption)
    .addHelpText('after', '\nExample:\n  wardgate audit key >gateway-audit.pem')
    .action(settle((options: { config: string }) => keyCommand(options, print)));

  audit.command('run').description('the half-yearly audit: what the configuration allows, what the records show, and what somebody has to do')
    .option(...configOption).option(...jsonOption)
    .option('--from <time>', 'of the period (default: half a year before its end)')
    .option('--to <time>', 'its end (default: now)')
    .option('--page <file>', 'write it as a page too, to print or to file')
    .option('--anchor <file>', 'checkpoints that were kept outside (default: that of the configuration)')
    .option('--key <pem>', 'the public key, as wardgate audit key printed it (default: that of the state directory)')
    .addHelpText('after', '\nExample:\n  wardgate audit run --from 2026-01-01 --to 2026-07-01 --page audit-2026-1.html\n\nExit status 0: no findings; 1: findings.')
    .action(settle((options: RunCommand) => auditRun(options, print, (text) => process.stderr.isTTY && process.stderr.write(`${text}\n`))));

  addIncidentCommands(program, { configOption, jsonOption, user, print, settle }, (text) => void process.stderr.write(`${text}\n`));
  addDrillCommand(program, { configOption, jsonOption, user, print, settle });
  addTrustCommands(program, { configOption, jsonOption, user, print, settle });
  addBackupCommands(program, { configOption, jsonOption, user, print, settle });
  addTemporaryCommands(program, { configOption, jsonOption, user, print, settle });
  addHolderCommands(program, { configOption, jsonOption, user, print, settle });
  addEstRelayCommand(program, { configOption, jsonOption, user, print, settle });
  addAcmeCommand(program, { configOption, jsonOption, user, print, settle });
  addRenewCommand(program, { configOption, jsonOption, user, print, settle });
  addEnrolCommand(program, { configOption, jsonOption, user, print, settle });
  addServeCommand(addCaCommands(program, { configOption, jsonOption, user, print, settle }), { configOption, jsonOption, user, print, settle });
  addUpgradeCommand(program, { configOption, jsonOption, user, print, settle });
  addExpiryCommand(program, { configOption, jsonOption, print, settle });
  addProfileCommand(program, { configOption, jsonOption, user, print, settle });
  addSinkCommands(audit, { configOption, jsonOption, user, print, settle });
  addKeepingCommands(program, audit, { configOption, jsonOption, user, print, settle });
  addMaskingKeyCommands(audit, { configOption, jsonOption, user, print, settle });

  program.command('reload').description('have the running gateway read its configuration again')
    .option(...configOption).option(...jsonOption)
    .option('--certificates', 'only the certificates, keys, CAs and secrets that the configuration in force names, and not its text')
    .option('--reason <text>', 'why, for the record')
    .option('--who <name>', 'on whose behalf', user)
    .addHelpText('after', '\nExamples:\n  wardgate reload -c /etc/wardgate/wardgate.yaml\n  wardgate reload --certificates')
    .action(settle((options: never) => reload(options, print)));
  program.command('status').description('what the running gateway does')
    .option(...configOption).option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate status -c /etc/wardgate/wardgate.yaml --json')
    .action(settle((options: never) => status(options, print)));
  addDiagnoseCommand(program, { configOption, jsonOption, user, print, settle }, (text) => process.stderr.isTTY && process.stderr.write(`${text}\n`));
  program.command('demo').description('a development PKI, a blood-pressure API and the gateway in front')
    .option('--port <port>', "the gateway's port", '8443')
    .option('--database <url>', 'sqlite:FILE, mysql://… or postgresql://… (default: an SQLite file that goes with the demo)')
    .option('--certificates <dir>', 'where the development PKI is kept (default: certs/demo)')
    .addHelpText('after', '\nExample:\n  wardgate demo --port 9443')
    .action(settle(async (options: { port: string; database?: string; certificates?: string }) => (await import('./demo.ts')).demo(options, print)));
  addCompletionCommand(program, { print, settle });
  pointToOwnHelp(program, 'wardgate');

  try {
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (error instanceof WrongUsage) return usage(error.message);
    process.stderr.write(`wardgate: ${faultOf(error as NodeJS.ErrnoException)}\n`);
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
  const why = code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'may not be read by this user' : code === 'EISDIR' ? 'is a directory' : message;
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
