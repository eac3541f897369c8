import { createPublicKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf } from './canonical.ts';
import { requestOfCode } from './code.ts';
import { approve, approveAtCeremony, refuse, renew, requestOf, submit } from './desk.ts';
import { enrol } from './enrol.ts';
import { faults } from './faults.ts';
import { currentGeneration, record, requestRow, type Ground } from './ground.ts';
import { authorityOf, crl, installIssuer, issuers, keyFileOf, lastCrl, requestIssuer, sealingKeys } from './issuers.ts';
import { issue, issueResponder } from './issuing.ts';
import { readKeyFile, type ScryptCost } from './key-file.ts';
import { openLedger } from './ledger.ts';
import type { By, CaRequest, Office } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import { parsePolicy } from './policy.ts';
import { acceptPolicy, isPolicyAccepted } from './proof.ts';
import { createTakenBack } from './taken-back.ts';
import { confirm, deliver, destroy, duplicates, entries, entry, expireAll, renewals, requests, revoke, status, statuses } from './shelf.ts';

export type { AskedKey, AskedNames, Applicant, By, CaEntry, CaRequest, Enrolment, IssuedCrl, Issuer, IssueResult, Office, Renewal, RequestBody, RequestOrder, StatusAnswer } from './office-types.ts';
export type { CaEvent, EventStep } from './ledger.ts';
export type { SignedApproval } from './approval.ts';
export type { State, Step } from './life.ts';
export { signApproval } from './approval.ts';
export { REASONS, reasonFault } from './shelf.ts';
export { OfficeError, type OfficeCode } from './office-error.ts';

export interface OfficeOptions {
  readonly directory: string;
  /** Of the issuing key. Without it everything can be done that needs no signature of the CA: requests, approvals, deliveries, revocations. */
  readonly passphrase?: string;
  /** ms since the epoch; default the clock. */
  readonly now?: () => number;
  /** For tests: how dear new keys are to guess at. */
  readonly keyCost?: ScryptCost;
}

/** An office while its CA is being made: until `found` somebody approves by being there. */
export interface Ceremony extends Office {
  approveHere(id: string, by: By): CaRequest;
  /** Ends it, for good. */
  found(by: By & { readonly witness?: string }): void;
}

/** Opens a CA directory. Throws an OfficeError: there is none, others can read it, the passphrase is wrong. */
export function openOffice(options: OfficeOptions): Office {
  const { approveHere: _approve, found: _found, ...office } = openCeremony(options);
  return office;
}

/** Whether a directory holds a CA. */
export function isCaDirectory(directory: string): boolean {
  return existsSync(join(directory, 'ca.db'));
}

