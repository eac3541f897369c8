import type { Command } from 'commander';
import type { CommandGround } from '../ground.ts';
import { initCommand, type InitOptions } from './init.ts';
import { installIssuingCommand, renewIssuingCommand, rootCrlCommand, signIssuingCommand } from './root.ts';
import { codeCommand } from './code.ts';
import { crlCommand, listCommand, policyCommand, reportCommand, showCommand, verifyCommand, type ListOptions } from './show.ts';
import { approveCommand, confirmCommand, deliverCommand, destroyCommand, issueCommand, refuseCommand, renewCommand, requestCommand, revokeCommand } from './steps.ts';

/** Options that may be given several times. */
const several = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

/** Adds `ca` to the program; gives it back for those who add to it. */
export function addCaCommands(program: Command, ground: CommandGround): Command {
  const ca = program.command('ca').description('a CA for those who have none: request, approve, issue, deliver, renew, revoke, destroy, each on record')
    .addHelpText('after', `
Examples:
  wardgate ca init --name Hospital --server api.hospital.test --client 'doctor:Dr Wang' --approver 'registrar:Li Na' --approver 'security:Chen Jing' \\
    --passphrase-file ca.pass --root-passphrase-file root.pass --root-out /media/usb/root
  wardgate ca request --profile doctor --name 'Dr Chen' --purpose 'ward 3' --system records
  wardgate ca approve r-27e932a742 --cert registrar.pem --key registrar.key
  wardgate ca issue r-27e932a742 --out chen.p12 --passphrase-file ca.pass
  wardgate ca list --waiting

docs/ca.md tells the whole way.`);
  addSteps(ca, ground);
  addViews(ca, ground);
  addAuthorities(ca, ground);
  return ca;
}

/** Where the CA is, and its passphrase. */
function placed(command: Command, { configOption, jsonOption, user }: CommandGround, { changes = true } = {}): Command {
  command.option(...configOption).option(...jsonOption)
    .option('--dir <dir>', 'the directory of the CA (default: ca in the state directory of the configuration)')
    .option('--passphrase-file <file>', 'holds the passphrase of the issuing key')
    .option('--passphrase-command <command>', 'prints it: a program and its arguments, without a shell')
    .option('--who <name>', 'on whose behalf', user);
  return changes ? command.option('--dry-run', 'check, say what would be done, and change nothing') : command;
}

