import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Binding } from '../../ca/acme/client.ts';
import { AcmeError } from '../../ca/acme/wire.ts';
import { subjectAltName } from '../../ca/extensions.ts';
import { generateKey, type KeyType } from '../../ca/keys.ts';
import { encodeName } from '../../ca/names.ts';
import { createRequest } from '../../ca/request.ts';
import { parseAddress, type Address } from '../../config/addresses.ts';
import { parseDuration } from '../../config/values.ts';
import { lockState, StateError, type StateLock } from '../../store/state-lock.ts';
import { writeWhole } from '../../store/whole-file.ts';
import type { CommandGround } from '../ground.ts';
import { begin, begun, confirmed, forget, pairFiles, readPair, receive, replacePair, type PairFiles } from '../renew/pair-files.ts';
import { scheduleOf } from '../renew/window.ts';
import { WrongUsage } from '../usage.ts';
import { answerAt, answerIn } from './answers.ts';
import { judgeChain } from './judge.ts';

/** The options of `wardgate acme`. */
export interface AcmeOptions {
  readonly directory: string;
  readonly name: readonly string[];
  readonly certificate: string;
  readonly key: string;
  readonly account: string;
  readonly email?: string;
  readonly agreeTerms?: boolean;
  readonly trust?: string;
  readonly http: string;
  readonly webroot?: string;
  readonly before?: string;
  readonly keyType: string;
  readonly eabKid?: string;
  readonly eabKeyFile?: string;
  readonly now?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

interface Task {
  readonly options: AcmeOptions;
  readonly files: PairFiles;
  readonly names: readonly string[];
  readonly keyType: KeyType;
  readonly http: Address;
  readonly before?: number;
  readonly binding?: Binding;
  readonly trust?: string;
}

const DEADLINE = 5 * 60_000;
const KEY_TYPES: readonly KeyType[] = ['ec', 'ec384', 'rsa3072', 'rsa4096'];
const LABEL = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/;

export function addAcmeCommand(program: Command, { jsonOption, print, settle }: CommandGround): void {
  program.command('acme').description("obtain or renew a server certificate of the gateway's from an ACME CA (RFC 8555), when it is due: new key, both files replaced in one step")
    .requiredOption('--directory <url>', "the CA's directory")
    .requiredOption('--name <name>', 'a DNS name that the certificate is for; may be repeated', (name: string, names: readonly string[] = []) => [...names, name])
    .requiredOption('--certificate <file>', 'the certificate with its chain, PEM; made when it is not there')
    .requiredOption('--key <file>', 'its private key, PEM; a new one each time')
    .requiredOption('--account <file>', "the account's private key, PEM (P-256); made when it is not there")
    .option('--email <address>', 'where the CA may write to, for a new account')
    .option('--agree-terms', "somebody has read the CA's terms of service and accepts them, for a new account")
    .option('--eab-kid <id>', 'external account binding, for a new account: the key identifier that the CA has given')
    .option('--eab-key-file <file>', 'the MAC key that belongs to it, in base64url')
    .option('--trust <file>', "the CAs of the ACME server's own certificate, PEM (default: the public ones)")
    .option('--http <host:port>', "where to answer the CA's challenges (http-01); the CA asks on port 80", '[::]:80')
    .option('--webroot <dir>', 'write the answers under this directory instead, for a server that has port 80')
    .option('--key-type <type>', KEY_TYPES.join(', '), 'ec')
    .option('--before <duration>', 'how long before its end the certificate is due, such as 30d (default: a third of its lifetime)')
    .option('--now', 'whether due or not')
    .option('--dry-run', 'say what is due and when, and do nothing')
    .option(...jsonOption)
    .addHelpText('after', '\nExamples:\n  wardgate acme --directory https://ca.hospital.test/acme/directory --trust hospital-root.pem --name api.hospital.test --certificate server.pem --key server.key --account acme-account.pem --agree-terms --webroot /var/lib/wardgate/acme\n  wardgate acme … --eab-kid K17 --eab-key-file eab.key --email pki@hospital.test\n  wardgate acme … --dry-run'
      + '\n\nExit status 0: obtained, or nothing to do; 1: failed, and the old pair stays; 2: wrong usage.')
    .action(settle(async (options: AcmeOptions) => {
      const stop = new AbortController();
      const onSignal = (): void => stop.abort();
      process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
      try {
        return await acmeCommand(options, print, Date.now(), stop.signal);
      } finally {
        process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
      }
    }));
}

/** `wardgate acme`; resolves with the exit code. Throws WrongUsage, and errors about files. */
async function acmeCommand(options: AcmeOptions, print: (text: string) => void, now: number, signal: AbortSignal): Promise<0 | 1> {
  const task = taskOf(options);
  const say = (facts: Readonly<Record<string, string>>, text: string): void => print(options.json === true ? JSON.stringify(facts) : text);
  if (options.dryRun === true) {
    const { due, why } = standing(task, now);
    say({ result: due <= now ? 'due' : 'not-due', due: iso(due), why }, `${task.names[0]}: ${due <= now ? 'due' : `not due before ${iso(due)}`}: ${why}`);
    return 0;
  }
  const lock = lockOf(task);
  try {
    finish(task, now);
    const { due, why } = standing(task, now);
    if (due > now && options.now !== true) {
      say({ result: 'not-due', due: iso(due), why }, `${task.names[0]}: not due before ${iso(due)}: ${why}`);
      return 0;
    }
    const leaf = await obtain(task, now, AbortSignal.any([signal, AbortSignal.timeout(DEADLINE)]));
    const until = new Date(leaf.validTo).toISOString();
    say({ result: 'obtained', serial: leaf.serialNumber.toLowerCase(), not_after: until }, `${task.names[0]}: obtained ${leaf.serialNumber.toLowerCase()}, until ${until}`);
    return 0;
  } catch (error) {
    if (!(error instanceof AcmeError)) throw error;
    const kept = existsSync(task.files.certificate) ? '; the old pair stays' : '';
    if (options.json === true) print(JSON.stringify({ result: 'failed', detail: error.message, ...(error.problem === undefined ? {} : { problem: error.problem }) }));
    else process.stderr.write(`wardgate: not obtained: ${error.message}${kept}\n`);
    return 1;
  } finally {
    lock.release();
  }
}

function taskOf(options: AcmeOptions): Task {
  const names = [...new Set(options.name.map((name) => name.toLowerCase()))];
  for (const name of names) {
    if (name.startsWith('*.')) throw new WrongUsage(`--name: "${name}": wildcards are proved by dns-01 alone, which is not here`);
    if (name.length > 253 || !name.split('.').every((label) => LABEL.test(label)) || /^[\d.]+$/.test(name)) throw new WrongUsage(`--name: "${name}" is no DNS name; expected such as api.hospital.test, other alphabets as xn--…`);
  }
  if (!URL.canParse(options.directory) || new URL(options.directory).protocol !== 'https:') throw new WrongUsage(`--directory: "${options.directory}" is no https URL`);
  const keyType = KEY_TYPES.find((type) => type === options.keyType);
  if (keyType === undefined) throw new WrongUsage(`--key-type: "${options.keyType}" is none of ${KEY_TYPES.join(', ')}`);
  const http = parseAddress(options.http);
  if (http === undefined) throw new WrongUsage(`--http: "${options.http}" is no address; expected such as 0.0.0.0:80 or [::]:80`);
  const before = options.before === undefined ? undefined : parseDuration(options.before);
  if (options.before !== undefined && !before) throw new WrongUsage(`--before: "${options.before}" is no duration; expected such as 30d or 12h`);
  if (new Set([options.certificate, options.key, options.account].map((file) => resolve(file))).size < 3) throw new WrongUsage('--certificate, --key and --account name one file; expected three');
  if ((options.eabKid === undefined) !== (options.eabKeyFile === undefined)) throw new WrongUsage('--eab-kid and --eab-key-file belong together');
  return {
    options, names, keyType, http, files: pairFiles(options.certificate, options.key), ...(before === undefined ? {} : { before }),
    ...(options.eabKid === undefined || options.eabKeyFile === undefined ? {} : { binding: { kid: options.eabKid, key: macKey(options.eabKeyFile) } }),
    ...(options.trust === undefined ? {} : { trust: readFileSync(options.trust, 'utf8') }),
  };
}

function macKey(file: string): Buffer {
  const text = readFileSync(file, 'utf8').trim();
  if (!/^[\w-]{16,}=*$/.test(text)) throw new WrongUsage(`--eab-key-file: ${file}: expected the MAC key in base64url`);
  return Buffer.from(text, 'base64url');
}

function lockOf({ files }: Task): StateLock {
  // As wardgate renew has it: programs of other users read through the directory.
  mkdirSync(files.directory, { recursive: true, mode: 0o755 });
  try {
    return lockState(files.directory);
  } catch (error) {
    if (error instanceof StateError && error.code === 'state_in_use') throw new Error(`${files.key}: another wardgate acme is at work on it`, { cause: error });
    throw error;
  }
}

/** From when on a certificate is to be had, ms since the epoch, and why. Throws when what is there is no pair: somebody is to look at that. */
function standing({ files, names, before }: Task, now: number): { readonly due: number; readonly why: string } {
  if (!existsSync(files.certificate)) return { due: now, why: 'there is no certificate yet' };
  const leaf = new X509Certificate(readPair(files).certificate);
  const missing = names.find((name) => !holds(leaf, name));
  if (missing !== undefined) return { due: now, why: `the certificate is not for ${missing}` };
  return { due: scheduleOf({ notBefore: Date.parse(leaf.validFrom), notAfter: Date.parse(leaf.validTo) }, before).due, why: `the certificate ends ${new Date(leaf.validTo).toISOString()}` };
}

function holds(leaf: X509Certificate, name: string): boolean {
  return leaf.checkHost(name, { subject: 'never', wildcards: false }) !== undefined;
}

/** A run that was ended behind the CA's answer has left a good pair. */
function finish({ files, names }: Task, now: number): void {
  const open = begun(files);
  if (open === undefined || !existsSync(files.certificate)) return;
  if (open.certificate === undefined || judgeChain(open.certificate, createPrivateKey(open.key), names, now).kind === 'bad') return forget(files);
  replacePair(files, open.name);
  confirmed(files);
}

async function obtain(task: Task, now: number, signal: AbortSignal): Promise<X509Certificate> {
  const { options, files, names, keyType, binding, trust } = task;
  const { openAccount } = await import('../../ca/acme/client.ts');
  const account = await openAccount(
    { directory: options.directory, ...(trust === undefined ? {} : { trust }) },
    { key: await accountKey(options.account), agreed: options.agreeTerms === true, ...(options.email === undefined ? {} : { email: options.email }), ...(binding === undefined ? {} : { binding }) },
    signal,
  );
  const { privateKey } = await generateKey(keyType);
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const request = await createRequest(privateKey, { subject: encodeName([]), extensions: [subjectAltName({ dns: names }, true)] });
  const first = !existsSync(files.certificate);
  const version = `renewed-${iso(now).replace(/[-:.]/g, '')}`;
  if (!first) begin(files, version, key, request);
  const answers = options.webroot === undefined ? await answerAt(task.http) : answerIn(options.webroot);
  let answered: string;
  try {
    answered = await account.order({ names, request, answers });
  } finally {
    answers.close();
  }
  const judged = judgeChain(answered, privateKey, names, Date.now());
  if (judged.kind === 'bad') {
    if (!first) forget(files);
    throw new AcmeError(judged.detail);
  }
  if (first) {
    writeWhole(files.key, key, 0o600);
    // Without the certificate there is no pair: a run that ends here begins again.
    writeWhole(files.certificate, judged.chain, 0o644);
  } else {
    receive(files, version, judged.chain);
    replacePair(files, version);
    // There is nobody to tell that it works.
    confirmed(files);
  }
  return new X509Certificate(judged.chain);
}

async function accountKey(file: string): Promise<KeyObject> {
  if (!existsSync(file)) writeWhole(file, (await generateKey('ec')).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, 0o600);
  const key = createPrivateKey(readFileSync(file, 'utf8'));
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new Error(`${file}: expected an account key of P-256`);
  return key;
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
