import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import type { Reason } from '../../ca/extensions.ts';
import { crlFileOf, writeCrlFile } from '../../ca/crl-file.ts';
import { writeWhole } from '../../store/whole-file.ts';
import { OfficeError, REASONS, reasonFault, signApproval, type AskedKey, type AskedNames, type CaEntry, type CaRequest, type Office } from '../../ca/office.ts';
import { openKey, openPkcs12 } from '../../config/own-keys.ts';
import { parseDuration } from '../../config/values.ts';
import { standingIn } from '../../store/earlier-end.ts';
import { revoke as denyCertificate } from '../revoke.ts';
import { WrongUsage } from '../usage.ts';
import { applicantOf, loginName } from './login.ts';
import { gatewayOf, isAgreed, openCa, passphraseFromFile, withRecord, type CaOptions, type Print } from './place.ts';
import { detailsOf, entryOf, factsOf, stepLine } from './words.ts';

export interface RequestOptions extends CaOptions {
  readonly profile: string;
  readonly name: string;
  readonly id?: string;
  readonly dns?: readonly string[];
  readonly uri?: readonly string[];
  readonly email?: readonly string[];
  readonly ip?: readonly string[];
  readonly csr?: string;
  readonly keyType?: string;
  readonly purpose: string;
  readonly system: string;
  readonly validity?: string;
  readonly temporary?: boolean;
  readonly applicant?: string;
  readonly applicantCert?: string;
}

/** `wardgate ca request` */
export async function requestCommand(options: RequestOptions, print: Print): Promise<number> {
  const { dns, uri, email, ip } = options;
  const names: AskedNames = Object.fromEntries(Object.entries({ dns, uri, email, ip }).filter(([, values]) => values !== undefined));
  return stepOf(options, print, (office) => office.submit({
    profile: options.profile, name: options.name, ...(options.id === undefined ? {} : { id: options.id }), names, key: keyOf(options),
    applicant: applicantOf(options),
    purpose: options.purpose, system: options.system, ...validityOf(options.validity), ...(options.temporary === true ? { temporary: true } : {}),
  }));
}

function keyOf({ csr, keyType }: Pick<RequestOptions, 'csr' | 'keyType'>): AskedKey {
  if (csr !== undefined) {
    const bytes = readFileSync(csr);
    return { kind: 'csr', csr: bytes.includes('-----BEGIN') ? bytes.toString('latin1') : bytes };
  }
  if (keyType === undefined) return { kind: 'made' };
  if (keyType === 'ec' || keyType === 'ec384' || keyType === 'rsa3072') return { kind: 'made', type: keyType };
  throw new WrongUsage(`--key-type: ${JSON.stringify(keyType)}; expected ec, ec384 or rsa3072`);
}

export function validityOf(text: string | undefined): { validity?: number } {
  if (text === undefined) return {};
  const validity = parseDuration(text);
  if (validity === undefined) throw new WrongUsage(`--validity: ${JSON.stringify(text)} is not a duration such as 365d or 12h`);
  return { validity };
}

export interface ApproveOptions extends CaOptions {
  readonly cert?: string;
  readonly key?: string;
  readonly keyPassphraseFile?: string;
  readonly pkcs12?: string;
  readonly note?: string;
  readonly digest?: string;
  readonly yes?: true;
}

/** `wardgate ca approve`: signs with the approver's own key. */
export async function approveCommand(id: string, options: ApproveOptions, print: Print): Promise<number> {
  if (options.digest !== undefined && !/^[0-9a-f]{64}$/.test(options.digest)) throw new WrongUsage(`--digest: ${JSON.stringify(options.digest)}; expected the 64 digits that wardgate ca show prints`);
  const pair = pairOf(options);
  const office = await openCa(options);
  try {
    // What was looked at is what is signed, whatever the database says by then.
    const request = office.request(id);
    if (options.digest !== undefined && request.digest !== options.digest) throw new OfficeError('tampered', `${id}: is not what you have looked at: its digest is ${request.digest}; nothing was signed`);
    if (options.digest === undefined && options.yes !== true && options.dryRun !== true && process.stdin.isTTY && !await isAgreed(`${detailsOf(request, undefined)}\n\nSign this? (yes or no) `)) throw new Error('nothing was signed');
    const act = (): CaRequest => office.approve(id, signApproval(request, pair, Date.now(), options.note), loginName());
    if (options.dryRun === true) return said(options, print, office, office.rehearse(act), 'would be ');
    return said(options, print, office, await withRecord(options, office, act), '');
  } finally {
    office.close();
  }
}

