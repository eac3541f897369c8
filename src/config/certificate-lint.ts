import type { Certificate } from '../pki/certificate.ts';
import { lintCertificate } from '../pki/lint/certificate.ts';
import type { CertificateUse, Finding, LintRule, ValidationLevel } from '../pki/lint/rules.ts';
import { chainFindings, sharedFindings, type Placed, type PlacedFinding } from '../pki/lint/together.ts';
import type { CheckedFiles } from './checked-files.ts';
import type { FileReference, FileUse } from './file-references.ts';
import { pathKey, printable, show, type Fault } from './issue.ts';
import { describe } from './material.ts';
import { fileOf, type Config } from './schema.ts';

/** One certificate of a file that the configuration names. */
interface Named extends Placed {
  readonly reference: FileReference;
  readonly index: number;
  readonly validation?: ValidationLevel;
}

const CHAINS: Partial<Record<FileUse, CertificateUse>> = { 'server-certificate': 'server', 'server-pkcs12': 'server', 'client-certificate': 'upstream', 'client-pkcs12': 'upstream' };
const PINNED: Partial<Record<FileUse, CertificateUse>> = { 'client-trust': 'client', 'upstream-trust': 'server', 'intermediates': 'ca', 'authorities': 'ca' };

/** Said by whoever reads the file, with or without a closer look. */
const SAID_BEFORE: ReadonlySet<LintRule> = new Set(['expired', 'not-yet-valid', 'eku-wrong']);

/**
 * What a closer look finds in the certificates that the configuration names, each file once, at the first place that names
 * it. Notes are for `wardgate lint`. `now` in ms.
 */
export function certificateWarnings(config: Config, references: readonly FileReference[], files: CheckedFiles, now: number): readonly Fault[] {
  const distinct = [...new Map(references.toReversed().map((reference) => [`${reference.use} ${reference.name}`, reference])).values()].toReversed();
  const named = distinct.map((reference) => certificatesOf(reference, files, validationOf(config, reference)));
  const all = named.flat();
  const authorities = all.filter(({ reference, use }) => PINNED[reference.use] !== undefined && use === 'ca').map(({ certificate }) => certificate);
  const found: readonly PlacedFinding<Named>[] = [
    ...all.flatMap((at) => lintCertificate(at.certificate, at.use, { now, ...(at.validation === undefined ? {} : { validation: at.validation }) }).map((finding) => ({ at, finding })).filter(isNews)),
    ...named.flatMap((chain) => (chain[0] !== undefined && CHAINS[chain[0].reference.use] !== undefined ? chainFindings(chain, authorities) : [])),
    ...sharedFindings(all),
  ];
  return onceAFile(found.filter(({ finding }) => finding.severity !== 'note'));
}

function certificatesOf(reference: FileReference, files: CheckedFiles, validation: ValidationLevel | undefined): readonly Named[] {
  const { use, name } = reference;
  const leaf = CHAINS[use];
  const pinned = PINNED[use];
  const held: readonly Certificate[] = leaf !== undefined ? files.chain(name)?.certificates ?? [] : pinned !== undefined ? files.certificates(use, name) : [];
  return held.map((certificate, index) => ({
    reference, index, certificate,
    use: leaf !== undefined ? (index === 0 ? leaf : 'ca') : certificate.basicConstraints?.ca === true || pinned === undefined ? 'ca' : pinned,
    place: `${describe(certificate)} in ${show(name)}`,
    ...(validation === undefined || index > 0 ? {} : { validation }),
  }));
}

/** What is demanded of a listener's certificate, where the configuration says. A file that stands in several places has to meet the most. */
function validationOf({ listeners }: Config, { use, name }: FileReference): ValidationLevel | undefined {
  if (CHAINS[use] !== 'server') return undefined;
  const demanded = new Set(listeners.flatMap((listener) => (listener.protocol === 'redirect' ? [] : listener.tls.certificates))
    .flatMap(({ validation, ...own }) => (fileOf(own) === name && validation !== undefined ? [validation] : [])));
  return (['ev', 'ov', 'dv'] as const).find((level) => demanded.has(level));
}

/** The leaf of a chain and everything trusted was held against the clock and its purpose when it was read. */
function isNews({ at, finding }: PlacedFinding<Named>): boolean {
  return !SAID_BEFORE.has(finding.rule) || (CHAINS[at.reference.use] !== undefined && at.index > 0);
}

/** A bundle of a hundred old roots gets one line a rule. */
function onceAFile(found: readonly PlacedFinding<Named>[]): readonly Fault[] {
  const groups = Map.groupBy(found, ({ at, finding }) => `${pathKey(at.reference.path)} ${finding.rule}`);
  return [...groups.values()].flatMap((group) => {
    const first = group[0]?.at;
    const others = new Set(group.map(({ at }) => at.certificate.sha256)).size - 1;
    const rest = others === 0 ? '' : `; the same of ${others} more in this file`;
    return group.filter(({ at }) => at === first).map(({ at, finding }) => ({ path: at.reference.path, message: `${messageOf(at, finding)}${rest}` }));
  });
}

function messageOf({ reference, certificate }: Named, { rule, detail, remedy }: Finding): string {
  return `${show(reference.name)} holds ${describe(certificate)}, ${rule}: ${printable(detail)}; ${remedy}`;
}
