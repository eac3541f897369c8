import type { SendersConfig } from '../config/schema.ts';
import { fitsPieces, matchesText } from '../identity/patterns.ts';
import type { Identity } from '../identity/roles.ts';

/** All of a client that senders are judged by. */
type Client = Pick<Identity, 'id'>;

/** Who a client says that it is in the octets of its protocol, as opposed to in its certificate. */
export type Announced = Hl7Sender | DicomSender;

/** MSH-3 and MSH-4 of an HL7 message, as text with the usual encoding characters (`^` between components, `\T\` for `&` …). */
export interface Hl7Sender {
  readonly kind: 'mllp';
  readonly application: string;
  readonly facility: string;
}

/** The AE titles of a DICOM association, without the blanks that pad them. */
export interface DicomSender {
  readonly kind: 'dicom';
  readonly calling: string;
  readonly called: string;
}

/** Which names an announcement consists of. */
export type SenderName = 'application' | 'facility' | 'calling' | 'called';

/** What the clients of a listener may say that they are. */
export interface SenderPolicy {
  readonly protocol: Announced['kind'];
  readonly entries: readonly SenderEntry[];
}

interface SenderEntry {
  readonly id: readonly string[];
  /** In the order in which they are judged. */
  readonly names: readonly NameRule[];
}

interface NameRule {
  readonly name: SenderName;
  readonly patterns: readonly NamePattern[];
}

interface NamePattern {
  /** As the configuration has it. */
  readonly text: string;
  /** For each component the texts between its asterisks; undefined: any name at all. */
  readonly components: readonly (readonly string[])[] | undefined;
}

export type SenderVerdict =
  | { readonly kind: 'allowed' }
  /** `name`: the one that no entry for this client allows; absent when none is for this client at all. */
  | { readonly kind: 'refused'; readonly detail: string; readonly name?: SenderName };

/** Makes the allow-list of a listener ready for comparison. */
export function compileSenders(config: SendersConfig): SenderPolicy {
  if (config.mllp !== undefined) {
    const entries = config.mllp.map(({ id, application, facility }) => ({ id, names: [...rule('application', application, '^'), ...rule('facility', facility, '^')] }));
    return { protocol: 'mllp', entries };
  }
  const entries = (config.dicom ?? []).map(({ id, calling, called }) => ({ id, names: [...rule('calling', calling), ...rule('called', called)] }));
  return { protocol: 'dicom', entries };
}

function rule(name: SenderName, patterns: readonly string[] | undefined, separator?: string): NameRule[] {
  if (patterns === undefined) return [];
  return [{ name, patterns: patterns.map((text) => ({ text, components: text === '*' ? undefined : split(text, separator).map((component) => component.split('*')) })) }];
}

function split(text: string, separator: string | undefined): readonly string[] {
  return separator === undefined ? [text] : text.split(separator);
}

/**
 * Whether a client that is known by its certificate may say that it is this sender: one entry must be for its id (compared as
 * names in certificates are) and allow every name (compared octet for octet). `expected`: some entry is for its id, and it has yet
 * to say anything.
 */
export function judgeSender(policy: SenderPolicy, identity: Client, announced: Announced | undefined): SenderVerdict | { readonly kind: 'expected' } {
  if (announced !== undefined && announced.kind !== policy.protocol) return { kind: 'refused', detail: `the stream is ${announced.kind}, the listener now takes ${policy.protocol}` };
  const entries = entriesFor(policy, identity);
  if (entries.length === 0) return { kind: 'refused', detail: `no entry of the listener's senders is for ${identity.id}` };
  if (announced === undefined) return { kind: 'expected' };
  const refused = entries.map((entry) => firstRefused(entry, identity, announced));
  if (refused.includes(undefined)) return { kind: 'allowed' };
  // The entry that agreed with most tells best what is wrong.
  const { name } = refused.reduce((best, one) => ((one?.index ?? 0) > (best?.index ?? 0) ? one : best)) as Refused;
  return { kind: 'refused', name, detail: `${identity.id} may not speak with ${LABELS[name]} ${JSON.stringify(nameOf(announced, name))}` };
}

interface Refused {
  readonly index: number;
  readonly name: SenderName;
}

/** The first of an announcement's names that an entry does not allow; undefined when it allows all. */
function firstRefused({ names }: SenderEntry, identity: Client, announced: Announced): Refused | undefined {
  for (const [index, { name, patterns }] of names.entries()) {
    if (!fitsOne(patterns, nameOf(announced, name), identity, announced.kind)) return { index, name };
  }
  return undefined;
}

/** What a client may say that it is, a line an entry; none when no entry is for it. */
export function sendersFor(policy: SenderPolicy, identity: Client): readonly string[] {
  return entriesFor(policy, identity).map(({ names }) =>
    names.map(({ name, patterns }) => `${LABELS[name]} ${patterns.map(({ text }) => text.replaceAll('{id}', () => identity.id)).join(' or ')}`).join(', '));
}

function entriesFor(policy: SenderPolicy, identity: Client): readonly SenderEntry[] {
  return policy.entries.filter(({ id }) => id.some((pattern) => matchesText(pattern, identity.id)));
}

const LABELS: Readonly<Record<SenderName, string>> = {
  application: 'the sending application', facility: 'the sending facility', calling: 'the calling AE title', called: 'the called AE title',
};

function nameOf(announced: Announced, name: SenderName): string {
  return (announced as unknown as Readonly<Record<SenderName, string>>)[name];
}

function fitsOne(patterns: readonly NamePattern[], name: string, identity: Client, kind: Announced['kind']): boolean {
  // An id is a name, never a pattern: whatever a CA puts into a certificate, an asterisk in it is an asterisk.
  const id = kind === 'mllp' ? hl7Text(identity.id) : identity.id.trim();
  const components = split(name, kind === 'mllp' ? '^' : undefined);
  return patterns.some((pattern) => fits(pattern, components, id));
}

function fits({ components: wanted }: NamePattern, components: readonly string[], id: string): boolean {
  if (wanted === undefined) return true;
  const count = Math.max(wanted.length, components.length);
  for (let index = 0; index < count; index++) {
    const pieces = (wanted[index] ?? ['']).map((piece) => piece.replaceAll('{id}', () => id));
    if (!fitsPieces(pieces, components[index] ?? '')) return false;
  }
  return true;
}

const ESCAPES: Readonly<Record<string, string>> = { '|': '\\F\\', '^': '\\S\\', '~': '\\R\\', '\\': '\\E\\', '&': '\\T\\' };

/** Text as it stands in a field of HL7 (v2.5.1 section 2.7), with the usual encoding characters. */
export function hl7Text(text: string): string {
  return text.trim().replace(/[|^~\\&]/g, (character) => ESCAPES[character] as string);
}