function pairOf({ cert, key, pkcs12, keyPassphraseFile }: ApproveOptions): { readonly certificate: string; readonly key: string } {
  const passphrase = keyPassphraseFile === undefined ? undefined : passphraseFromFile(keyPassphraseFile);
  if (pkcs12 !== undefined) {
    const opened = openPkcs12(readFileSync(pkcs12), pkcs12, passphrase);
    if (opened.kind !== 'ok') throw new Error(opened.kind === 'fault' ? opened.message : `${pkcs12}: needs a passphrase: --key-passphrase-file`);
    return { certificate: opened.value.chain, key: opened.value.key };
  }
  if (cert === undefined || key === undefined) throw new WrongUsage('whose approval is it? --cert and --key, or --pkcs12, name the certificate and key of the approver');
  const opened = openKey(readFileSync(key), key, passphrase);
  if (opened.kind !== 'ok') throw new Error(opened.kind === 'fault' ? opened.message : `${key}: needs a passphrase: --key-passphrase-file`);
  return { certificate: readFileSync(cert, 'utf8'), key: opened.value.pem };
}

/** `wardgate ca refuse` */
export function refuseCommand(id: string, options: CaOptions & { readonly why: string }, print: Print): Promise<number> {
  return stepOf(options, print, (office) => office.refuse(id, { who: options.who, why: options.why }));
}

export interface IssueOptions extends CaOptions {
  readonly out: string;
  readonly why?: string;
}

/** `wardgate ca issue`: writes the certificate, or where the key was made here PKCS#12, whose passphrase is printed once. */
export async function issueCommand(id: string, options: IssueOptions, print: Print): Promise<number> {
  if (existsSync(options.out)) throw new Error(`${options.out}: is there already; nothing is written over`);
  const office = await openCa(options, { key: options.dryRun !== true });
  try {
    const request = office.request(id);
    if (options.dryRun === true) {
      print(options.json === true ? JSON.stringify({ would: 'issue', ...factsOf(request, undefined) }) : `${request.state === 'approved' ? 'would issue' : 'cannot be issued yet'}:\n${detailsOf(request, undefined)}`);
      return request.state === 'approved' ? 0 : 1;
    }
    // Before anything is signed: a key that was made and cannot be written anywhere is lost.
    closeSync(openSync(options.out, 'wx', 0o600));
    const { entry, bundle } = await withRecord(options, office, () => office.issue(id, byOf(options))).catch((error: unknown) => {
      rmSync(options.out, { force: true });
      throw error;
    });
    writeWhole(options.out, bundle?.pkcs12 ?? entry.chain, bundle === undefined ? 0o644 : 0o600);
    const after = office.request(id);
    if (options.json === true) print(JSON.stringify({ ...factsOf(after, entry), file: options.out, ...(bundle === undefined ? {} : { passphrase: bundle.passphrase }) }));
    else print(`${detailsOf(after, entry)}\nwritten to    ${options.out}${bundle === undefined ? '' : `\npassphrase    ${bundle.passphrase}\n\nThe passphrase is shown this once, and the key is nowhere but in this file: hand them over by two ways, then wardgate ca deliver ${id}`}`);
    return 0;
  } finally {
    office.close();
  }
}

/** `wardgate ca deliver` */
export function deliverCommand(id: string, options: CaOptions & { readonly to: string; readonly how: string; readonly why?: string }, print: Print): Promise<number> {
  return stepOf(options, print, (office) => office.deliver(id, { ...byOf(options), to: options.to, how: options.how }));
}

/** `wardgate ca confirm` */
export function confirmCommand(id: string, options: CaOptions & { readonly how: string; readonly why?: string }, print: Print): Promise<number> {
  return stepOf(options, print, (office) => office.confirm(id, { ...byOf(options), how: options.how }));
}

/** `wardgate ca renew` */
export function renewCommand(id: string, options: RequestOptions, print: Print): Promise<number> {
  return stepOf(options, print, (office) => office.renew(id, {
    key: keyOf(options), applicant: applicantOf(options),
    ...(options.purpose === undefined ? {} : { purpose: options.purpose }), ...validityOf(options.validity),
  }));
}

