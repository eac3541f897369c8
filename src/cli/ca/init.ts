import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { foundCa, type FirstCertificate, type FirstIssued } from '../../ca/found.ts';
import { writeWhole } from '../../store/whole-file.ts';
import type { KeyType, SignatureHash } from '../../ca/keys.ts';
import { IssueRefused } from '../../ca/limits.ts';
import { WrongUsage } from '../usage.ts';
import { caDirectory, passphraseFromFile, passphraseOf, type CaOptions, type Print } from './place.ts';

const DAY_MS = 86_400_000;
const KEYS: readonly KeyType[] = ['ec', 'ec384', 'rsa', 'rsa1024', 'rsa3072', 'rsa4096'];
const HASHES: readonly SignatureHash[] = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'];

export interface InitOptions extends CaOptions {
  readonly name: string;
  readonly rootOut?: string;
  readonly rootPassphraseFile?: string;
  readonly out?: string;
  readonly server?: readonly string[];
  readonly client?: readonly string[];
  readonly approver?: readonly string[];
  readonly domain?: string;
  readonly key?: string;
  readonly hash?: string;
  readonly days?: string;
  readonly permitDns?: readonly string[];
  readonly policy?: string;
  readonly witness?: string;
}

/** `wardgate ca init`: root, issuing CA, server, clients and approvers in one go; exit 1, and nothing is written, for what no CA should do. */
export async function initCommand(options: InitOptions, print: Print): Promise<number> {
  const directory = caDirectory(options);
  const rootDirectory = resolve(options.rootOut ?? `${directory}-root`);
  const out = resolve(options.out ?? join(directory, 'first'));
  const certificates = [...servers(options.server ?? []), ...(options.client ?? []).map((text) => clientOf('--client', text)), ...(options.approver ?? []).map((text) => clientOf('--approver', text))];
  const days = options.days === undefined ? undefined : wholeDays(options.days);
  const facts = {
    directory, rootDirectory, organization: options.name, domain: options.domain ?? domainOf(options.server ?? []), certificates, who: options.who,
    ...(options.witness === undefined ? {} : { witness: options.witness }), keyType: oneOf('--key', options.key ?? 'ec', KEYS), ...(options.hash === undefined ? {} : { signatureHash: oneOf('--hash', options.hash, HASHES) }),
    ...(days === undefined ? {} : { validity: { leaf: days * DAY_MS } }), ...(options.permitDns === undefined ? {} : { permitted: { dns: options.permitDns } }),
    ...(options.policy === undefined ? {} : { policy: readFileSync(options.policy, 'utf8') }),
  };
  try {
    await foundCa({ ...facts, passphrase: '', rootPassphrase: '', rehearsal: true });
    if (options.dryRun === true) {
      print(options.json === true ? JSON.stringify({ dry_run: true, directory, root: rootDirectory, certificates }) : `would make ${directory}, its root in ${rootDirectory}, and ${certificates.length} certificates in ${out}; nothing was written`);
      return 0;
    }
    const made: string[] = [];
    const passphrase = await passphraseFor(options, 'passphrase of the issuing CA', made);
    const rootPassphrase = await passphraseFor({ ...(options.rootPassphraseFile === undefined ? {} : { passphraseFile: options.rootPassphraseFile }) }, 'passphrase of the root', made);
    if (passphrase === rootPassphrase) throw new WrongUsage('root and issuing CA need two passphrases: who knows the one must not have the other');
    const first = await foundCa({ ...facts, passphrase, rootPassphrase });
    const files = write(out, first);
    print(options.json === true ? JSON.stringify({ directory, root: rootDirectory, passphrases: made, certificates: files }) : summary({ directory, rootDirectory, made, files }));
    return 0;
  } catch (error) {
    if (error instanceof IssueRefused) throw new Error(`no CA was made: ${error.message}`, { cause: error });
    throw error;
  }
}

interface Written {
  readonly profile: string;
  readonly name: string;
  readonly serial: string;
  readonly certificate: string;
  readonly key: string;
  readonly pkcs12: string;
  readonly passphrase: string;
}

function write(out: string, first: readonly FirstIssued[]): readonly Written[] {
  if (first.length > 0) mkdirSync(out, { recursive: true, mode: 0o700 });
  const taken = new Set<string>();
  return first.map(({ profile, entry, key, pkcs12, passphrase }) => {
    // Letters of any script stay: two people by whose names alone a file is told apart must not both be "doctor--". Forty of them are 160 octets at most.
    const plain = `${profile}-${[...entry.name.normalize('NFC').toLowerCase().replace(/[^\p{L}\p{M}\p{N}.]+/gu, '-')].slice(0, 40).join('')}`;
    const base = join(out, taken.has(plain) ? `${plain}-${entry.serial.slice(0, 8)}` : plain);
    taken.add(plain);
    writeWhole(`${base}.pem`, entry.chain, 0o644);
    writeWhole(`${base}.key`, key, 0o600);
    writeWhole(`${base}.p12`, pkcs12, 0o600);
    return { profile, name: entry.name, serial: entry.serial, certificate: `${base}.pem`, key: `${base}.key`, pkcs12: `${base}.p12`, passphrase };
  });
}

