import { closeSync, existsSync, openSync, rmSync } from 'node:fs';
import { writeWhole } from '../../store/whole-file.ts';
import type { Office } from '../../ca/office.ts';
import { forgetIssuing, noteIssuing, noteTemporary, readIssuing, readTemporaries, standing, type Temporary } from '../../store/temporaries.ts';
import { auditPlaces, type AuditPlaces } from '../archive.ts';
import { onRecord, timeText } from '../backup/ground.ts';
import { approvedRequest, momentText, openCa, profileFor, type TemporaryOptions } from './ground.ts';

type Print = (text: string) => void;

export interface ClientOptions extends TemporaryOptions {
  readonly name: string;
  readonly id?: string;
  readonly out: string;
}

/** `wardgate temporary client`: a certificate for a week for a person or a device, as PKCS#12 whose passphrase is printed once. */
export async function temporaryClient(options: ClientOptions, print: Print): Promise<number> {
  const began = performance.now();
  if (existsSync(options.out)) throw new Error(`${options.out}: is there already; nothing is written over`);
  const places = auditPlaces(options.config);
  if (options.dryRun === true) {
    print(`would ask the CA for a certificate of profile ${options.profile} for ${options.name}, and write it to ${options.out}`);
    return 0;
  }
  const opened = await openCa(options);
  const { office } = opened;
  try {
    await takeBackLost(places, office, options.who);
    const request = await approvedRequest(opened, options, async () => ({
      profile: profileFor(office, 'client', options.profile), name: options.name, ...(options.id === undefined ? {} : { id: options.id }), names: {}, key: { kind: 'made' },
    }));
    if (request.missing.length > 0) {
      print(options.json === true ? JSON.stringify({ request: request.id, missing: request.missing }) : `asked for as ${request.id}; there is still missing: ${request.missing.join('; ')}\nthen the same command again with --request ${request.id}`);
      return 1;
    }
    if (request.key.kind !== 'made') throw new Error(`${request.id}: the key was made elsewhere; wardgate ca issue writes the certificate`);
    // Before anything is signed: a key that cannot be written anywhere is lost.
    closeSync(openSync(options.out, 'wx', 0o600));
    noteIssuing(places.state, { request: request.id, pid: process.pid });
    const { entry, bundle } = await office.issue(request.id, { who: options.who, why: options.reason }).catch((error: unknown) => {
      rmSync(options.out, { force: true });
      forgetIssuing(places.state, { request: request.id });
      throw error;
    });
    if (bundle === undefined) throw new Error(`${request.id}: the key was made elsewhere`);
    writeWhole(options.out, bundle.pkcs12, 0o600);
    const { serial, sha256, notAfter } = entry;
    noteTemporary(places.state, {
      sha256, serial, use: 'client', name: options.name, request: request.id, made: new Date().toISOString(), not_after: new Date(notAfter).toISOString(), who: options.who, why: options.reason, approved_by: request.approvals.map(({ by }) => by),
    });
    office.deliver(request.id, { who: options.who, to: options.name, how: `as ${options.out}` });
    await onRecord(places, options.who, `made a temporary certificate of profile ${request.profile}, until ${new Date(notAfter).toISOString()}, serial ${serial}, SHA-256 ${sha256}: ${options.reason}`);
    const ms = Math.round(performance.now() - began);
    print(options.json === true
      ? JSON.stringify({ file: options.out, serial, sha256, not_after: new Date(notAfter).toISOString(), passphrase: bundle.passphrase, ms })
      : `${options.out}: of ${options.name}, in ${timeText(ms)}\nits passphrase, shown once: ${bundle.passphrase}\nit ends ${momentText(notAfter)}: have a regular one issued before`);
    forgetIssuing(places.state, { request: request.id });
    return 0;
  } finally {
    office.close();
  }
}

/** What a command that was ended had issued, before it said the passphrase: nobody has the key, and nobody will ask for its end. */
async function takeBackLost(places: AuditPlaces, office: Office, who: string): Promise<void> {
  for (const lost of readIssuing(places.state).filter(({ pid }) => !isAlive(pid))) {
    // Nothing but what this command makes: the gateway's user, who may write the note, is not to have anybody's certificate revoked.
    const entry = office.entries().find(({ request, state, temporary }) => request === lost.request && temporary && (state === 'issued' || state === 'delivered'));
    if (entry !== undefined) {
      const why = 'the command that had it issued was ended before it handed the key out: nobody has it';
      office.revoke(entry.serial, { who, reason: 'cessationOfOperation', why });
      await onRecord(places, who, `revoked the temporary certificate ${entry.serial}: ${why}`);
      process.stderr.write(`wardgate: ${entry.serial} of ${entry.name} is revoked: ${why}\n`);
    }
    forgetIssuing(places.state, lost);
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

interface Common {
  readonly config: string;
  readonly json?: boolean;
}

/** `wardgate temporary list`: those that are to be replaced; with `all` those that were. */
export async function listTemporaries({ config, json, all }: Common & { readonly all?: boolean }, print: Print): Promise<number> {
  const found = readTemporaries(auditPlaces(config).state);
  const wanted = all === true ? found : standing(found, Date.now());
  print(json === true ? JSON.stringify(wanted) : wanted.map(lineOf).join('\n') || 'none');
  return 0;
}

function lineOf({ use, name, listener, serial, not_after: end, why, who, approved_by: approvers, replaced }: Temporary): string {
  return `${serial}  ${use === 'server' ? `listener ${listener}` : name}, until ${momentText(Date.parse(end))}, ${who} (approved by ${approvers.join(', ')}): ${why}${replaced === undefined ? '' : `; replaced ${replaced.at} by ${replaced.who}: ${replaced.how}`}`;
}

/** `wardgate temporary replaced`: a regular certificate is in use. Exit 1 when there is no such temporary one. */
export async function replacedTemporary(serial: string, { config, json, who, note }: Common & { readonly who: string; readonly note: string }, print: Print): Promise<number> {
  const places = auditPlaces(config);
  const found = standing(readTemporaries(places.state), Date.now()).find((one) => one.serial === serial.toLowerCase());
  if (found === undefined) throw new Error(`no temporary certificate ${JSON.stringify(serial)} is to be replaced; wardgate temporary list shows those that are`);
  await onRecord(places, who, `the temporary certificate ${found.serial} is replaced: ${note}`);
  noteTemporary(places.state, { ...found, replaced: { at: new Date().toISOString(), who, how: note } });
  print(json === true ? JSON.stringify({ replaced: found.serial }) : `${found.serial} is replaced; revoke it where it could still be used: wardgate revoke --fingerprint ${found.sha256} --reason replaced`);
  return 0;
}
