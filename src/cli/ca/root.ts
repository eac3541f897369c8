import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { writeWhole } from '../../store/whole-file.ts';
import { openRoot, type RootCa } from '../../ca/root.ts';
import { openCa, passphraseOf, withRecord, type CaOptions, type Print } from './place.ts';
import { writeCrl } from './steps.ts';
import { WrongUsage } from '../usage.ts';

const DAY_MS = 86_400_000;

export interface RootOptions extends Pick<CaOptions, 'json' | 'passphraseFile' | 'passphraseCommand' | 'who' | 'dryRun'> {
  readonly root: string;
}

async function openGivenRoot(options: RootOptions): Promise<RootCa> {
  const passphrase = await passphraseOf(options, 'passphrase of the root');
  if (passphrase === undefined) throw new WrongUsage('the passphrase of the root? --passphrase-file or --passphrase-command');
  return openRoot({ directory: resolve(options.root), passphrase });
}

/** `wardgate ca renew-issuing`, at the CA: a new key, and the request for the root. */
export async function renewIssuingCommand(options: CaOptions & { readonly out: string; readonly why?: string }, print: Print): Promise<number> {
  if (existsSync(options.out)) throw new Error(`${options.out}: is there already; nothing is written over`);
  const office = await openCa(options, { key: true });
  try {
    const next = office.issuers().filter(({ state }) => state !== 'requested').length + 1;
    if (options.dryRun === true) {
      print(options.json === true ? JSON.stringify({ dry_run: true, generation: next }) : `would make the key of issuing CA ${next} and write its request to ${options.out}; nothing was changed`);
      return 0;
    }
    const csr = await withRecord(options, office, () => office.requestIssuer({ who: options.who, ...(options.why === undefined ? {} : { why: options.why }) }));
    writeWhole(options.out, csr, 0o644);
    print(options.json === true ? JSON.stringify({ request: options.out, generation: next }) : `${options.out}: request of issuing CA ${next}; take it to the root: wardgate ca sign-issuing --root DIR --csr ${options.out} --out issuing-${next}.pem`);
    return 0;
  } finally {
    office.close();
  }
}

/** `wardgate ca sign-issuing`, where the root is. */
export async function signIssuingCommand(options: RootOptions & { readonly csr: string; readonly out: string; readonly days?: string; readonly permitDns?: readonly string[]; readonly crlUrl?: string }, print: Print): Promise<number> {
  if (existsSync(options.out)) throw new Error(`${options.out}: is there already; nothing is written over`);
  const root = await openGivenRoot(options);
  const csr = readFileSync(options.csr, 'utf8');
  if (options.dryRun === true) {
    print(options.json === true ? JSON.stringify({ dry_run: true }) : `would sign ${options.csr}; nothing was changed`);
    return 0;
  }
  const certificate = await root.signIssuing(csr, {
    ...(options.days === undefined ? {} : { validity: Number(options.days) * DAY_MS }), ...(options.permitDns === undefined ? {} : { permitted: { dns: options.permitDns } }), ...(options.crlUrl === undefined ? {} : { crlUrl: options.crlUrl }),
  }, { who: options.who });
  writeWhole(options.out, certificate, 0o644);
  print(options.json === true ? JSON.stringify({ certificate: options.out }) : `${options.out}: take it back to the CA: wardgate ca install-issuing ${options.out}`);
  return 0;
}

/** `wardgate ca install-issuing`, at the CA: from then on the new one issues. */
export async function installIssuingCommand(file: string, options: CaOptions & { readonly why?: string }, print: Print): Promise<number> {
  const office = await openCa(options, { key: true });
  try {
    const certificate = readFileSync(file, 'utf8');
    const by = { who: options.who, ...(options.why === undefined ? {} : { why: options.why }) };
    if (options.dryRun === true) {
      const { generation } = office.rehearse(() => office.installIssuer(certificate, by));
      print(options.json === true ? JSON.stringify({ dry_run: true, generation }) : `would be issuing CA ${generation}; nothing was changed`);
      return 0;
    }
    const issuer = await withRecord(options, office, async () => {
      const installed = office.installIssuer(certificate, by);
      await writeCrl(office);
      return installed;
    });
    // The one before goes on to sign the CRL of what it has issued.
    const retired = office.issuers().filter(({ state }) => state === 'retired').map(({ generation }) => generation);
    for (const generation of retired) await writeCrl(office, generation);
    print(options.json === true ? JSON.stringify({ generation: issuer.generation, retired }) : [`issuing CA ${issuer.generation} issues from now on`, ...retired.map((generation) => `issuing CA ${generation} signs the CRL of what it has issued: issuing-${generation}.crl`), 'add issuing.pem to client_auth.intermediates, issuing.crl to revocation.crl.files'].join('\n'));
    return 0;
  } finally {
    office.close();
  }
}

/** `wardgate ca root-crl`, where the root is. */
export async function rootCrlCommand(options: RootOptions & { readonly revoke?: string; readonly out?: string }, print: Print): Promise<number> {
  const root = await openGivenRoot(options);
  if (options.dryRun === true) {
    print(`would sign the next CRL of the root${options.revoke === undefined ? '' : `, with ${options.revoke} on it`}; nothing was changed`);
    return 0;
  }
  const der = await root.crl({ who: options.who, ...(options.revoke === undefined ? {} : { revoke: options.revoke }) });
  const out = options.out ?? resolve(options.root, 'root.crl');
  writeWhole(out, der, 0o644);
  print(options.json === true ? JSON.stringify({ file: out }) : `${out}: take it to the CA directory, beside issuing.crl`);
  return 0;
}