function addSteps(ca: Command, ground: CommandGround): void {
  const { settle, print } = ground;
  const step = (name: string, description: string): Command => placed(ca.command(name).description(description).argument('<id>', 'of the request, or the serial number'), ground);
  const asked = (command: Command): Command => command
    .option('--csr <file>', "the applicant's own PKCS#10 request, PEM or DER; of it the key counts, not the names (default: a key is made when it is issued)")
    .option('--key-type <type>', 'of a key that is made: ec, ec384 or rsa3072')
    .option('--validity <duration>', 'such as 90d; two years at most')
    .option('--applicant <name>', 'who asks (default: --who)')
    .option('--applicant-cert <file>', 'the certificate that the applicant showed');

  asked(placed(ca.command('request').description('ask for a certificate'), ground))
    .requiredOption('--profile <name>', 'server, doctor, patient, device or another profile of policy.yaml')
    .requiredOption('--name <name>', 'the common name: a person, a device, a host')
    .requiredOption('--purpose <text>', 'what for')
    .option('--system <name>', 'the business system that it is for, one of those that policy.yaml lists where it lists any', 'unspecified')
    .option('--id <id>', 'what {id} of the profile stands for, such as the number of a patient')
    .option('--dns <name>', 'a further DNS name, as often as needed', several).option('--uri <uri>', 'a further URI', several)
    .option('--email <address>', 'a mail address', several).option('--ip <address>', 'an IP address', several)
    .option('--temporary', 'flag it until it is replaced')
    .addHelpText('after', "\nExamples:\n  wardgate ca request --profile doctor --name 'Dr Chen' --purpose 'ward 3' --system records --applicant 'Ward 3'\n  wardgate ca request --profile server --name api.hospital.test --csr api.csr --purpose 'gateway' --system wardgate --validity 365d")
    .action(settle((options: never) => requestCommand(options, print)));
  placed(ca.command('code').description('ask for the first certificate of a device that makes its own key: an enrolment code, shown once, that is worth something when the request was approved'), ground)
    .requiredOption('--profile <name>', 'device or another profile of policy.yaml')
    .requiredOption('--name <name>', 'the common name')
    .option('--expires <duration>', 'how long the code can be used', '2d')
    .option('--purpose <text>', 'what for', 'enrolment')
    .option('--system <name>', 'the business system that it is for', 'devices')
    .option('--id <id>', 'what {id} of the profile stands for')
    .option('--dns <name>', 'a further DNS name, as often as needed', several).option('--uri <uri>', 'a further URI', several)
    .option('--email <address>', 'a mail address', several).option('--ip <address>', 'an IP address', several)
    .option('--validity <duration>', 'of the certificate, such as 90d')
    .option('--applicant <name>', 'who asks (default: --who)')
    .option('--applicant-cert <file>', 'the certificate that the applicant showed')
    .addHelpText('after', "\nExample:\n  wardgate ca code --profile device --name kiosk-9.hospital.test --id kiosk-9.hospital.test --expires 2d\n\nSomebody else approves the request (wardgate ca approve); then, on the device: wardgate enrol.")
    .action(settle((options: never) => codeCommand(options, print)));
  step('approve', "agree to a request, signed with the approver's own key; nobody approves what he asked for")
    .option('--cert <file>', 'the certificate of the approver').option('--key <file>', 'its private key').option('--pkcs12 <file>', 'both in one file')
    .option('--key-passphrase-file <file>', 'the passphrase of either')
    .option('--note <text>', 'for the record')
    .option('--digest <hex>', 'of what was looked at, as show prints it: nothing else is signed').option('--yes', 'do not ask at a terminal whether what is shown shall be signed')
    .addHelpText('after', '\nExamples:\n  wardgate ca approve r-27e932a742 --cert registrar.pem --key registrar.key\n  wardgate ca approve r-27e932a742 --pkcs12 registrar.p12 --key-passphrase-file registrar.pass\n  wardgate ca approve r-27e932a742 --pkcs12 registrar.p12 --digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08')
    .action(settle((id: string, options: never) => approveCommand(id, options, print)));
  step('refuse', 'turn a request down').requiredOption('--why <text>', 'for the record')
    .addHelpText('after', "\nExample:\n  wardgate ca refuse r-27e932a742 --why 'left in October'")
    .action(settle((id: string, options: never) => refuseCommand(id, options, print)));
  step('issue', 'sign the certificate of an approved request').requiredOption('--out <file>', 'where it is written: PEM, or PKCS#12 with the key that was made').option('--why <text>', 'for the record')
    .addHelpText('after', '\nExample:\n  wardgate ca issue r-27e932a742 --out chen.p12 --passphrase-file ca.pass')
    .action(settle((id: string, options: never) => issueCommand(id, options, print)));
  step('deliver', 'put on record to whom it was handed, and how').requiredOption('--to <name>', 'to whom').requiredOption('--how <text>', 'how').option('--why <text>', 'for the record')
    .addHelpText('after', "\nExample:\n  wardgate ca deliver r-27e932a742 --to 'Dr Chen' --how 'USB stick 14, in person'")
    .action(settle((id: string, options: never) => deliverCommand(id, options, print)));
  step('confirm', 'put on record that it was seen working; what it renews is superseded by that').requiredOption('--how <text>', 'how that was seen').option('--why <text>', 'for the record')
    .addHelpText('after', "\nExample:\n  wardgate ca confirm r-27e932a742 --how 'request 0b6f… on the gateway'")
    .action(settle((id: string, options: never) => confirmCommand(id, options, print)));
  asked(step('renew', 'ask for the successor of a certificate; that one stays valid until the new one is confirmed')).option('--purpose <text>', 'what for (default: as before)')
    .addHelpText('after', '\nExample:\n  wardgate ca renew 59664e832dcad307ab99fc7eb152e603 --csr chen-2.csr')
    .action(settle((id: string, options: never) => renewCommand(id, options, print)));
  step('revoke', 'take it back: on the deny list of the gateway at once, and on the CRL')
    .requiredOption('--reason <reason>', 'unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn').requiredOption('--why <text>', 'for the record')
    .addHelpText('after', "\nExample:\n  wardgate ca revoke r-27e932a742 --reason keyCompromise --why 'laptop stolen' --passphrase-file ca.pass")
    .action(settle((id: string, options: never) => revokeCommand(id, options, print)));
  step('destroy', 'put on record that the key of a revoked or expired certificate was destroyed').requiredOption('--witness <name>', 'who saw it').requiredOption('--how <text>', 'how').option('--why <text>', 'for the record')
    .addHelpText('after', "\nExample:\n  wardgate ca destroy r-27e932a742 --witness 'Li Na' --how 'USB stick 14 shredded'")
    .action(settle((id: string, options: never) => destroyCommand(id, options, print)));
}

