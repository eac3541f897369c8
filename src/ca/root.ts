import { appendFileSync, chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatName } from '../pki/name.ts';
import { writeWhole } from '../store/whole-file.ts';
import { canonical, digestOf } from './canonical.ts';
import { issueCrl, type RevokedEntry } from './crl.ts';
import { readCsr } from './csr.ts';
import { certifyAuthority, createAuthority, loadIssued, randomSerial, type Authority } from './issue.ts';
import { encryptKey, readKeyFile, type ScryptCost } from './key-file.ts';
import { spkiOf, type KeyType, type SignatureHash } from './keys.ts';
import type { AlternativeNames } from './names.ts';
import type { By } from './office-types.ts';
import { OfficeError } from './office-error.ts';

const DAY_MS = 86_400_000;
const FIRST = '0'.repeat(64);

/** The root CA: a directory that lies in a safe, and signs issuing CAs and the list of those that were revoked. */
export interface RootCa {
  readonly directory: string;
  /** PEM */
  readonly certificate: string;
  /** Signs the request of an issuing CA; PEM. `validity` in ms. */
  signIssuing(csr: string, options: IssuingOptions, by: By): Promise<string>;
  /** A CRL of issuing CAs, DER; `revoke` adds one (serial number, hexadecimal). `validity` in ms, default 400 days: the root is seldom brought out. */
  crl(by: By & { readonly revoke?: string; readonly validity?: number }): Promise<Buffer>;
}

export interface IssuingOptions {
  /** ms; default five years. */
  readonly validity?: number;
  /** DNS domains and the like to which the issuing CA is bound. */
  readonly permitted?: AlternativeNames;
  readonly crlUrl?: string;
}

export interface RootOptions {
  readonly directory: string;
  readonly organization: string;
  readonly passphrase: string;
  readonly keyType: KeyType;
  readonly signatureHash?: SignatureHash;
  /** ms */
  readonly validity: number;
  readonly now: number;
  readonly keyCost?: ScryptCost;
}

/** Makes a root in a directory that is empty or not there. Throws `IssueRefused` for weak keys, old hashes and more than ten years, and an OfficeError. */
export async function makeRoot({ directory, organization, passphrase, keyType, signatureHash, validity, now, keyCost }: RootOptions, by: By): Promise<void> {
  refuseUsed(directory);
  const notBefore = now - 60_000;
  const root = await createAuthority({
    name: [['CN', `${organization} Root CA`], ['O', organization]], keyType, pathLen: 1, notBefore, notAfter: notBefore + validity, serial: randomSerial(), ...(signatureHash === undefined ? {} : { signatureHash }),
  });
  const key = await encryptKey(root.privateKey, passphrase, keyCost);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  writeWhole(join(directory, 'root.key'), key, 0o600);
  writeWhole(join(directory, 'root.pem'), root.certificate, 0o644);
  append(directory, { step: 'made', who: by.who, time: new Date(now).toISOString(), sha256: root.sha256 });
}

/** Throws when there is something in a directory that is to be made. */
export function refuseUsed(directory: string): void {
  if (existsSync(directory) && readdirSync(directory).some((name) => name !== 'lost+found')) throw new OfficeError('invalid', `${directory}: is not empty; a CA is never made over something else`);
}

/** Opens a root. Throws an OfficeError. */
export function openRoot({ directory, passphrase, now = () => Date.now() }: { readonly directory: string; readonly passphrase: string; readonly now?: () => number }): RootCa {
  if (!existsSync(join(directory, 'root.key'))) throw new OfficeError('not_a_ca', `${directory}: there is no root CA here`);
  const certificate = readFileSync(join(directory, 'root.pem'), 'utf8');
  const authority: Authority = loadIssued(certificate, readKeyFile(join(directory, 'root.key'), passphrase));
  lines(directory);

  return {
    directory, certificate,
    async signIssuing(csr, { validity = 1826 * DAY_MS, permitted, crlUrl }, by) {
      const { publicKey, subject } = readCsr(csr);
      const at = now();
      const notBefore = at - 60_000;
      const notAfter = notBefore + validity;
      if (notAfter > authority.notAfter) throw new OfficeError('invalid', `the issuing CA would end after the root, at ${new Date(authority.notAfter).toISOString()}`);
      if (digestOf(spkiOf(publicKey)) === digestOf(authority.spki)) throw new OfficeError('key_reused', 'the request is for the key of the root itself');
      const serial = randomSerial();
      // On record before anything is signed with it.
      append(directory, { step: 'issuing', who: by.who, time: new Date(at).toISOString(), serial, subject: formatName(subject), key: digestOf(spkiOf(publicKey)) });
      const issued = await certifyAuthority(publicKey, {
        name: subject.rdns.toReversed().map((rdn) => rdn.map(({ type, value }) => [type, value] as const)), issuer: authority, pathLen: 0, serial, notBefore, notAfter,
        // What it may never do, whatever happens to it: code, mail, timestamps.
        eku: ['clientAuth', 'serverAuth', 'OCSPSigning'], ...(permitted === undefined ? {} : { nameConstraints: { permitted } }), ...(crlUrl === undefined ? {} : { crlDistributionPoints: [crlUrl] }),
      });
      append(directory, { step: 'issued', who: by.who, time: new Date(now()).toISOString(), serial, sha256: issued.sha256, not_after: new Date(notAfter).toISOString() });
      return issued.certificate;
    },
    async crl({ revoke, validity = 400 * DAY_MS, ...by }) {
      const known = lines(directory);
      const serial = revoke?.toLowerCase();
      if (serial !== undefined && !known.some((line) => line['step'] === 'issued' && line['serial'] === serial)) throw new OfficeError('unknown', `the root has issued no certificate ${serial}`);
      const at = now();
      if (serial !== undefined) append(directory, { step: 'revoked', who: by.who, time: new Date(at).toISOString(), serial });
      const number = known.filter(({ step }) => step === 'crl').length + 1;
      append(directory, { step: 'crl', who: by.who, time: new Date(at).toISOString(), number });
      const revoked: readonly RevokedEntry[] = lines(directory).flatMap((line) => (line['step'] === 'revoked' ? [{ serial: line['serial'] as string, date: Date.parse(line['time'] as string), reason: 'cACompromise' as const }] : []));
      const der = await issueCrl(authority, { revoked, number, thisUpdate: at - 60_000, nextUpdate: at + validity });
      writeWhole(join(directory, 'root.crl'), der, 0o644);
      return der;
    },
  };
}

type Line = Readonly<Record<string, string | number>>;

function append(directory: string, line: Line): void {
  const file = join(directory, 'root.log');
  const before = lines(directory).at(-1);
  const text = canonical({ ...line, previous: before === undefined ? FIRST : digestOf(canonical(before)) });
  appendFileSync(file, `${text}\n`, { mode: 0o600, flush: true });
}

/** What the root has done, each line with the hash of the one before. Throws an OfficeError when one was changed or taken out. */
function lines(directory: string): readonly Line[] {
  const file = join(directory, 'root.log');
  const all = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter((line) => line !== '') : [];
  let previous = FIRST;
  return all.map((text, index) => {
    const line = JSON.parse(text) as Line;
    if (line['previous'] !== previous) throw new OfficeError('tampered', `${file}:${index + 1}: does not follow the line before it`);
    previous = digestOf(text);
    return line;
  });
}
