import { closeSync, existsSync, fsyncSync, linkSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { inEitherForm } from '../audit/either-form.ts';
import { openEvidence } from '../audit/evidence.ts';
import { filterText, type RecordFilter } from '../audit/filter.ts';
import { impactOf, type Impact, type Touched } from '../audit/impact.ts';
import { readAuditKey } from '../audit/key.ts';
import { sealExport, type Manifest, type SealOrder } from '../audit/seal.ts';
import { verifyAudit } from '../audit/verify.ts';
import { parseCertificate } from '../pki/certificate.ts';
import { formatName } from '../pki/name.ts';
import { pemBlocks } from '../pki/pem.ts';
import { printable } from '../config/issue.ts';
import { counted } from './counted.ts';
import { auditPlaces, noteUse, type AuditPlaces } from './archive.ts';
import { findIssuer } from './named-certificate.ts';
import { recordFilter, type FilterOptions } from './record-options.ts';
import { WrongUsage } from './usage.ts';

type Print = (text: string) => void;

export interface SealOptions extends FilterOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly case: string;
  readonly who: string;
  readonly out: string;
}

/** `wardgate seal`: a bundle for an investigator, verified before it has its name; exit 1 when it does not verify. */
export async function seal(options: SealOptions, print: Print): Promise<number> {
  if (options.case.trim() === '') throw new WrongUsage('--case: what is it for?');
  const places = auditPlaces(options.config);
  const filter = recordFilter(options);
  const order = { who: options.who, case: options.case };
  if (existsSync(options.out)) throw new Error(`${options.out}: is there already; a bundle is never written over another one`);
  await noteUse(places, { who: order.who, ...subjectOf(filter), detail: `seals ${rangeText(filter)} for case ${JSON.stringify(order.case)}` }, { settle: true });
  const unfinished = `${options.out}.unfinished`;
  try {
    const { manifest, sha256 } = writeBundle(places, filter, order, unfinished);
    const fault = faultOf(unfinished);
    if (fault !== undefined) throw new Error(`nothing was sealed: ${fault}`);
    giveName(unfinished, options.out);
    await noteUse(places, { who: order.who, ...subjectOf(filter), detail: `sealed ${manifest.records} records for case ${JSON.stringify(order.case)}, SHA-256 ${sha256}` });
    print(options.json === true
      ? JSON.stringify({ file: options.out, sha256, records: manifest.records, case: manifest.case, filter: manifest.filter })
      : `${options.out}: ${manifest.records} records, sealed and verified\nSHA-256 ${sha256}\nto verify it: wardgate audit verify ${options.out} --key KEY   (KEY: what wardgate audit key printed)`);
    return 0;
  } finally {
    rmSync(unfinished, { force: true });
  }
}

/** Never over another one; sticks that investigators bring may know no links. */
function giveName(unfinished: string, out: string): void {
  try {
    linkSync(unfinished, out);
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? '') || existsSync(out)) throw error;
    renameSync(unfinished, out);
  }
}

function writeBundle({ state, directory }: AuditPlaces, filter: RecordFilter, order: SealOrder, path: string): { readonly manifest: Manifest; readonly sha256: string } {
  const key = readAuditKey(state);
  if (key === undefined) throw new Error(`${state}: there is no key yet; the gateway makes it at its first start`);
  const evidence = openEvidence(directory);
  const file = openSync(path, 'w', 0o600);
  const hash = createHash('sha256');
  try {
    const pieces = sealExport(evidence, inEitherForm(evidence, filter), order, key, Date.now());
    for (;;) {
      const { done, value } = pieces.next();
      if (done === true) {
        fsyncSync(file);
        return { manifest: value, sha256: hash.digest('hex') };
      }
      hash.update(value);
      for (let written = 0; written < value.length;) written += writeSync(file, value, written);
    }
  } finally {
    closeSync(file);
    evidence.close();
  }
}

