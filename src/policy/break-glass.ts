import type { BreakGlassConfig } from '../config/schema.ts';

/**
 * What an emergency may break. Never broken: revocation, the need of a certificate and of a role, CAs and certificate policies, the
 * registration of a device, whose patient somebody is, what is suspended, limits, second factors.
 */
export type Breakable = 'role' | 'networks' | 'hours';

/** What a route lets be broken, and by whom. */
export interface GlassRule {
  readonly roles: ReadonlySet<string>;
  readonly reasons: ReadonlySet<string>;
  /** Milliseconds that a grant lasts. */
  readonly lasts: number;
  readonly patient: 'required' | 'optional';
  readonly breaks: ReadonlySet<Breakable>;
  /** It is that of the page on which emergencies are declared: what is broken of it is judged there, by the rule of the route that is meant. */
  readonly page?: true;
}

/** What a client says of its emergency. */
export interface Plea {
  readonly reason: string;
  readonly text: string;
  readonly patient?: string;
}

export type PleaReading =
  | { readonly kind: 'none' }
  | { readonly kind: 'plea'; readonly plea: Plea }
  | { readonly kind: 'malformed'; readonly detail: string };

/** Which grant a request needs; with a plea it may be opened. */
export interface GrantQuestion {
  readonly route: string;
  /** Milliseconds. */
  readonly lasts: number;
  readonly breaks: readonly Breakable[];
  readonly plea?: Plea;
  /** Whom the request concerns. */
  readonly patient?: string;
  /** It names nobody, and the route leaves that open: it concerns whom its client has named on the gateway's page, if that is one. */
  readonly unnamed?: true;
}

/** A grant that is open. */
export interface OpenGrant extends Plea {
  readonly id: string;
  readonly route: string;
  /** All that may be broken under it. */
  readonly breaks: readonly Breakable[];
  /** Milliseconds since the epoch. */
  readonly until: number;
}

export type GrantFinding =
  | { readonly kind: 'none' }
  | { readonly kind: 'open'; readonly grant: OpenGrant }
  | { readonly kind: 'refused'; readonly detail: string };

/** The header fields of a plea, in lower case; they end at the gateway. */
const PLEA_FIELDS = { reason: 'wardgate-emergency-reason', text: 'wardgate-emergency-text', patient: 'wardgate-emergency-patient' } as const;

const LONGEST = { reason: 63, text: 500, patient: 200 } as const;

/** Makes the rule of a route ready. */
export function compileGlass({ roles, reasons, for: lasts, patient, breaks }: BreakGlassConfig): GlassRule {
  return { roles: new Set(roles), reasons: new Set(reasons), lasts, patient, breaks: new Set(breaks) };
}

/**
 * What the header fields (name, value, name, value…, as received) say of an emergency. Values are visible ASCII; anything else, and
 * "%", is percent-encoded UTF-8, since field values are no Unicode (RFC 9110 section 5.5).
 */
export function readPlea(fields: readonly string[], { reasons }: GlassRule): PleaReading {
  const said: { -readonly [Name in keyof Plea]?: string } = {};
  for (const name of ['reason', 'text', 'patient'] as const) {
    const values = valuesOf(fields, PLEA_FIELDS[name]);
    if (values.length === 0) continue;
    const value = values.length === 1 ? readSaid(name, decoded(values[0] as string)) : undefined;
    if (value === undefined) return { kind: 'malformed', detail: `${PLEA_FIELDS[name]} is not to be read` };
    said[name] = value;
  }
  const { reason, text, patient } = said;
  if (reason === undefined && text === undefined && patient === undefined) return { kind: 'none' };
  if (reason === undefined || text === undefined) return { kind: 'malformed', detail: `${reason === undefined ? PLEA_FIELDS.reason : PLEA_FIELDS.text} is missing` };
  if (!reasons.has(reason)) return { kind: 'malformed', detail: `no reason named ${JSON.stringify(reason)}` };
  return { kind: 'plea', plea: { reason, text, ...(patient === undefined ? {} : { patient }) } };
}

/** The patient that the header fields name, where they say of an emergency what they must. */
export function patientOfPlea(fields: readonly string[], rule: GlassRule): string | undefined {
  const reading = readPlea(fields, rule);
  return reading.kind === 'plea' ? reading.plea.patient : undefined;
}

function valuesOf(fields: readonly string[], wanted: string): readonly string[] {
  const values: string[] = [];
  for (let index = 0; index < fields.length; index += 2) if ((fields[index] as string).toLowerCase() === wanted) values.push((fields[index + 1] as string).trim());
  return values;
}

// Controls, and what turns the direction of text around: whoever reviews must see what was said.
// eslint-disable-next-line no-control-regex
const DISGUISES = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

/** What is not seen at all: in a patient's name it makes one look like another. In sentences of some languages it has its place. */
const UNSEEN = /\p{Default_Ignorable_Code_Point}/u;

/** What somebody says of an emergency, as it is kept; undefined where it is not to be read: empty, too long, or disguised. */
export function readSaid(name: keyof Plea, said: string | undefined): string | undefined {
  // Before it is made one form: that may make it many times as long.
  if (said === undefined || said.length > 2 * LONGEST[name]) return undefined;
  const text = said.normalize('NFC').trim();
  return text === '' || text.length > LONGEST[name] || DISGUISES.test(text) || (name === 'patient' && UNSEEN.test(text)) ? undefined : text;
}

function decoded(value: string): string | undefined {
  if (!/^[ -~]+$/.test(value)) return undefined;
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

export type GrantNeed =
  | { readonly kind: 'ask'; readonly question: GrantQuestion }
  /** No grant can be meant: `detail` says why, for the record; absent where nothing was said of an emergency. */
  | { readonly kind: 'none'; readonly detail?: string };

/**
 * Which grant a request needs that breaks something of a route. `named`: the patient it concerns, where the route says how that is told.
 * Where a patient must be named and the route cannot tell whom a request concerns, every request has to say so, unless it has been said on
 * the gateway's page. `silent`: a request may leave that open.
 */
export function grantNeeded(rule: GlassRule, route: string, breaks: readonly Breakable[], fields: readonly string[], named: string | undefined, silent = false): GrantNeed {
  const reading = readPlea(fields, rule);
  if (reading.kind === 'malformed') return { kind: 'none', detail: reading.detail };
  const plea = reading.kind === 'plea' ? reading.plea : undefined;
  const patient = named ?? plea?.patient;
  if (plea?.patient !== undefined && plea.patient !== patient) return { kind: 'none', detail: `${PLEA_FIELDS.patient} is not the patient that the request concerns` };
  const unnamed = silent && plea === undefined && patient === undefined;
  if (patient === undefined && rule.patient === 'required' && !unnamed) return plea === undefined ? { kind: 'none' } : { kind: 'none', detail: `${PLEA_FIELDS.patient} is missing` };
  return { kind: 'ask', question: { route, lasts: rule.lasts, breaks, ...(plea === undefined ? {} : { plea }), ...(patient === undefined ? {} : { patient }), ...(unnamed ? { unnamed } : {}) } };
}
