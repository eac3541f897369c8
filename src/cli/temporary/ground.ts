import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { isCaDirectory, openOffice, signApproval, type CaRequest, type Office, type RequestOrder } from '../../ca/office.ts';
import { openKey } from '../../config/own-keys.ts';
import { asOwnerOf } from '../../store/as-owner.ts';
import { auditPlaces } from '../archive.ts';
import { passphrasesOf, type Passphrases, type PassphraseOptions } from '../backup/passphrase.ts';

/** What every command for a temporary certificate is told. */
export interface TemporaryOptions extends PassphraseOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly dir?: string;
  readonly profile?: string;
  readonly reason: string;
  readonly system: string;
  readonly approverCert?: string;
  readonly approverKey?: string;
  /** A request that was made before and approved since. */
  readonly request?: string;
  readonly dryRun?: boolean;
  readonly who: string;
}

/** A week: the longest that anything temporary may be. */
const LONGEST_MS = 7 * 86_400_000;

export interface Opened {
  readonly office: Office;
  readonly passphrases: Passphrases;
}

/** Opens the CA with its key. Throws where there is none, and says what to do then. */
export async function openCa(options: TemporaryOptions): Promise<Opened> {
  const directory = options.dir === undefined ? join(auditPlaces(options.config).state, 'ca') : resolve(options.dir);
  if (!asOwnerOf(directory, () => isCaDirectory(directory))) {
    throw new Error(`${directory}: there is no CA here that could issue one; --dir DIR names another, wardgate ca init makes one. With a CA of somebody else, have it issue one and replace the file: it is in force without a restart`);
  }
  const passphrases = passphrasesOf(options);
  const passphrase = await passphrases.next('Passphrase of the issuing CA');
  return { office: asOwnerOf(directory, () => openOffice({ directory, passphrase })), passphrases };
}

/** The profile that was named, or the first of a use. */
export function profileFor({ policy }: Office, use: 'server' | 'client', named: string | undefined): string {
  const fitting = Object.entries(policy.profiles).filter(([, profile]) => (profile.use === 'server') === (use === 'server')).map(([name]) => name);
  const found = named ?? (use === 'server' ? fitting[0] : undefined);
  if (found === undefined || !fitting.includes(found)) throw new Error(`--profile: expected one of ${fitting.join(', ')}`);
  return found;
}

/** Asks for it, and has the approver sign where the approver is there; else somebody approves it elsewhere, and the command is run again with --request. */
export async function approvedRequest({ office, passphrases }: Opened, options: TemporaryOptions, order: () => Promise<Pick<RequestOrder, 'profile' | 'name' | 'id' | 'names' | 'key'>>): Promise<CaRequest> {
  const request = options.request === undefined ? office.submit({
    ...givenOf(await order()), applicant: { name: options.who }, purpose: options.reason, system: options.system, validity: LONGEST_MS, temporary: true,
  }) : office.request(options.request);
  if (request.temporary !== true) throw new Error(`${request.id} is no request for a temporary certificate`);
  if (request.validity > LONGEST_MS) throw new Error(`${request.id} asks for ${Math.ceil(request.validity / 86_400_000)} days; a temporary certificate is for a week at most: wardgate ca issue gives it, as any other`);
  if (request.missing.length === 0 || options.approverCert === undefined || options.approverKey === undefined) return request;
  const bytes = readFileSync(options.approverKey);
  const passphrase = /ENCRYPTED/.test(bytes.toString('latin1')) ? await passphrases.next(`Passphrase of ${options.approverKey}`) : undefined;
  const key = openKey(bytes, options.approverKey, passphrase);
  if (key.kind === 'fault') throw new Error(key.message);
  return office.approve(request.id, signApproval(request, { certificate: readFileSync(options.approverCert, 'utf8'), key: createPrivateKey(key.value.pem) }, Date.now(), `temporary: ${options.reason}`));
}

function givenOf({ id, ...order }: Pick<RequestOrder, 'profile' | 'name' | 'id' | 'names' | 'key'>): Pick<RequestOrder, 'profile' | 'name' | 'id' | 'names' | 'key'> {
  return id === undefined ? order : { ...order, id };
}

export function fingerprintOf(der: Buffer): string {
  return new X509Certificate(der).fingerprint256.replaceAll(':', '').toLowerCase();
}

/** `2026-11-29 16:00 UTC`. */
export function momentText(time: number): string {
  return `${new Date(time).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
