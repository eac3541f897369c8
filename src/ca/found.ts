import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../store/whole-file.ts';
import { bodyOf } from './asked.ts';
import { makeCsr } from './csr.ts';
import { toPkcs12 } from './issue.ts';
import type { ScryptCost } from './key-file.ts';
import { generateKey, keyIdentifierOf, spkiOf, type KeyType, type SignatureHash } from './keys.ts';
import { longestValidity, refuseBeyondLimits } from './limits.ts';
import { openLedger } from './ledger.ts';
import type { AlternativeNames } from './names.ts';
import { openCeremony, type AskedNames, type CaEntry, type Ceremony } from './office.ts';
import { newPassphrase } from './passphrase.ts';
import { initialPolicy, parsePolicy, profileOf, type CaPolicy } from './policy.ts';
import { makeRoot, openRoot, refuseUsed } from './root.ts';

const DAY_MS = 86_400_000;

/** A certificate that is made together with the CA. */
export interface FirstCertificate {
  readonly profile: string;
  readonly name: string;
  readonly id?: string;
  readonly names?: AskedNames;
}

export interface FoundOptions {
  /** Of the CA; empty or not there. */
  readonly directory: string;
  /** Of the root, which goes into a safe afterwards; empty or not there, and another one. */
  readonly rootDirectory: string;
  readonly organization: string;
  /** Of the names of servers; default the first server's, without its first label. */
  readonly domain: string;
  readonly passphrase: string;
  readonly rootPassphrase: string;
  readonly certificates: readonly FirstCertificate[];
  readonly who: string;
  /** Who was there as well. */
  readonly witness?: string;
  /** Default `ec` (P-256), of all keys. */
  readonly keyType?: KeyType;
  /** Default as the key asks for it; of the root. */
  readonly signatureHash?: SignatureHash;
  /** ms; of root, issuing CA and leaves. Default ten years, five years, and what the profile says. */
  readonly validity?: { readonly root?: number; readonly issuing?: number; readonly leaf?: number };
  /** Names to which the issuing CA is bound for ever. */
  readonly permitted?: AlternativeNames;
  /** A policy instead of the one that is written for a small hospital. */
  readonly policy?: string;
  /** Every check, and nothing is made. */
  readonly rehearsal?: true;
  readonly now?: () => number;
  /** For tests. */
  readonly keyCost?: ScryptCost;
}

/** A first certificate with its key, which is nowhere else, and as PKCS#12 under a passphrase that is shown once. */
export interface FirstIssued {
  readonly profile: string;
  readonly entry: CaEntry;
  /** PEM */
  readonly key: string;
  readonly pkcs12: Buffer;
  readonly passphrase: string;
}

/**
 * Makes a whole CA: root, issuing CA, database, policy, first CRLs, first certificates. Whoever does so approves these; from then on nothing
 * is issued without approvers. Throws before anything is written for what no CA may do: `IssueRefused` for weak keys, old hashes and too long
 * validities, else an OfficeError.
 */
export async function foundCa(options: FoundOptions): Promise<readonly FirstIssued[]> {
  const { directory, rootDirectory, organization, domain, keyType = 'ec', signatureHash, validity = {}, who, now = () => Date.now() } = options;
  const text = options.policy ?? initialPolicy({ organization, domain });
  const policy = parsePolicy(text, join(directory, 'policy.yaml'));
  const cost = options.keyCost === undefined ? {} : { keyCost: options.keyCost };
  await refuseAll(options, policy);
  if (options.rehearsal === true) return [];

  await makeRoot({
    directory: rootDirectory, organization, passphrase: options.rootPassphrase, keyType, validity: validity.root ?? longestValidity.authority, now: now(), ...cost, ...(signatureHash === undefined ? {} : { signatureHash }),
  }, { who });
  const root = openRoot({ directory: rootDirectory, passphrase: options.rootPassphrase, now });
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  writeWhole(join(directory, 'policy.yaml'), text, 0o600);
  writeWhole(join(directory, 'root.pem'), root.certificate, 0o644);
  openLedger(join(directory, 'ca.db'), { create: true }).close();
  const office = openCeremony({ directory, passphrase: options.passphrase, now, ...cost });
  try {
    const csr = await office.requestIssuer({ who });
    const crlUrl = policy.publish.root_crl;
    const signed = await root.signIssuing(csr, {
      ...(validity.issuing === undefined ? {} : { validity: validity.issuing }), ...(options.permitted === undefined ? {} : { permitted: options.permitted }), ...(crlUrl === undefined ? {} : { crlUrl }),
    }, { who });
    office.installIssuer(signed, { who });
    writeWhole(join(directory, 'root.crl'), await root.crl({ who }), 0o644);
    const first: FirstIssued[] = [];
    for (const wanted of options.certificates) first.push(await makeFirst(office, wanted, options, keyType));
    office.found({ who, ...(options.witness === undefined ? {} : { witness: options.witness }) });
    writeWhole(join(directory, 'issuing.crl'), (await office.crl()).der, 0o644);
    return first;
  } finally {
    office.close();
  }
}

async function refuseAll({ directory, rootDirectory, certificates, who, keyType = 'ec', signatureHash, validity = {}, now = () => Date.now() }: FoundOptions, policy: CaPolicy): Promise<void> {
  refuseUsed(directory);
  refuseUsed(rootDirectory);
  const at = now();
  const { publicKey: key } = await generateKey(keyType);
  const judge = (use: 'authority' | 'leaf', lasts: number): void => refuseBeyondLimits({ use, key, hash: signatureHash, notBefore: at, notAfter: at + lasts });
  judge('authority', validity.root ?? longestValidity.authority);
  judge('authority', validity.issuing ?? 1826 * DAY_MS);
  judge('leaf', validity.leaf ?? 365 * DAY_MS);
  for (const wanted of certificates) bodyOf(policy, { ...orderOf(policy, wanted, who, validity.leaf), key: { kind: 'made' } }, { id: 'first', now: at });
}

function orderOf(policy: CaPolicy, { profile, name, id, names }: FirstCertificate, who: string, validity: number | undefined) {
  const needsId = Object.values(profileOf(policy, profile).san).some((template) => template.includes('{id}'));
  return {
    profile, name, ...(id !== undefined ? { id } : needsId ? { id: name } : {}), ...(names === undefined ? {} : { names }), applicant: { name: who }, purpose: 'made with the CA', system: policy.systems[0] ?? 'Wardgate',
    ...(validity === undefined ? {} : { validity }),
  };
}

async function makeFirst(office: Ceremony, wanted: FirstCertificate, { who, validity }: FoundOptions, keyType: KeyType): Promise<FirstIssued> {
  const { privateKey } = await generateKey(keyType);
  const request = office.submit({ ...orderOf(office.policy, wanted, who, validity?.leaf), key: { kind: 'csr', csr: await makeCsr(privateKey, [['CN', wanted.name]]) } });
  office.approveHere(request.id, { who, why: 'made with the CA' });
  const { entry } = await office.issue(request.id, { who });
  office.deliver(request.id, { who, to: wanted.name, how: 'written beside the CA, to be handed over' });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const issuer = office.issuer();
  const passphrase = newPassphrase();
  const issued = { der: entry.der, privateKey, keyIdentifier: keyIdentifierOf(spkiOf(privateKey)) };
  return { profile: wanted.profile, entry: office.entry(request.id), key, passphrase, pkcs12: await toPkcs12(issued, { password: passphrase, name: wanted.name, certificates: [issuer], iterations: 20_000 }) };
}