function addViews(ca: Command, ground: CommandGround): void {
  const { settle, print } = ground;
  const view = (name: string, description: string): Command => placed(ca.command(name).description(description), ground, { changes: false });
  view('list', 'requests and certificates').option('--state <state>', 'those in a state, such as delivered').option('--waiting', 'those that somebody has to approve').option('--temporary', 'temporary ones')
    .option('--duplicates', 'public keys that are in several certificates; exit 1 when there are any')
    .addHelpText('after', '\nExamples:\n  wardgate ca list --waiting\n  wardgate ca list --duplicates')
    .action(settle((options: ListOptions) => listCommand(options, print)));
  view('show', 'one of them').argument('<id>', 'of the request, or the serial number').option('--pem', 'the certificate and that of the issuing CA')
    .addHelpText('after', '\nExample:\n  wardgate ca show r-27e932a742 --pem >chen.pem')
    .action(settle((id: string, options: never) => showCommand(id, options, print)));
  view('report', 'a certificate with everything that is on record about it').argument('<id>', 'of the request, or the serial number').option('--out <file>', 'write it there')
    .addHelpText('after', '\nExample:\n  wardgate ca report r-27e932a742 --out chen-report.txt')
    .action(settle((id: string, options: never) => reportCommand(id, options, print)));
  view('verify', 'whether the event log, the database and the files are as they were written')
    .addHelpText('after', '\nExample:\n  wardgate ca verify\n\nWith -c the event log is also held against what that gateway has on record of it.\n\nExit status 0: whole; 1: not.')
    .action(settle((options: never) => verifyCommand(options, print)));
  placed(ca.command('policy').description('whether policy.yaml is as somebody with the passphrase has accepted it; nothing is issued by another one'), ground).option('--accept', 'take it as it is').option('--why <text>', 'for the record')
    .addHelpText('after', "\nExamples:\n  wardgate ca policy --passphrase-file ca.pass\n  wardgate ca policy --accept --why 'longest of doctors 180d' --passphrase-file ca.pass\n\nExit status 0: accepted; 1: not.")
    .action(settle((options: never) => policyCommand(options, print)));
  view('crl', 'sign the next CRL and write it beside the CA').option('--generation <number>', 'of another issuing CA than the current one').option('--out <file>', 'write it there').option('--pem', 'as PEM')
    .addHelpText('after', '\nExample:\n  wardgate ca crl --passphrase-file ca.pass')
    .action(settle((options: never) => crlCommand(options, print)));
}

