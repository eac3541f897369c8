import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { printable } from '../config/issue.ts';
import { loadSnapshot } from '../config/snapshot.ts';
import { parseCertificate } from '../pki/certificate.ts';
import { formatName, parseNameText, type NameText } from '../pki/name.ts';
import { pemBlocks } from '../pki/pem.ts';
import type { DenySubject } from '../store/deny-list.ts';

/** As much of a certificate's name as an entry of the deny list takes. */
const MOST_NAME = 1_000;

/** The ways to name certificates on a command line: exactly one of them, as `certificateOptions` has them. */
export interface SubjectOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly cert?: string;
  readonly serial?: string;
  readonly issuer?: string;
  readonly fingerprint?: string;
  readonly key?: string;
  readonly wholeIssuer?: string;
  readonly id?: string;
  readonly who: string;
}

/** Adds the options that name certificates. */
export function certificateOptions(command: Command): Command {
  return command
    .option('--cert <pem>', 'the certificate itself')
    .option('--serial <hex>', 'its serial number, with --issuer')
    .option('--issuer <dn>', "its issuer's name, as 'CN=Hospital CA,O=Hospital'")
    .option('--fingerprint <hex>', 'its SHA-256 fingerprint')
    .option('--key <pem|hex>', 'every certificate of a public key: that of a certificate file, or its SHA-256')
    .option('--whole-issuer <dn>', 'every certificate of a CA')
    .option('--id <id>', 'every certificate of a person or device, by the id that roles give it');
}

/** Which of these options were given. */
export function namings({ cert, serial, fingerprint, key, wholeIssuer, id }: SubjectOptions): readonly string[] {
  return [cert, serial, fingerprint, key, wholeIssuer, id].filter((value) => value !== undefined);
}

/** What the options name; in words, why they name nothing. Names of issuers are those of the configuration's CAs, where one fits. */
export async function subjectOf(options: SubjectOptions): Promise<DenySubject | string> {
  if (namings(options).length !== 1) return 'give exactly one of --cert, --serial (with --issuer), --fingerprint, --key, --whole-issuer and --id';
  if (options.id !== undefined) return { kind: 'identity', id: options.id };
  if (options.wholeIssuer !== undefined) return { kind: 'issuer', ...await findIssuer(options.wholeIssuer, '--whole-issuer', options.config) };
  if (options.key !== undefined) {
    const key = /^[0-9a-fA-F:]{64,95}$/.test(options.key) ? options.key.replaceAll(':', '').toLowerCase() : keyOf(options.key);
    return key.length === 64 ? { kind: 'key', key } : `--key: ${JSON.stringify(options.key)} is neither a certificate nor the SHA-256 of a public key in hex`;
  }
  if (options.cert !== undefined) {
    const [block] = pemBlocks(readFileSync(options.cert, 'utf8'), 'CERTIFICATE');
    if (block === undefined) return `${options.cert}: holds no certificate`;
    const { sha256, subject } = parseCertificate(block.der);
    const name = formatName(subject).slice(0, MOST_NAME);
    // SPIFFE certificates have none.
    return { kind: 'fingerprint', fingerprint: sha256, ...(name === '' ? {} : { subject_text: name }) };
  }
  if (options.fingerprint !== undefined) {
    const fingerprint = fingerprintText(options.fingerprint);
    return /^[0-9a-f]{64}$/.test(fingerprint) ? { kind: 'fingerprint', fingerprint } : `--fingerprint: ${JSON.stringify(options.fingerprint)} is not a SHA-256 in hex (64 digits)`;
  }
  const serial = serialText(options.serial as string);
  if (!/^[0-9a-f]{1,64}$/.test(serial)) return `--serial: ${JSON.stringify(options.serial)} is not a hexadecimal number`;
  if (options.issuer === undefined) return '--serial needs --issuer: serial numbers are only unique within one CA';
  return { kind: 'serial', serial, ...await findIssuer(options.issuer, '--issuer', options.config) };
}

/**
 * The issuer as the configuration's CAs spell it. Tools print names in both orders, and a name in the wrong one would deny
 * nobody; so either order finds a configured CA, and a name that fits none is taken as RFC 4514 has it, with a warning.
 */
export async function findIssuer(text: string, option: string, config: string): Promise<{ issuer: string; issuer_text: string }> {
  const name = parseNameOption(text, option);
  const reversed = parseNameText(text.split(/(?<!\\),/).reverse().join(','));
  const loaded = await loadSnapshot(config, { now: Date.now() });
  const known = loaded.kind === 'invalid' ? [] : Object.values(loaded.snapshot.listeners)
    .flatMap((listener) => listener.realms.flatMap((realm) => [...realm.anchors, ...realm.intermediates]))
    .map((der) => parseCertificate(der).subject);
  const found = known.find((one) => one.normalized === name.normalized) ?? known.find((one) => one.normalized === reversed.normalized);
  if (found !== undefined) return { issuer: found.normalized, issuer_text: formatName(found) };
  const names = [...new Set(known.map(formatName))];
  process.stderr.write(`wardgate: warning: no configured CA is named ${JSON.stringify(text)}; known: ${names.join(' | ') || 'none'}\n`);
  return { issuer: name.normalized, issuer_text: text };
}

function parseNameOption(text: string, option: string): NameText {
  try {
    return parseNameText(text);
  } catch {
    throw new Error(`${option}: ${JSON.stringify(text)} is not a name; expected one such as 'CN=Hospital CA,O=Hospital'`);
  }
}

/** A serial number as it is on record and on the list: whole octets, none of them a leading zero. */
export function serialText(typed: string): string {
  const serial = typed.replaceAll(':', '').replace(/^0x/i, '').toLowerCase();
  return (serial.length % 2 === 0 ? serial : `0${serial}`).replace(/^(?:00)+(?=.)/, '');
}

/** A fingerprint as it is on record and on the list: OpenSSL prints `sha256 Fingerprint=47:DA:…`. */
export function fingerprintText(typed: string): string {
  return typed.trim().replace(/^(?:sha-?256 )?fingerprint=/i, '').replaceAll(':', '').replace(/^0x/i, '').toLowerCase();
}

/** The SHA-256 of the public key in a certificate file. */
function keyOf(file: string): string {
  const [block] = pemBlocks(readFileSync(file, 'utf8'), 'CERTIFICATE');
  return block === undefined ? '' : parseCertificate(block.der).spkiSha256;
}

/** What is named, for a line on a terminal. */
export function describe(subject: DenySubject): string {
  return printable(textOf(subject));
}

function textOf(subject: DenySubject): string {
  switch (subject.kind) {
    case 'fingerprint': return `certificate ${subject.fingerprint}${subject.subject_text === undefined ? '' : ` of ${subject.subject_text}`}`;
    case 'serial': return `serial ${subject.serial} of ${subject.issuer_text}`;
    case 'key': return `every certificate of the key ${subject.key}`;
    case 'issuer': return `every certificate of ${subject.issuer_text}`;
    case 'identity': return `every certificate of the id ${subject.id}`;
    case 'departed': return `every certificate of the id ${subject.id}, which ${subject.told_by === undefined ? 'has left or was scrapped' : subject.told_by === 'hr' ? 'has left' : 'was scrapped'}`;
  }
}
