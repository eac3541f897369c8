import type { Command } from 'commander';
import { parseDuration } from '../config/values.ts';
import { deniedOf, openDenyList, readDenyList, type DenyList, type DenySubject } from '../store/deny-list.ts';
import { createDenyTable } from '../store/deny-table.ts';
import { refuseEarlierEnd } from '../store/earlier-end.ts';
import { why } from './call.ts';
import type { CommandGround } from './ground.ts';
import { foresee } from './incident/foresee.ts';
import { warningLines, warningsIn } from './incident/warned.ts';
import { certificateOptions, describe, subjectOf, type SubjectOptions } from './named-certificate.ts';
import { readPlaces } from './places.ts';
import { runningOrAlone } from './running-or-alone.ts';
import { standingLines, stillRevoked } from './still-revoked.ts';
import { usage } from './usage.ts';

type Print = (text: string) => void;

/** Adds `revoke` and `reinstate` to the program. */
export function addRevokeCommands(program: Command, { configOption, jsonOption, user, print, settle }: CommandGround): void {
  const subject = (command: Command): Command => certificateOptions(command.option(...configOption).option(...jsonOption)).option('--who <name>', 'on whose behalf', user);
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
}

/** `wardgate revoke`: on the running gateway's deny list, or in its state when none runs. */
export async function revoke(options: SubjectOptions & { reason: string; expires?: string; dryRun?: true }, print: Print): Promise<number> {
  const subject = await subjectOf(options);
  if (typeof subject === 'string') return usage(subject);
  if (options.dryRun === true) return foresee(options, { hit: subject, text: describe(subject) }, print);
  const at = new Date();
  const lifetime = options.expires === undefined ? undefined : parseDuration(options.expires);
  if (options.expires !== undefined && lifetime === undefined) return usage(`--expires: ${JSON.stringify(options.expires)} is not a duration such as 12h or 7d`);
  const entry = {
    ...subject, reason: options.reason, who: options.who,
    ...(lifetime === undefined ? {} : { expires: new Date(at.getTime() + lifetime).toISOString() }),
  };
  const { answer } = await runningOrAlone(options.config, '/v1/deny', entry, openAlone, (list) => {
    refuseEarlierEnd('it is denied', list.entry(entry), entry.expires, at.getTime());
    list.apply({ op: 'deny', ...entry, at: list.timeOf(entry, at.getTime()) });
  });
  const where = answer === undefined ? 'in the state of the gateway, which is not running' : 'on the running gateway';
  const warnings = warningsIn(answer);
  print(options.json === true ? JSON.stringify({ denied: subject, ...(entry.expires === undefined ? {} : { until: entry.expires }), running: answer !== undefined, warnings })
    : [`denied ${describe(subject)}${entry.expires === undefined ? '' : `, until ${entry.expires}`}, ${where}`, ...warningLines(warnings)].join('\n'));
  return 0;
}

/** `wardgate reinstate`: exit 1 when it was not on the list. Says what else has the certificate revoked, which it cannot lift. */
export async function reinstate(options: SubjectOptions & { readonly reason?: string; readonly dryRun?: true }, print: Print): Promise<number> {
  const subject = await subjectOf(options);
  if (typeof subject === 'string') return usage(subject);
  const standing = await stillRevoked(options, subject);
  if (options.dryRun === true) {
    const listed = deniedOf(readDenyList(readPlaces(options.config).state, createDenyTable()), subject).length > 0;
    const would = `${listed ? 'would be reinstated:' : 'is not on the deny list:'} ${describe(subject)}; nothing was changed`;
    print(options.json === true ? JSON.stringify({ dry_run: true, reinstated: listed, subject, ...standing }) : [would, ...standingLines(standing)].join('\n'));
    return listed ? 0 : 1;
  }
  const { answer, result } = await runningOrAlone(options.config, '/v1/reinstate', { ...subject, who: options.who, ...why(options) }, openAlone, (list) => liftFrom(list, subject, options.who));
  const reinstated = (answer as { reinstated: boolean } | undefined)?.reinstated ?? result === true;
  print(options.json === true ? JSON.stringify({ reinstated, subject, ...standing }) : [`${reinstated ? 'reinstated' : 'was not on the deny list:'} ${describe(subject)}`, ...standingLines(standing)].join('\n'));
  return reinstated ? 0 : 1;
}

/** Nobody looks at its table. */
function openAlone(state: string): DenyList {
  return openDenyList(state, createDenyTable());
}

function liftFrom(list: DenyList, subject: DenySubject, who: string): boolean {
  const meant = deniedOf(list, subject);
  for (const one of meant) list.apply({ op: 'reinstate', ...one, who, at: list.timeOf(one, Date.now()) });
  return meant.length > 0;
}
