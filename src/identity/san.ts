import type { CertificateMatch } from '../config/schema.ts';
import type { Certificate, GeneralName } from '../pki/certificate.ts';
import { OTHER_NAME } from '../pki/general-name.ts';
import { formatName } from '../pki/name.ts';
import { leafOf, listed, type Condition, type Shown } from './condition.ts';
import { compileName, nameMiss, type NamePatterns } from './names.ts';
import { compilePattern, fitsPattern, type Comparison, type Pattern } from './patterns.ts';
import { isSpiffeUri, readSpiffeId } from './spiffe.ts';
import { vouchedDomain, type TrustDomains } from './authorities.ts';

export type SanMatch = NonNullable<CertificateMatch['san']>;

/** Kinds of alternative name that are matched as text, and how their values compare. */
export const SAN_TEXTS: Readonly<Record<'dns' | 'email' | 'uri' | 'ip' | 'upn' | 'registered_id', Comparison>> = {
  dns: 'caseless', email: 'caseless', uri: 'uri', ip: 'caseless', upn: 'caseless', registered_id: 'exact',
};

type SanText = keyof typeof SAN_TEXTS;

/** The conditions on alternative names, one for each kind that is named; every one must be met. */
export function sanConditions(san: SanMatch, domains: TrustDomains): readonly Condition[] {
  const { other, directory, hardware_module: hardware, permanent_identifier: permanent, spiffe, ...texts } = san;
  return [
    ...Object.entries(texts).map(([kind, patterns]) => textCondition(`san.${kind}`, compileAll(patterns, SAN_TEXTS[kind as SanText]), (leaf) => sanTexts(leaf, kind as SanText))),
    ...Object.entries(other ?? {}).map(([oid, patterns]) => textCondition(`san.other.${oid}`, compileAll(patterns, 'name'), (leaf) => otherTexts(leaf, oid))),
    ...(spiffe === undefined ? [] : [spiffeCondition(compileAll(spiffe, 'exact'), domains)]),
    ...(directory === undefined ? [] : [directoryCondition(compileName(directory))]),
    ...(hardware === undefined ? [] : [identifierCondition('hardware_module', OTHER_NAME.hardwareModuleName, hardware.type, compileAll(hardware.serial, 'caseless'))]),
    ...(permanent === undefined ? [] : [identifierCondition('permanent_identifier', OTHER_NAME.permanentIdentifier, permanent.assigner, compileAll(permanent.value, 'exact'))]),
  ];
}

function compileAll(patterns: readonly string[], comparison: Comparison): readonly Pattern[] {
  return patterns.map((pattern) => compilePattern(pattern, comparison));
}

function fitsOne(patterns: readonly Pattern[], value: string): boolean {
  return patterns.some((pattern) => fitsPattern(pattern, value));
}

function textCondition(what: string, patterns: readonly Pattern[], valuesOf: (leaf: Certificate) => readonly string[]): Condition {
  return (shown) => {
    const values = valuesOf(leafOf(shown));
    return values.some((value) => fitsOne(patterns, value)) ? undefined : `${what} is ${listed(values)}`;
  };
}

/** Type (or assigner) and value must be those of one name: the serial of one maker's hardware is not that of another's. */
function identifierCondition(kind: string, oid: string, within: string | undefined, patterns: readonly Pattern[]): Condition {
  return (shown) => {
    const names = leafOf(shown).subjectAltNames.filter((name) => name.kind === 'other' && name.oid === oid) as readonly OtherName[];
    const fits = names.some((name) => (within === undefined || name.within === within) && name.text !== undefined && fitsOne(patterns, name.text));
    return fits ? undefined : `san.${kind} is ${listed(names.map((name) => [name.within, name.text].filter((part) => part !== undefined).join(' ')))}`;
  };
}

type OtherName = Extract<GeneralName, { readonly kind: 'other' }>;

/** Every attribute must be met by the same name. */
function directoryCondition(wanted: NamePatterns): Condition {
  return (shown) => {
    const names = directoryNames(leafOf(shown));
    return names.some((name) => nameMiss(name, wanted) === undefined) ? undefined : `san.directory is ${listed(names.map(formatName))}`;
  };
}

function spiffeCondition(patterns: readonly Pattern[], domains: TrustDomains): Condition {
  return (shown) => {
    const reading = vouchedSpiffeId(shown, domains);
    if (reading.kind === 'refused') return `san.spiffe: ${reading.detail}`;
    return fitsOne(patterns, reading.id) ? undefined : `san.spiffe is ${listed([reading.id])}`;
  };
}

/** The SPIFFE id of a certificate, if a CA that is bound to its trust domain vouches for it. */
export function vouchedSpiffeId(shown: Shown, domains: TrustDomains): { readonly kind: 'id'; readonly id: string } | { readonly kind: 'refused'; readonly detail: string } {
  const reading = readSpiffeId(leafOf(shown));
  if (reading.kind === 'none') return { kind: 'refused', detail: 'absent' };
  if (reading.kind === 'invalid') return { kind: 'refused', detail: reading.detail };
  const { id, trustDomain } = reading.spiffe;
  const domain = vouchedDomain(shown.path, domains);
  if (domain === trustDomain) return { kind: 'id', id };
  return { kind: 'refused', detail: domain === undefined ? 'no CA on the path is bound to a trust domain' : `the CA vouches for the trust domain ${domain}, not for ${listed([trustDomain])}` };
}

export function directoryNames(leaf: Certificate): readonly Extract<GeneralName, { readonly kind: 'directory' }>['name'][] {
  return leaf.subjectAltNames.flatMap((name) => (name.kind === 'directory' ? [name.name] : []));
}

/** The texts of one kind. Of URIs those that claim to be SPIFFE ids are left out: what they say counts only where it was vouched for. */
export function sanTexts(leaf: Certificate, kind: SanText): readonly string[] {
  if (kind === 'upn') return otherTexts(leaf, OTHER_NAME.userPrincipalName);
  if (kind === 'email') return [...plainTexts(leaf, 'email'), ...otherTexts(leaf, OTHER_NAME.smtpUtf8Mailbox)];
  if (kind === 'registered_id') return leaf.subjectAltNames.flatMap((name) => (name.kind === 'rid' ? [name.oid] : []));
  if (kind === 'uri') return plainTexts(leaf, 'uri').filter((uri) => !isSpiffeUri(uri));
  return plainTexts(leaf, kind);
}

function plainTexts(leaf: Certificate, kind: 'dns' | 'email' | 'uri' | 'ip'): readonly string[] {
  return leaf.subjectAltNames.flatMap((name) => (name.kind === kind ? [name.value] : []));
}

/** The texts of otherNames of one type. */
export function otherTexts(leaf: Certificate, oid: string): readonly string[] {
  return leaf.subjectAltNames.flatMap((name) => (name.kind === 'other' && name.oid === oid && name.text !== undefined ? [name.text] : []));
}