export interface RevokeOptions extends CaOptions {
  readonly reason: string;
  readonly why: string;
}

/** `wardgate ca revoke`: on the deny list of the gateway at once, and on the next CRL, which is made where the passphrase is at hand. */
export async function revokeCommand(id: string, options: RevokeOptions, print: Print): Promise<number> {
  if (!REASONS.has(options.reason)) throw new WrongUsage(`--${reasonFault(options.reason)}`);
  const office = await openCa(options);
  try {
    const by = { who: options.who, why: options.why, reason: options.reason as Reason };
    if (options.dryRun === true) return said(options, print, office, office.rehearse(() => office.revoke(id, by)), 'would be ');
    const entry = await withRecord(options, office, () => office.revoke(id, by));
    const denied = await denyAtGateway(options, entry, options.why);
    const crl = options.passphraseFile === undefined && options.passphraseCommand === undefined ? undefined : await writeCrl(office);
    const next = [denied, crl === undefined ? 'next          wardgate ca crl, which needs the passphrase, puts it on the CRL' : `CRL           ${crl}`].filter((line) => line !== undefined);
    return said(options, print, office, entry, '', next);
  } finally {
    office.close();
  }
}

/** Makes the next CRL of the current issuing CA and writes it beside it; gives the file. */
export async function writeCrl(office: Office, generation?: number, out?: string): Promise<string> {
  const broken = office.logFault();
  if (broken !== undefined) throw new OfficeError('tampered', `no CRL is signed: ${broken}`);
  const crl = await office.crl(generation);
  const file = out ?? crlFileOf(office.directory, crl.generation, office.issuers());
  writeCrlFile(file, crl.der);
  return file;
}

async function denyAtGateway(options: CaOptions, entry: CaEntry, reason: string): Promise<string | undefined> {
  const config = gatewayOf(options);
  if (config === undefined) return undefined;
  try {
    const lines: string[] = [];
    const left = Math.ceil((entry.notAfter - Date.now()) / 1_000);
    if (left <= 0) return undefined;
    await denyCertificate({ config, fingerprint: entry.sha256, reason, who: options.who, expires: `${left}s` }, (line) => lines.push(line));
    return `deny list     ${lines.join(' ')}`;
  } catch (error) {
    const standing = standingIn((error as Error).message);
    // Whoever was first stays on the list, with his reason: it lasts longer than what is asked here.
    if (standing !== undefined) return `deny list     ${standing}`;
    process.stderr.write(`wardgate: warning: it is revoked, and not on the deny list of the gateway: ${(error as Error).message}\n`);
    return undefined;
  }
}

/** `wardgate ca destroy` */
export function destroyCommand(id: string, options: CaOptions & { readonly witness: string; readonly how: string; readonly why?: string }, print: Print): Promise<number> {
  return stepOf(options, print, (office) => office.destroy(id, { ...byOf(options), witness: options.witness, how: options.how }));
}

function byOf({ who, why }: CaOptions & { readonly why?: string }): { readonly who: string; readonly why?: string } {
  return { who, ...(why === undefined ? {} : { why }) };
}

/** A step that needs no signature of the CA: done, or with --dry-run checked and undone. */
async function stepOf(options: CaOptions, print: Print, act: (office: Office) => CaRequest | CaEntry): Promise<number> {
  const office = await openCa(options);
  try {
    if (options.dryRun === true) return said(options, print, office, office.rehearse(() => act(office)), 'would be ');
    const before = office.revision();
    const result = await withRecord(options, office, () => act(office));
    const id = 'digest' in result ? result.id : result.request;
    return said(options, print, office, result, '', office.events(id).filter(({ seq }) => seq > before).map((event) => `on record     ${stepLine(event)}`));
  } finally {
    office.close();
  }
}

function said(options: CaOptions, print: Print, office: Office, result: CaRequest | CaEntry, would: string, more: readonly string[] = []): number {
  const dry = would !== '';
  const entry = 'sha256' in result ? result : undefined;
  const request = 'digest' in result ? result : { ...office.request(result.request), state: result.state };
  const known = entry ?? (dry ? undefined : entryOf(office, request));
  if (options.json === true) print(JSON.stringify({ ...(dry ? { dry_run: true } : {}), ...factsOf(request, known) }));
  else print([...(dry ? [`would be ${request.state}; nothing was changed`] : []), detailsOf(request, known), ...more].join('\n'));
  return 0;
}
