import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { LIVE } from '../../ca/life.ts';
import { isCaDirectory, openOffice, type CaEntry, type Office } from '../../ca/office.ts';
import { prepareText } from '../../pki/preparation.ts';
import { asOwnerOf } from '../../store/as-owner.ts';
import { openCustody, type CustodyEvent, type CustodyItem } from '../../store/custody.ts';
import type { CustodyStep } from '../../store/custody-life.ts';
import { auditPlaces } from '../archive.ts';
import { onRecord } from '../backup/ground.ts';
import { revoke as deny } from '../revoke.ts';
import { moment } from '../record-options.ts';
import { usage } from '../usage.ts';
import { lineOf } from './show.ts';

type Print = (text: string) => void;

export interface StepOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly who: string;
  readonly note?: string;
  /** Of the CA. */
  readonly dir?: string;
}

export interface GiveOptions extends StepOptions {
  readonly to: string;
  readonly device?: boolean;
  readonly description?: string;
  readonly cert?: readonly string[];
  readonly fingerprint?: readonly string[];
  readonly until?: string;
}

/** `wardgate holder give`: from now on somebody has it. */
export async function give(id: string, options: GiveOptions, print: Print): Promise<number> {
  if (options.to.trim() === '') return usage('--to: who gets it?');
  const wrong = options.fingerprint?.find((text) => !/^[0-9a-f]{64}$/i.test(text.replaceAll(':', '')));
  if (wrong !== undefined) return usage(`--fingerprint: ${JSON.stringify(wrong)} is no SHA-256 fingerprint`);
  const certificates = [...(options.cert ?? []).map(fingerprintIn), ...(options.fingerprint ?? []).map((text) => text.replaceAll(':', '').toLowerCase())];
  return step(id, 'give', options, print, {
    holder: options.to.trim(), kind: options.device === true ? 'device' : 'token', ...(certificates.length === 0 ? {} : { certificates }),
    ...(options.description === undefined ? {} : { description: options.description }), ...(options.until === undefined ? {} : { due: new Date(moment('--until', options.until)).toISOString() }),
  });
}

/** `wardgate holder return`: it is back, and may be handed out again. */
export function giveBack(id: string, options: StepOptions, print: Print): Promise<number> {
  return step(id, 'return', options, print);
}

/** `wardgate holder lost`: its certificates are revoked before anything else. */
export function lose(id: string, options: StepOptions & { readonly note: string }, print: Print): Promise<number> {
  return step(id, 'lost', options, print);
}

/** `wardgate holder recover`: it is back for good, from the shelf or after it was lost. */
export function recover(id: string, options: StepOptions, print: Print): Promise<number> {
  return step(id, 'recover', options, print);
}

/** `wardgate holder revoke`: the certificates of what is back for good. */
export function revokeItem(id: string, options: StepOptions, print: Print): Promise<number> {
  return step(id, 'revoke', options, print);
}

export interface WitnessedOptions extends StepOptions {
  readonly note: string;
  readonly witness: string;
}

/** `wardgate holder write-off`: it will not be found. */
export function writeOff(id: string, options: WitnessedOptions, print: Print): Promise<number> {
  return witnessed(id, 'write_off', options, print);
}

/** `wardgate holder destroy`: the end, which somebody else has seen. */
export function destroy(id: string, options: WitnessedOptions, print: Print): Promise<number> {
  return witnessed(id, 'destroy', options, print);
}

async function witnessed(id: string, what: 'write_off' | 'destroy', options: WitnessedOptions, print: Print): Promise<number> {
  if (options.witness.trim() === '' || prepareText(options.witness) === prepareText(options.who)) return usage('--witness: somebody else than who does it');
  return step(id, what, options, print, { witness: options.witness.trim() });
}

async function step(id: string, what: CustodyStep, options: StepOptions, print: Print, more: Partial<CustodyEvent> = {}): Promise<number> {
  const places = auditPlaces(options.config);
  if (options.dir !== undefined && !isCaIn(resolve(options.dir))) return usage(`--dir: there is no CA in ${resolve(options.dir)}`);
  const custody = openCustody(places.state);
  try {
    custody.allows(id, what);
    const certificates = [...new Set([...custody.item(id)?.certificates ?? [], ...more.certificates ?? []])];
    if (options.dryRun === true) {
      print(options.json === true ? JSON.stringify({ would: what, id, certificates }) : `would put on record: ${id} ${WORDS[what]}${what === 'lost' || what === 'revoke' ? `; would revoke ${certificates.join(', ') || 'nothing: no certificate of it is known'}` : ''}`);
      return 0;
    }
    // Before it is on record: a key that is lost is in somebody's hands now.
    const told = what === 'lost' || what === 'revoke' ? await takeBack(id, what, certificates, options) : what === 'destroy' ? destroyAtCa(id, certificates, options, more.witness ?? '') : undefined;
    const item = custody.record(id, { at: new Date().toISOString(), step: what, who: options.who, ...(options.note === undefined ? {} : { note: options.note }), ...more });
    await onRecord(places, options.who, `${item.kind} ${id} ${WORDS[what]}${more.holder === undefined ? '' : ` to ${more.holder}`}${more.witness === undefined ? '' : `, witnessed by ${more.witness}`}${options.note === undefined ? '' : `: ${options.note}`}`);
    print(options.json === true ? JSON.stringify({ ...item, ...(told === undefined ? {} : { ca: told }) }) : [toldOf(item, what), ...(told === undefined ? [] : [caText(told, what)])].join('\n'));
    return 0;
  } finally {
    custody.close();
  }
}

