import { inEitherForm } from '../audit/either-form.ts';
import { openEvidence } from '../audit/evidence.ts';
import { readHolds } from '../audit/register.ts';
import type { PruneReport } from '../audit/archive.ts';
import { auditPlaces, withArchive } from './archive.ts';
import { certificateIn, instant, span } from './record-options.ts';

type Print = (text: string) => void;

export interface HoldOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly from?: string;
  readonly to?: string;
  readonly fingerprint?: string;
  readonly serial?: string;
  readonly patient?: string;
  readonly route?: string;
  readonly who: string;
  readonly reason: string;
}

/** `wardgate audit hold add`: prints its id. */
export async function addHold(options: HoldOptions, print: Print): Promise<number> {
  const { who, reason, patient, route } = options;
  const { from, to } = span(options);
  const meant = given({ from: isoOf(from), to: isoOf(to), ...certificateIn(options), patient, route });
  if (Object.keys(meant).length === 0) throw new Error('name what is held: --from, --to, --fingerprint, --serial, --patient, --route, or several of them');
  const places = auditPlaces(options.config);
  const held = eitherForm(places.directory, meant);
  const { id } = await withArchive(places, '/v1/audit/hold', { ...held, who, reason }, async (archive) => ({ id: await archive.hold({ ...held, who, reason }) }));
  const by = held.serial === meant.serial ? '' : ` (by the serial number ${held.serial}: it has the other form of the signature, too)`;
  print(options.json === true ? JSON.stringify({ id, ...held, who, reason }) : `held as ${id}${by}: nothing of it can be removed until it is released`);
  return 0;
}

function isoOf(time: number | undefined): string | undefined {
  return time === undefined ? undefined : new Date(time).toISOString();
}

/** A fingerprint that is on record as the serial number of its certificate, which both forms of an ECDSA signature share; of other CAs it may hold more. */
function eitherForm<Meant extends { readonly fingerprint?: string; readonly serial?: string }>(directory: string, { fingerprint, ...meant }: Meant): Omit<Meant, 'fingerprint'> & Pick<Meant, 'serial'> & { readonly fingerprint?: string } {
  if (fingerprint === undefined) return meant;
  const evidence = openEvidence(directory);
  try {
    const { serial } = inEitherForm(evidence, { fingerprint });
    return meant.serial !== undefined || serial === undefined ? { ...meant, fingerprint } : { ...meant, serial };
  } finally {
    evidence.close();
  }
}

/** `wardgate audit hold list`, from the register. */
export async function listHolds(options: { readonly config: string; readonly json?: boolean }, print: Print): Promise<number> {
  const holds = readHolds(auditPlaces(options.config).directory);
  if (options.json === true) print(JSON.stringify(holds));
  else print(holds.length === 0 ? 'nothing is held' : holds.map(({ id, who, reason, since, ...meant }) => `${id}  since ${since} by ${who}: ${Object.entries(meant).map(([name, value]) => `${name} ${value}`).join(', ')}: ${reason}`).join('\n'));
  return 0;
}

/** `wardgate audit hold release`: exit 1 when nothing of this id is held. */
export async function releaseHold(id: string, { config, json, who, reason }: { readonly config: string; readonly json?: boolean; readonly who: string; readonly reason: string }, print: Print): Promise<number> {
  const { released } = await withArchive(auditPlaces(config), '/v1/audit/release', { id, who, reason }, async (archive) => ({ released: await archive.release(id, who, reason) }));
  print(json === true ? JSON.stringify({ released, id }) : released ? `released ${id}` : `nothing is held as ${id}`);
  return released ? 0 : 1;
}

export interface PruneOptions {
  readonly config: string;
  readonly json?: boolean;
  readonly before?: string;
  readonly confirm?: boolean;
  readonly who: string;
  readonly reason: string;
}

/** `wardgate audit prune`: what is older than it must be kept; without --confirm it says what would go. */
export async function prune(options: PruneOptions, print: Print): Promise<number> {
  const { who, reason, confirm = false } = options;
  const order = { who, reason, confirm, ...given({ before: instant('--before', options.before) }) };
  const report = await withArchive<PruneReport>(auditPlaces(options.config), '/v1/audit/prune', order, (archive) => archive.prune(order));
  print(options.json === true ? JSON.stringify({ ...report, removed: confirm }) : textOf(report, confirm));
  return 0;
}

function textOf({ before, due, held, more }: PruneReport, confirm: boolean): string {
  return [
    `${confirm ? 'removed' : 'would remove'} ${due.length} segments, all of them ended before ${before}${confirm ? '' : '; nothing was changed, --confirm does it'}`,
    ...due.map(({ segment, records, ended }) => `  ${segment}: ${records} records, ended ${ended}`),
    ...held.map(({ segment, hold }) => `  ${segment} stays: held as ${hold}`),
    ...(more ? ['there are more: ask again'] : []),
  ].join('\n');
}

/** Without what was not given. */
function given<Fields extends object>(fields: Fields): { [Key in keyof Fields]?: Exclude<Fields[Key], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as { [Key in keyof Fields]?: Exclude<Fields[Key], undefined> };
}
