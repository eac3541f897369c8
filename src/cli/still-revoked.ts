import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isCaDirectory, openOffice, type CaEntry } from '../ca/office.ts';
import { parseConfig } from '../config/load.ts';
import { loadSnapshot } from '../config/snapshot.ts';
import { parseCertificate } from '../pki/certificate.ts';
import { pemBlocks } from '../pki/pem.ts';
import type { RevokedStatement } from '../revocation/status.ts';
import type { DenySubject } from '../store/deny-list.ts';
import { asOwnerOf } from '../store/as-owner.ts';
import { openAlone, type Alone } from './admit-alone.ts';

/** What says, beside the deny list, that a certificate is revoked; `ca` is the book of the CA in the state directory. */
export interface Revoked {
  readonly source: 'crl' | 'ocsp' | 'ca';
  readonly reason: string;
  readonly detail: string;
}

export interface Standing {
  readonly revoked: readonly Revoked[];
  /** What was not looked at, in words. */
  readonly unknown: readonly string[];
}

const MOST = 20;

/** What the revocation sources of a configuration, and the books of its CA, say now of what is taken off the deny list. What cannot be looked at is told, never thrown: it must not keep anybody from reinstating. */
export async function stillRevoked({ config, cert }: { readonly config: string; readonly cert?: string }, subject: DenySubject): Promise<Standing> {
  const unknown: string[] = [];
  const entries = inBooks(config, subject, unknown);
  const chains = cert === undefined ? entries.slice(0, MOST).map(({ chain }) => dersOf(chain)) : [dersOf(readFileSync(cert, 'utf8'))];
  if (chains.length === 0) unknown.push('what CRLs and OCSP say was not looked at: that needs the certificate (wardgate explain --cert FILE)');
  const told = await inForce(config, chains, unknown);
  const books = entries.flatMap(({ serial, revoked }): Revoked[] => (revoked === undefined ? [] : [{ source: 'ca', reason: revoked.reason, detail: `serial ${serial} revoked ${new Date(revoked.at).toISOString()} (${revoked.reason}) in the books of the CA` }]));
  return { revoked: [...told, ...books], unknown };
}

/** For people: what says so, and what follows. */
export function standingLines({ revoked, unknown }: Standing): readonly string[] {
  const published = revoked.filter(({ source }) => source !== 'ca');
  const consequence = published.length > 0
    ? `the gateway goes on refusing it${published.every(({ reason }) => reason === 'certificateHold') ? ' until its CA lifts the hold' : ': a new certificate is needed'}`
    : 'no CRL or OCSP answer at hand says so yet, and the gateway lets it in until one does: wardgate ca crl, or put it back on the deny list';
  return [
    ...revoked.map(({ source, detail }) => `STILL REVOKED  ${source}: ${detail}`),
    ...(revoked.length === 0 ? [] : [`what follows   ${consequence}`]),
    ...unknown.map((one) => `not known      ${one}`),
  ];
}

function inBooks(config: string, subject: DenySubject, unknown: string[]): readonly CaEntry[] {
  return caDirectories(config).flatMap((directory) => asOwnerOf(directory, () => {
    try {
      const office = openOffice({ directory });
      try {
        return office.entries().filter((entry) => isOf(subject, entry));
      } finally {
        office.close();
      }
    } catch (error) {
      unknown.push(`the books of the CA in ${directory} cannot be read: ${(error as Error).message}`);
      return [];
    }
  }));
}

/** Where `wardgate ca` puts a CA by itself, and where the gateway takes CRLs from. */
function caDirectories(config: string): readonly string[] {
  const parsed = parseConfig(readFileSync(config, 'utf8'), config);
  if (parsed.kind === 'invalid') return [];
  const base = dirname(resolve(config));
  const { state, revocation } = parsed.config;
  return [...new Set([resolve(base, state, 'ca'), ...revocation.crl.files.map((file) => dirname(resolve(base, file)))])].filter((directory) => asOwnerOf(directory, () => isCaDirectory(directory)));
}

function isOf(subject: DenySubject, { sha256, spkiSha256, serial, der }: CaEntry): boolean {
  switch (subject.kind) {
    case 'fingerprint': return sha256 === subject.fingerprint;
    case 'key': return spkiSha256 === subject.key;
    case 'serial': return serial === subject.serial && parseCertificate(der).issuer.normalized === subject.issuer;
    // Whom they are of, roles say; and of a whole CA it would be all of its list.
    default: return false;
  }
}

function dersOf(text: string): readonly Uint8Array[] {
  return pemBlocks(text, 'CERTIFICATE').map(({ der }) => der);
}

async function inForce(config: string, chains: readonly (readonly Uint8Array[])[], unknown: string[]): Promise<readonly Revoked[]> {
  if (chains.length === 0 || !existsSync(config)) return [];
  let alone: Alone | undefined;
  try {
    const now = (): number => Date.now();
    const loaded = await loadSnapshot(config, { now: now() });
    if (loaded.kind === 'invalid') throw new Error(`the configuration is not valid: ${loaded.issues[0]?.message ?? ''}`);
    const { snapshot } = loaded;
    const listeners = snapshot.config.listeners.flatMap((listener) => (listener.protocol === 'redirect' ? [] : (snapshot.listeners[listener.name]?.realms ?? []).map(({ name: host }) => ({ listener, host }))));
    const found = new Map<string, Revoked>();
    alone = await openAlone(snapshot, { denyList: false, now });
    for (const chain of chains) {
      for (const { listener, host } of listeners) {
        const admission = await alone.admit(listener, chain, host);
        // Another trust's: nothing was asked about it there.
        if (admission.kind === 'anonymous' || admission.path === undefined) continue;
        for (const one of (admission.statements ?? []).filter((statement): statement is RevokedStatement => statement.kind === 'revoked')) {
          if (one.source !== 'denylist') found.set(one.detail, { source: one.source, reason: one.reason, detail: one.detail });
        }
        break;
      }
    }
    return [...found.values()];
  } catch (error) {
    unknown.push(`what CRLs and OCSP say could not be looked at: ${(error as Error).message}`);
    return [];
  } finally {
    await alone?.close();
  }
}