export function openCeremony({ directory, passphrase, now = () => Date.now(), keyCost }: OfficeOptions): Ceremony {
  if (!isCaDirectory(directory)) throw new OfficeError('not_a_ca', `${directory}: there is no CA here; wardgate ca init makes one`);
  if ((statSync(directory).mode & 0o077) !== 0) throw new OfficeError('open_to_others', `${directory}: is open to others; chmod 700`);
  const policyFile = join(directory, 'policy.yaml');
  const policyText = readFileSync(policyFile, 'utf8');
  const policy = parsePolicy(policyText, policyFile);
  const root = readFileSync(join(directory, 'root.pem'), 'utf8');
  const ledger = openLedger(join(directory, 'ca.db'));
  const keys = new Map<number, KeyObject>();

  const ground: Ground = {
    directory, ledger, takenBack: createTakenBack(ledger.database), policy, policyDigest: digestOf(policyText), now, root,
    key(generation) {
      if (passphrase === undefined) throw new OfficeError('locked', 'this needs the key of the issuing CA: give its passphrase');
      let key = keys.get(generation);
      if (key === undefined) {
        key = readKeyFile(keyFileOf(directory, generation), passphrase);
        keys.set(generation, key);
      }
      return key;
    },
    sealer() {
      const current = passphrase === undefined ? undefined : issuers(ground).find(({ state }) => state === 'current')?.generation;
      return current === undefined ? undefined : { generation: current, key: ground.key(current) };
    },
  };
  try {
    // At once, not at the first signature.
    ground.sealer();
  } catch (error) {
    ledger.close();
    throw error;
  }
  const generationOf = (generation: number | undefined): number => generation ?? currentGeneration(ground);

  return {
    directory, policy, root,
    submit: (order) => submit(ground, order),
    approve: (id, approval, login) => approve(ground, id, approval, login),
    approveHere: (id, by) => approveAtCeremony(ground, id, by),
    found: ({ witness, ...by }) => void ledger.change(() => record(ground, 'init', { ...by, detail: { root: digestOf(new X509Certificate(root).raw), witness: witness ?? 'nobody', policy: ground.policyDigest } })),
    refuse: (id, by) => refuse(ground, id, by),
    issue: (id, by) => issue(ground, id, by),
    isCode: (name, code) => requestOfCode(ground, name, code) !== undefined,
    enrol: (enrolment, by) => enrol(ground, enrolment, by),
    deliver: (id, by) => deliver(ground, id, by),
    confirm: (id, by) => confirm(ground, id, by),
    renew: (id, renewal) => renew(ground, id, renewal),
    revoke: (id, by) => revoke(ground, id, by),
    destroy: (id, by) => destroy(ground, id, by),
    expire: () => ledger.change(() => expireAll(ground)).map((serial) => entry(ground, serial)),
    entries: () => entries(ground),
    statuses: () => statuses(ground),
    entry: (id) => entry(ground, id),
    requests: () => requests(ground),
    renewals: (serial) => renewals(ground, serial),
    request: (id) => requestOf(ground, requestRow(ground, id)),
    events: (request) => ledger.events(request),
    revision: () => ledger.revision(),
    duplicates: () => duplicates(ground),
    status: (serial, generation) => status(ground, serial, generationOf(generation)),
    issuer: (generation) => authorityOf(ground, generationOf(generation)),
    issuers: () => issuers(ground),
    crl: (generation) => crl(ground, generationOf(generation)),
    lastCrl: (generation) => lastCrl(ground, generationOf(generation)),
    requestIssuer(by) {
      if (passphrase === undefined) throw new OfficeError('locked', 'this needs the passphrase, which the new key gets as well');
      return requestIssuer(ground, { subject: nextSubject(ground), keyType: keyTypeOf(ground), passphrase, ...(keyCost === undefined ? {} : { cost: keyCost }) }, by);
    },
    installIssuer: (certificate, by) => installIssuer(ground, certificate, by),
    issueResponder: (wanted, by) => issueResponder(ground, wanted, by),
    isPolicyAccepted: () => isPolicyAccepted(ground),
    acceptPolicy: (by) => acceptPolicy(ground, by),
    rehearse: (act) => ledger.rehearse(act),
    logFault: () => ledger.fault(sealingKeys(ground)),
    faults: () => faults(ground),
    close: () => ledger.close(),
  };
}

/** Each issuing CA has a name of its own, by its number: CRLs and caches go by names. */
function nextSubject(ground: Ground): readonly (readonly [string, string])[] {
  const known = issuers(ground);
  const newest = known.findLast(({ certificate }) => certificate !== undefined)?.certificate;
  const text = new X509Certificate(newest ?? ground.root).subject;
  const of = (type: string): string | undefined => new RegExp(`^${type}=(.+)$`, 'm').exec(text)?.[1];
  const organization = of('O') ?? 'CA';
  const generation = Math.max(0, ...known.filter(({ state }) => state !== 'requested').map((one) => one.generation)) + 1;
  return [['CN', `${organization} Issuing CA ${generation}`], ['O', organization]];
}

function keyTypeOf(ground: Ground): 'ec' | 'ec384' | 'rsa3072' {
  const newest = issuers(ground).findLast(({ certificate }) => certificate !== undefined)?.certificate ?? ground.root;
  const key = createPublicKey(newest);
  if (key.asymmetricKeyType === 'rsa') return 'rsa3072';
  return key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'ec384' : 'ec';
}