function addAuthorities(ca: Command, ground: CommandGround): void {
  const { settle, print, jsonOption, user } = ground;
  placed(ca.command('init').description('make a CA: offline root, issuing CA, server, clients and approvers'), ground)
    .requiredOption('--name <name>', 'of the organization')
    .option('--root-out <dir>', 'where the root goes, such as a USB stick (default: beside the CA, -root)')
    .option('--root-passphrase-file <file>', 'holds the passphrase of the root key; both files are made, with random ones, when they are not there')
    .option('--server <names>', 'a server certificate: its name, and after commas further names and addresses', several)
    .option('--client <client>', 'PROFILE:NAME[:ID], such as doctor:Dr Wang, patient:1001:1001 or device:kiosk-7.hospital.test', several)
    .option('--approver <approver>', 'registrar:NAME or security:NAME; two at least, or nothing can be approved', several)
    .option('--out <dir>', 'where these are written (default: first, in the CA directory)')
    .option('--domain <domain>', "of the servers' names (default: that of the first)").option('--permit-dns <domain>', 'bind the issuing CA to DNS names below this, for ever', several)
    .option('--policy <file>', 'a policy of your own').option('--witness <name>', 'who is there as well, for the record')
    .option('--key <type>', 'of all keys: ec, ec384, rsa, rsa3072 or rsa4096').option('--hash <hash>', 'of the root: sha256, sha384 or sha512').option('--days <days>', 'lifetime of the first certificates (default: as the profiles say)')
    .addHelpText('after', "\nExample:\n  wardgate ca init --dir ca --root-out /media/usb/root --name Hospital --server api.hospital.test,localhost,127.0.0.1 --client 'doctor:Dr Wang' --client device:kiosk-7.hospital.test \\\n    --approver 'registrar:Li Na' --approver 'security:Chen Jing' --passphrase-file ca.pass --root-passphrase-file root.pass\n\nExit status 1, with the reason and nothing written: RSA below 2048 bits, SHA-1, more than two years.")
    .action(settle((options: InitOptions) => initCommand(options, print)));
  placed(ca.command('renew-issuing').description('a new key for the issuing CA, and the request that the root signs'), ground).requiredOption('--out <file>', 'the request').option('--why <text>', 'for the record')
    .addHelpText('after', '\nExample:\n  wardgate ca renew-issuing --out issuing-2.csr --passphrase-file ca.pass')
    .action(settle((options: never) => renewIssuingCommand(options, print)));
  placed(ca.command('install-issuing').description('take the certificate that the root gave; the new issuing CA issues from then on').argument('<file>', 'the certificate'), ground).option('--why <text>', 'for the record')
    .addHelpText('after', '\nExample:\n  wardgate ca install-issuing issuing-2.pem --passphrase-file ca.pass')
    .action(settle((file: string, options: never) => installIssuingCommand(file, options, print)));
  const atRoot = (name: string, description: string): Command => ca.command(name).description(description).option(...jsonOption)
    .requiredOption('--root <dir>', 'the directory of the root')
    .option('--passphrase-file <file>', 'holds the passphrase of the root').option('--passphrase-command <command>', 'prints it: a program and its arguments, without a shell')
    .option('--who <name>', 'on whose behalf', user).option('--dry-run', 'check, and change nothing');
  atRoot('sign-issuing', 'at the root: sign the request of an issuing CA').requiredOption('--csr <file>', 'the request').requiredOption('--out <file>', 'the certificate').option('--days <days>', 'lifetime (default: five years)')
    .option('--permit-dns <domain>', 'bind it to DNS names below this', several).option('--crl-url <url>', 'where the CRL of the root will be')
    .addHelpText('after', '\nExample:\n  wardgate ca sign-issuing --root /media/usb/root --csr issuing-2.csr --out issuing-2.pem --passphrase-file root.pass')
    .action(settle((options: never) => signIssuingCommand(options, print)));
  atRoot('root-crl', 'at the root: sign the list of issuing CAs that were revoked, good for 400 days').option('--revoke <serial>', 'put one on it').option('--out <file>', 'where it is written (default: beside the root)')
    .addHelpText('after', '\nExample:\n  wardgate ca root-crl --root /media/usb/root --out root.crl --passphrase-file root.pass')
    .action(settle((options: never) => rootCrlCommand(options, print)));
}