const WORDS: Readonly<Record<CustodyStep, string>> = {
  give: 'is handed out', return: 'is returned', lost: 'is lost', recover: 'is recovered, and out of service', revoke: 'has its certificates revoked', write_off: 'is written off', destroy: 'is destroyed',
};

function toldOf(item: CustodyItem, what: CustodyStep): string {
  const revoked = what === 'lost' || what === 'revoke' ? [item.certificates.length === 0 ? 'no certificate of it is known: nothing was revoked' : `revoked: ${item.certificates.join(', ')}`] : [];
  return [lineOf(item), ...revoked].join('\n');
}

/** On the deny list, which is in force at once, and at the CA where it issued it. */
/** What the hospital's own CA was told: in `directory`, of these serial numbers; without a CA there nothing. */
interface CaTold {
  readonly directory: string;
  readonly kind: 'none_there' | 'told';
  readonly serials: readonly string[];
}

async function takeBack(id: string, what: 'lost' | 'revoke', certificates: readonly string[], options: StepOptions): Promise<CaTold | undefined> {
  const reason = `${id} is ${what === 'lost' ? 'lost' : 'out of service'}${options.note === undefined ? '' : `: ${options.note}`}`;
  for (const fingerprint of certificates) {
    if (await deny({ config: options.config, fingerprint, reason, who: options.who }, () => undefined) !== 0) throw new Error(`${fingerprint} could not be put on the deny list; nothing is on record`);
  }
  return atCa(certificates, options, (office, entry) => revokeAtCa(office, entry, { who: options.who, reason: what === 'lost' ? 'keyCompromise' : 'cessationOfOperation', why: reason }));
}

function revokeAtCa(office: Office, { state, serial }: CaEntry, because: { readonly who: string; readonly reason: 'keyCompromise' | 'cessationOfOperation'; readonly why: string }): void {
  if (LIVE.has(state) || state === 'superseded') office.revoke(serial, because);
}

function destroyAtCa(id: string, certificates: readonly string[], options: StepOptions, witness: string): CaTold | undefined {
  return atCa(certificates, options, (office, entry) => {
    // It was revoked here while the CA was not named, or out of reach: what is destroyed is revoked before, in its books too.
    revokeAtCa(office, entry, { who: options.who, reason: 'cessationOfOperation', why: `${id} is destroyed` });
    if (entry.state !== 'destroyed') office.destroy(entry.serial, { who: options.who, witness, how: options.note ?? 'destroyed' });
  });
}

/** Does something with those of the certificates that the hospital's own CA issued; undefined without certificates. Throws where `dir` names no CA. */
function atCa(certificates: readonly string[], { config, dir }: StepOptions, act: (office: Office, entry: CaEntry) => void): CaTold | undefined {
  if (certificates.length === 0) return undefined;
  const directory = caOf(config, dir);
  return asOwnerOf(directory, () => {
    if (!isCaDirectory(directory)) return { directory, kind: 'none_there', serials: [] };
    const office = openOffice({ directory });
    try {
      const own = office.entries().filter(({ sha256 }) => certificates.includes(sha256));
      for (const entry of own) act(office, entry);
      return { directory, kind: 'told', serials: own.map(({ serial }) => serial) };
    } finally {
      office.close();
    }
  });
}

function isCaIn(directory: string): boolean {
  return asOwnerOf(directory, () => isCaDirectory(directory));
}

function caOf(config: string, dir: string | undefined): string {
  return dir === undefined ? join(auditPlaces(config).state, 'ca') : resolve(dir);
}

function caText({ directory, kind, serials }: CaTold, what: CustodyStep): string {
  if (kind === 'none_there') return `the CA was not told: there is none in ${directory}. Where your own CA issued it: wardgate ca ${what === 'destroy' ? 'destroy SERIAL' : 'revoke SERIAL'} --dir DIR; next time --dir DIR here`;
  return serials.length === 0 ? `the CA in ${directory} issued none of it` : `in the books of the CA: ${serials.join(', ')}`;
}

function fingerprintIn(file: string): string {
  return new X509Certificate(readFileSync(file)).fingerprint256.replaceAll(':', '').toLowerCase();
}