function faultOf(path: string): string | undefined {
  const evidence = openEvidence(path);
  try {
    const { bad } = verifyAudit({ evidence });
    return bad === undefined ? undefined : `the audit is not whole: ${bad.file}: ${bad.kind}: ${bad.detail}`;
  } finally {
    evidence.close();
  }
}

/** What of a filter has a field of its own in a record. */
function subjectOf({ fingerprint, serial, route, patient, id }: RecordFilter): Partial<Record<'fingerprint' | 'serial' | 'route' | 'patient' | 'id', string>> {
  return Object.fromEntries(Object.entries({ fingerprint, serial, route, patient, id }).filter(([, value]) => value !== undefined));
}

function rangeText(filter: RecordFilter): string {
  const { from = 'the beginning', to = 'now' } = filterText(filter);
  return `${from} to ${to}`;
}

export interface ImpactOptions extends FilterOptions {
  readonly config: string;
  /** A file with the certificate, in place of its number and issuer. */
  readonly cert?: string;
  /** Of the serial number. */
  readonly issuer?: string;
  readonly json?: boolean;
  readonly who: string;
}

/** `wardgate impact`: whom a certificate concerns; on record before it is shown. */
export async function impact(options: ImpactOptions, print: Print): Promise<number> {
  if (options.issuer !== undefined && options.serial === undefined) throw new Error('--issuer goes with --serial');
  const issuer = options.issuer === undefined ? {} : { issuer: (await findIssuer(options.issuer, '--issuer', options.config)).issuer_text };
  const filter = { ...recordFilter(options), ...issuer, ...(options.cert === undefined ? {} : numberOf(options.cert)) };
  if (filter.fingerprint === undefined && filter.serial === undefined && filter.id === undefined) throw new Error('name whose doing is meant: --cert, --fingerprint, --serial or --id');
  const places = auditPlaces(options.config);
  await noteUse(places, { who: options.who, ...subjectOf(filter), detail: `asks whom it concerns, ${rangeText(filter)}` });
  const evidence = openEvidence(places.directory);
  try {
    const found = impactOf(evidence, inEitherForm(evidence, filter));
    print(options.json === true ? JSON.stringify({ filter: filterText(filter), ...found }) : textOf(found));
    return 0;
  } finally {
    evidence.close();
  }
}

/** By its number and issuer: by its fingerprint, what its thief did with the other form of its signature (see pki/twin.ts) would not be found. */
function numberOf(cert: string): Pick<RecordFilter, 'serial' | 'issuer'> {
  const [block] = pemBlocks(readFileSync(cert, 'utf8'), 'CERTIFICATE');
  if (block === undefined) throw new Error(`--cert: ${cert}: holds no certificate`);
  const { serial, issuer } = parseCertificate(block.der);
  return { serial, issuer: formatName(issuer) };
}

function textOf({ records, permitted, denied, failed, ended, first, last, certificates, patients, resources, routes, addresses, denials, left }: Impact): string {
  if (records === 0) return 'nothing is on record';
  const table = (title: string, rows: readonly Touched[]): readonly string[] => (rows.length === 0 ? [] : ['', `${title} (${rows.length})`, ...rows.map((row) => `  ${printable(row.name)}  ${row.requests}x, ${row.first} to ${row.last}`)]);
  return [
    `${records} records from ${first} to ${last}: ${permitted} permitted, ${denied} denied${failed === 0 ? '' : `, ${failed} failed`}${ended === 0 ? '' : `, ${counted(ended, 'end')} of streams`}`,
    ...(certificates.length < 2 ? [] : ['', `WARNING: they are of ${certificates.length} certificates; --cert, or --issuer beside --serial, means one of them`, ...table('certificates', certificates)]),
    ...table('patients', patients), ...table('resources', resources.map(({ method, name, ...same }) => ({ name: `${method} ${name}`, ...same }))),
    ...table('routes', routes), ...table('from addresses', addresses), ...table('denied', denials),
    ...(left === 0 ? [] : ['', `${left} records more are of patients, resources or addresses for which there was no room: take a shorter time`]),
  ].join('\n');
}