function summary({ directory, rootDirectory, made, files }: { readonly directory: string; readonly rootDirectory: string; readonly made: readonly string[]; readonly files: readonly Written[] }): string {
  const server = files.find(({ profile }) => profile === 'server');
  return [
    `CA            ${directory}`,
    `root          ${rootDirectory}: take it offline now; it is needed to renew the issuing CA (wardgate ca sign-issuing) and once a year for its CRL (wardgate ca root-crl)`,
    ...made.map((file) => `passphrase    ${file} was made: move it to where only those who need it have it`),
    ...files.map(({ profile, name, certificate, pkcs12, passphrase }) => `${profile.padEnd(13)} ${name}: ${certificate}, .key, and ${pkcs12} (passphrase ${passphrase})`),
    ...(files.length === 0 ? [] : ['the .key files are not encrypted: those that the .p12 files were handed over for are to be deleted']),
    '', 'In wardgate.yaml:', '',
    ...(server === undefined ? [] : ['# of a listener', 'tls:', '  certificates:', `    - { certificate: ${server.certificate}, key: ${server.key} }`]),
    'client_auth:', '  mode: required', `  trust: [${join(directory, 'root.pem')}]`, `  intermediates: [${join(directory, 'issuing.pem')}]`,
    '# and beside the listeners', 'revocation:', '  check: chain', '  sources: [crl]', `  crl: { files: [${join(directory, 'issuing.crl')}, ${join(directory, 'root.crl')}] }`,
  ].join('\n');
}

/** From a file, which is made with a random one when it is not there; from a command; or asked for, twice. */
async function passphraseFor(options: Pick<CaOptions, 'passphraseFile' | 'passphraseCommand'>, what: string, made: string[]): Promise<string> {
  const file = options.passphraseFile;
  if (file !== undefined && existsSync(file)) return passphraseFromFile(file);
  if (file !== undefined) {
    if (!existsSync(dirname(file))) throw new Error(`${file} cannot be made: there is no directory ${dirname(file)}`);
    const passphrase = randomBytes(24).toString('base64url');
    writeWhole(file, `${passphrase}\n`, 0o600);
    made.push(file);
    return passphrase;
  }
  const given = await passphraseOf(options, what);
  if (given === undefined) throw new WrongUsage(`the ${what}? --passphrase-file and --root-passphrase-file name files, which are made if they are not there`);
  if (options.passphraseCommand === undefined && await passphraseOf(options, `${what}, again`) !== given) throw new WrongUsage('the two are not the same');
  return given;
}

function servers(names: readonly string[]): readonly FirstCertificate[] {
  return names.map((text) => {
    const [name = '', ...more] = text.split(',');
    const addresses = more.filter((one) => /^[0-9a-f:.]*[:.][0-9a-f:.]*$/i.test(one) && /\d/.test(one) && !/[g-z]/i.test(one));
    const hosts = more.filter((one) => !addresses.includes(one));
    return { profile: 'server', name, names: { ...(hosts.length === 0 ? {} : { dns: hosts }), ...(addresses.length === 0 ? {} : { ip: addresses }) } };
  });
}

/** `PROFILE:NAME` or `PROFILE:NAME:ID`; the id may hold further colons. */
function clientOf(option: string, text: string): FirstCertificate {
  const [, profile, name, id] = /^([^:]+):([^:]+)(?::(.+))?$/.exec(text) ?? [];
  if (profile === undefined || name === undefined) throw new WrongUsage(`${option}: ${JSON.stringify(text)}; expected PROFILE:NAME or PROFILE:NAME:ID, such as 'doctor:Dr Wang' or patient:1001:1001`);
  return { profile, name, ...(id === undefined ? {} : { id }) };
}

function domainOf(names: readonly string[]): string {
  const [first = ''] = (names[0] ?? '').split(',');
  const domain = first.split('.').slice(1).join('.');
  return domain === '' ? 'hospital.test' : domain;
}

function wholeDays(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new WrongUsage(`--days: ${JSON.stringify(text)}; expected a number of days`);
  return Number(text);
}

function oneOf<Value extends string>(option: string, text: string, values: readonly Value[]): Value {
  const found = values.find((one) => one === text);
  if (found === undefined) throw new WrongUsage(`${option}: ${JSON.stringify(text)}; expected one of ${values.join(', ')}`);
  return found;
}
