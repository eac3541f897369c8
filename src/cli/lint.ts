import { createPrivateKey, X509Certificate } from 'node:crypto';
import { LARGEST_FILE } from '../config/checked-files.ts';
import { privacyFault, readRegularFile } from '../config/files.ts';
import { printable, show } from '../config/issue.ts';
import { describe, holdsPrivateKey } from '../config/material.ts';
import { parseCertificate, PkiError, type Certificate } from '../pki/certificate.ts';
import { likelyUse, lintCertificate } from '../pki/lint/certificate.ts';
import type { CertificateUse, Finding } from '../pki/lint/rules.ts';
import { chainFindings, sharedFindings, type Placed } from '../pki/lint/together.ts';
import { pemBlocks } from '../pki/pem.ts';
import { counted } from './counted.ts';
import { WrongUsage } from './usage.ts';

const USES = ['server', 'client', 'ca', 'upstream'] as const;
const LEVELS = ['dv', 'ov', 'ev'] as const;

/** What `wardgate lint` is asked to do. */
export interface LintOptions {
  /** Default: what each certificate seems to be for. */
  readonly use?: string;
  /** The least validation of server certificates. */
  readonly validation?: string;
  readonly json?: boolean;
  /** Milliseconds since the epoch; default: the clock. */
  readonly now?: number;
}

interface Found extends Placed {
  readonly file: string;
  /** From 1, in its file. */
  readonly number: number;
}

/** A finding with where it is; without `at` it is about the file as a whole. */
interface Line {
  readonly file: string;
  readonly at?: Found;
  readonly finding: Finding;
}

interface ReadFile {
  readonly file: string;
  readonly certificates: readonly Found[];
  /** PEM of the private keys in it. */
  readonly keys: readonly string[];
  readonly lines: readonly Line[];
}

/**
 * `wardgate lint CERT…`: a closer look at certificates, alone and together, without a configuration. Exit 0 when there is
 * nothing but notes, 1 for warnings and errors. Throws `WrongUsage` for a file that cannot be read.
 */
export async function lint(names: readonly string[], options: LintOptions, print: (text: string) => void): Promise<0 | 1> {
  const use = oneOf('--use', options.use, USES);
  const validation = oneOf('--validation', options.validation, LEVELS);
  const files = await Promise.all([...new Set(names)].map((name) => read(name, use)));
  const certificates = files.flatMap((file) => file.certificates);
  const context = { now: options.now ?? Date.now(), ...(validation === undefined ? {} : { validation }) };
  const authorities = certificates.filter((one) => one.use === 'ca').map(({ certificate }) => certificate);
  const lines: readonly Line[] = [
    ...files.flatMap((file) => [...file.lines, ...keyLines(file, certificates)]),
    ...certificates.flatMap((at) => lintCertificate(at.certificate, at.use, context).map((finding) => ({ file: at.file, at, finding }))),
    ...files.flatMap((file) => chainOf(file, authorities)),
    ...sharedFindings(certificates).map(({ at, finding }) => ({ file: at.file, at, finding })),
  ];
  const ordered = inOrder(files, lines);
  const good = lines.every(({ finding }) => finding.severity === 'note');
  if (options.json === true) print(JSON.stringify({ good, certificates: certificates.length, findings: ordered.map(jsonOf) }));
  else print([...ordered.map(textOf), summary(certificates.length, lines)].join('\n'));
  return good ? 0 : 1;
}

function oneOf<T extends string>(option: string, value: string | undefined, known: readonly T[]): T | undefined {
  const found = known.find((one) => one === value);
  if (value !== undefined && found === undefined) throw new WrongUsage(`${option}: ${show(value)} is none; expected ${known.join(', ')}`);
  return found;
}

const PRIVATE_KEY = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z0-9 ]*PRIVATE KEY-----/g;

async function read(name: string, use: CertificateUse | undefined): Promise<ReadFile> {
  const content = await readRegularFile(name, name, LARGEST_FILE);
  if (content.kind === 'fault') throw new WrongUsage(content.message.replace(' (paths are relative to the configuration file)', ''));
  const { bytes, mode, group } = content;
  const text = Buffer.from(bytes).toString('latin1');
  const open = holdsPrivateKey(bytes) ? privacyFault(mode, group, process.getegid?.() ?? -1, name) : undefined;
  const lines: Line[] = open === undefined ? [] : [{ file: name, finding: { rule: 'key-readable', severity: 'error', detail: open, remedy: 'and make a new key, if anybody may have read this one' } }];
  const keys = text.match(PRIVATE_KEY) ?? [];
  const { ders, fault } = bytes[0] === 0x30 ? { ders: [bytes], fault: undefined } : dersOf(text.replace(PRIVATE_KEY, ''));
  if (fault !== undefined) lines.push(unreadable(name, fault));
  if (fault === undefined && ders.length === 0 && keys.length === 0) lines.push(unreadable(name, 'it holds no certificate, neither PEM nor DER'));
  const certificates = ders.flatMap((der, index): Found[] => {
    try {
      return [placed(name, index + 1, parseCertificate(der), index === 0 ? use : undefined, use)];
    } catch (error) {
      if (!(error instanceof PkiError)) throw error;
      lines.push(unreadable(name, `certificate ${index + 1}: ${error.message}`));
      return [];
    }
  });
  return { file: name, certificates, keys, lines };
}

