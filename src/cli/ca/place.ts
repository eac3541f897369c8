import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { certificateStep } from '../../audit/certificate-step.ts';
import { refuseOpenFile } from '../../ca/key-file.ts';
import { isCaDirectory, OfficeError, openOffice, type CaEvent, type Office } from '../../ca/office.ts';
import type { PassphraseSource } from '../../config/file-references.ts';
import { passphraseIn, readPassphrases } from '../../config/passphrases.ts';
import { auditPlaces, withArchive } from '../archive.ts';
import { WrongUsage } from '../usage.ts';

/** Where the CA is, and what opens its key: options of every command. */
export interface CaOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly dir?: string;
  readonly passphraseFile?: string;
  readonly passphraseCommand?: string;
  readonly who: string;
  readonly dryRun?: boolean;
}

export type Print = (text: string) => void;

/** The directory of the CA: --dir, or `ca` in the state directory of the configuration. */
export function caDirectory({ dir, config }: Pick<CaOptions, 'dir' | 'config'>): string {
  if (dir !== undefined) return resolve(dir);
  if (existsSync(config)) return join(auditPlaces(config).state, 'ca');
  throw new WrongUsage(`where is the CA? ${config} is not there, whose state directory would hold it; --dir DIR names another place`);
}

/** Opens the CA. With `key` a passphrase is needed, and asked for at a terminal. */
export async function openCa(options: CaOptions, { key = false } = {}): Promise<Office> {
  const directory = caDirectory(options);
  if (!isCaDirectory(directory)) throw new OfficeError('not_a_ca', `${directory}: there is no CA here; wardgate ca init makes one`);
  const passphrase = await passphraseOf(options, key ? 'passphrase of the issuing CA' : undefined);
  return openOffice({ directory, ...(passphrase === undefined ? {} : { passphrase }) });
}

/** The passphrase that the options name; asked for at a terminal when there is a `prompt`. */
export async function passphraseOf({ passphraseFile, passphraseCommand }: Pick<CaOptions, 'passphraseFile' | 'passphraseCommand'>, prompt: string | undefined): Promise<string | undefined> {
  if (passphraseFile !== undefined && passphraseCommand !== undefined) throw new WrongUsage('--passphrase-file or --passphrase-command, not both');
  if (passphraseFile !== undefined) return passphraseFromFile(passphraseFile);
  if (passphraseCommand !== undefined) return fromCommand(passphraseCommand);
  if (prompt === undefined || !process.stdin.isTTY) return undefined;
  return askHidden(`${prompt}: `);
}

/** `kind`: what messages call it. */
export function passphraseFromFile(file: string, kind?: string): string {
  if (statSync(file).isFile()) refuseOpenFile(file);
  const found = passphraseIn(readFileSync(file), file, kind);
  if (found.kind !== 'ok') throw new Error(found.kind === 'fault' ? found.message : `${file}: cannot be read`);
  return found.text;
}

/** The words of the text are the program and its arguments: no shell looks at them. */
async function fromCommand(command: string): Promise<string> {
  const source = { kind: 'command', path: [], argv: command.trim().split(/\s+/) } satisfies PassphraseSource;
  const found = (await readPassphrases([source], { contentOf: () => undefined, directory: process.cwd(), run: true }))(source);
  if (found.kind !== 'ok') throw new Error(found.kind === 'fault' ? found.message : 'the command was not run');
  return found.text;
}

function askHidden(prompt: string): Promise<string> {
  process.stderr.write(prompt);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
  return new Promise((done, failed) => {
    lines.on('SIGINT', () => {
      failed(new Error('interrupted'));
      lines.close();
    });
    lines.question('', (answer) => {
      process.stderr.write('\n');
      done(answer);
      lines.close();
    });
  });
}

/** Asks at a terminal; anything but yes is no. */
export function isAgreed(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  return new Promise((done) => {
    lines.on('close', () => done(false));
    lines.question(question, (answer) => {
      done(/^y(es)?$/i.test(answer.trim()));
      lines.close();
    });
  });
}

/** By what records of the gateway tell this CA from another: the first 16 digits of the SHA-256 of its root. */
export function caMark({ root }: Pick<Office, 'root'>): string {
  return new X509Certificate(root).fingerprint256.replaceAll(':', '').toLowerCase().slice(0, 16);
}

/** Where a configuration is that has a gateway to tell: absent where the CA stands by itself. */
export function gatewayOf({ config }: Pick<CaOptions, 'config'>): string | undefined {
  return existsSync(config) ? config : undefined;
}

/**
 * Does something with the CA, and puts what the CA has on record since into the audit of the gateway as well, where there is one: the
 * running one's, or that of one that does not run. The CA's own log has it in any case, so a gateway that cannot be told is a warning.
 */
export async function withRecord<Result>(options: CaOptions, office: Office, act: () => Promise<Result> | Result): Promise<Result> {
  const before = office.events().at(-1)?.seq ?? 0;
  try {
    return await act();
  } finally {
    const config = gatewayOf(options);
    if (config !== undefined) for (const event of office.events().filter(({ seq }) => seq > before)) await tell(config, office, event, options.who);
  }
}

async function tell(config: string, office: Office, event: CaEvent, who: string): Promise<void> {
  try {
    const request = event.request === undefined ? undefined : office.request(event.request);
    const entry = event.serial === undefined || request?.serial !== event.serial ? undefined : office.entry(event.serial);
    const step = certificateStep(event, { ca: caMark(office), ...(request === undefined ? {} : { request }), ...(entry === undefined ? {} : { entry }) });
    await withArchive(auditPlaces(config), '/v1/audit/certificate', { ...step, who: event.who }, async (archive) => {
      await archive.certificate(step);
      return { noted: true };
    });
  } catch (error) {
    process.stderr.write(`wardgate: warning: event ${event.seq} is on record at the CA and not in the gateway's audit (${who}): ${(error as Error).message}\n`);
  }
}