function dersOf(text: string): { readonly ders: readonly Uint8Array[]; readonly fault?: string } {
  try {
    return { ders: pemBlocks(text).flatMap(({ label, der }) => (['CERTIFICATE', 'X509 CERTIFICATE'].includes(label) ? [der] : [])) };
  } catch (error) {
    if (!(error instanceof PkiError)) throw error;
    return { ders: [], fault: error.message };
  }
}

/** What follows the first is a CA more often than not; only what is none is taken for what was said. */
function placed(file: string, number: number, certificate: Certificate, first: CertificateUse | undefined, said: CertificateUse | undefined): Found {
  const likely = likelyUse(certificate);
  const use = first ?? (likely === 'ca' ? 'ca' : said ?? likely);
  return { file, number, certificate, use, place: `certificate ${number} of ${file}` };
}

function unreadable(file: string, detail: string): Line {
  return { file, finding: { rule: 'unreadable', severity: 'error', detail, remedy: 'expected certificates in PEM or DER, as RFC 5280 has them' } };
}

/** A file is a chain where one leaf stands in it; several are a collection, and CAs alone are a bundle. */
function chainOf({ file, certificates }: ReadFile, authorities: readonly Certificate[]): readonly Line[] {
  const presented = certificates.filter(({ use }) => use !== 'ca');
  // A CA that stands first is taken for what was said, too; with a leaf behind it that is a mistake of order.
  const leaves = presented.length > 1 ? presented.filter(({ certificate }) => likelyUse(certificate) !== 'ca') : presented;
  const [leaf] = leaves;
  if (leaf === undefined || leaves.length > 1) return [];
  const order: readonly Line[] = certificates[0] === leaf ? [] : [{
    file, at: leaf, finding: { rule: 'chain-order', severity: 'error', detail: 'the leaf does not stand first: a server would present the CA in its place (RFC 5246 section 7.4.2)', remedy: 'put leaf, issuer, issuer\'s issuer in this order' },
  }];
  const chain = [leaf, ...certificates.filter((one) => one !== leaf)];
  return [...order, ...chainFindings(chain, authorities).map(({ at, finding }) => ({ file, at, finding }))];
}

/** Private keys that belong to none of the certificates, where there are any. Encrypted ones cannot be told. */
function keyLines({ file, keys }: ReadFile, certificates: readonly Found[]): readonly Line[] {
  if (certificates.length === 0) return [];
  return keys.filter((key) => !/ENCRYPTED/.test(key)).flatMap((pem): Line[] => {
    try {
      const key = createPrivateKey(pem);
      if (certificates.some(({ certificate }) => new X509Certificate(certificate.der).checkPrivateKey(key))) return [];
      return [{ file, finding: { rule: 'key-mismatch', severity: 'error', detail: 'the private key is that of none of the certificates', remedy: 'find the key that the request was made with, or make both anew' } }];
    } catch {
      // What OpenSSL says of a key does not belong on a terminal or in a log.
      return [unreadable(file, 'a private key, or the certificate beside it, cannot be read by OpenSSL')];
    }
  });
}

const RANK = { error: 0, warning: 1, note: 2 } as const;

function inOrder(files: readonly ReadFile[], lines: readonly Line[]): readonly Line[] {
  const place = new Map(files.map(({ file }, index) => [file, index]));
  return lines.toSorted((a, b) => (place.get(a.file) ?? 0) - (place.get(b.file) ?? 0)
    || (a.at?.number ?? 0) - (b.at?.number ?? 0) || RANK[a.finding.severity] - RANK[b.finding.severity]);
}

function textOf({ file, at, finding }: Line): string {
  const { severity, rule, detail, remedy } = finding;
  const which = at === undefined ? '' : `certificate ${at.number}, ${describe(at.certificate)}, ${at.use}: `;
  return `${printable(file)}: ${which}${severity}: ${rule}: ${printable(detail)}; ${remedy}`;
}

function jsonOf({ file, at, finding }: Line): object {
  return { file, ...(at === undefined ? {} : { certificate: at.number, sha256: at.certificate.sha256, use: at.use }), ...finding };
}

function summary(certificates: number, lines: readonly Line[]): string {
  const count = (severity: Finding['severity']): number => lines.filter(({ finding }) => finding.severity === severity).length;
  return `${counted(certificates, 'certificate')}: ${counted(count('error'), 'error')}, ${counted(count('warning'), 'warning')}, ${counted(count('note'), 'note')}`;
}
