import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { domainToUnicode } from 'node:url';
import { formatName, parseNameText } from '../pki/name.ts';
import { holdsControl, isProhibited } from '../pki/preparation.ts';
import { matchesText } from '../identity/patterns.ts';
import { digestOf } from './canonical.ts';
import { readCsr } from './csr.ts';
import { spkiOf } from './keys.ts';
import { longestValidity } from './limits.ts';
import type { Subject } from './names.ts';
import type { AskedKey, AskedNames, RequestBody, RequestOrder } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import { profileOf, sensitivity, type CaPolicy, type Profile } from './policy.ts';

const DAY_MS = 86_400_000;

/** What an order asks for, completed by the policy. Throws an OfficeError for what nobody may be given, whoever approves. */
export function bodyOf(policy: CaPolicy, order: RequestOrder, { id, now, renews }: { readonly id: string; readonly now: number; readonly renews?: string }): RequestBody {
  const profile = profileOf(policy, order.profile);
  const name = nameOf('name', order.name, 64);
  if (profile.use !== 'server' && name.includes('*')) throw new OfficeError('invalid', `name: ${JSON.stringify(name)} holds a *; only names of servers may`);
  const identifier = order.id === undefined ? undefined : nameOf('id', order.id, 200);
  const names = namesOf(profile, name, identifier, order.names ?? {});
  const purpose = textOf('purpose', order.purpose, 1_000);
  const system = textOf('system', order.system, 200);
  if (policy.systems.length > 0 && !policy.systems.includes(system)) throw new OfficeError('invalid', `system: there is no business system ${JSON.stringify(system)}; there are ${policy.systems.join(', ')}`);
  const sensitive = sensitivity(policy, allNames({ name, names, ...(identifier === undefined ? {} : { identifier }) }));
  const mixed = (names.dns ?? []).find((one) => ALIKE.test(domainToUnicode(one)));
  if (mixed !== undefined) throw new OfficeError('invalid', `dns: ${JSON.stringify(mixed)} mixes alphabets in one word`);
  return {
    id, submitted: new Date(now).toISOString(), profile: order.profile, name, ...(identifier === undefined ? {} : { identifier }), names,
    subject: formatName(parseNameText(subjectText(subjectOf(profile, name)))), key: keyOf(order.key), applicant: applicantOf(order), purpose, system,
    validity: validityOf(profile, order.validity), ...(renews === undefined ? {} : { renews }), ...(order.temporary === true ? { temporary: true as const } : {}),
    ...(sensitive === undefined ? {} : { sensitive }),
  };
}

/** Every name of a request, as people and programs may read it. */
export function allNames({ name, identifier, names }: Pick<RequestBody, 'name' | 'identifier' | 'names'>): readonly string[] {
  const dns = [name, ...names.dns ?? []].map((one) => domainToUnicode(one)).filter((one) => one !== '');
  return [name, ...(identifier === undefined ? [] : [identifier]), ...(Object.values(names) as readonly string[][]).flat(), ...dns];
}

/** The subject of a profile for a name, the most specific first. */
export function subjectOf({ subject }: Profile, name: string): Subject {
  return [['CN', name], ...(['OU', 'O', 'L', 'ST', 'C', 'DC'] as const).flatMap((type) => (subject[type] === undefined ? [] : [[type, subject[type]] as const]))];
}

function subjectText(subject: Subject): string {
  return (subject as readonly (readonly [string, string])[]).map(([type, value]) => `${type}=${value.replace(/[\\"+,;<>=#]/g, '\\$&').replace(/^ | $/g, '\\ ')}`).join(',');
}

/** What ends a line, and what turns the direction of reading: on an approver's screen another text would stand there. */
const DECEIVING = /[\t-\r\u{85}\u{2028}\u{2029}\p{Bidi_Control}]/u;
/** Scripts with letters that look like Latin ones; a word of both is read as what it is not. */
const ALIKE = /\p{Script=Latin}[\p{M}\p{N}'-]*[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}\p{Script=Coptic}\p{Script=Lisu}]|[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}\p{Script=Coptic}\p{Script=Lisu}][\p{M}\p{N}'-]*\p{Script=Latin}/u;

/** A name in a certificate. */
function nameOf(what: string, text: string, longest: number): string {
  const name = textOf(what, text, longest);
  if (ALIKE.test(name.normalize('NFKC'))) throw new OfficeError('invalid', `${what}: ${JSON.stringify(name)} mixes alphabets in one word`);
  return name;
}

function textOf(what: string, text: string, longest: number): string {
  const trimmed = text.trim();
  if (trimmed === '' || trimmed.length > longest) throw new OfficeError('invalid', `${what}: expected 1 to ${longest} characters`);
  if (holdsControl(trimmed) || DECEIVING.test(trimmed)) throw new OfficeError('invalid', `${what}: holds control characters`);
  // Such a name matches no pattern, not even that of a sensitive one.
  if (isProhibited(trimmed)) throw new OfficeError('invalid', `${what}: holds characters that mean nothing to anybody (private use, unassigned, or half of one)`);
  return trimmed;
}

type Kind = keyof AskedNames;
const HOST = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;

const WELL_FORMED: Readonly<Record<Kind, (value: string) => boolean>> = {
  dns: (value) => value.length <= 253 && HOST.test(value.replace(/^\*\.(?=[^.]+\.)/, '')) && isIP(value) === 0,
  uri: (value) => /^[a-z][a-z0-9+.-]*:[!-)+-~]+$/i.test(value),
  email: (value) => /^[!-)+-?A-~]+@/.test(value) && HOST.test(value.slice(value.indexOf('@') + 1)),
  ip: (value) => isIP(value) !== 0 && !value.includes('%') && !(value.includes(':') && value.includes('.')),
};

function namesOf(profile: Profile, name: string, id: string | undefined, asked: AskedNames): AskedNames {
  const given = Object.entries(profile.san) as [keyof Profile['san'], string][];
  const filled = given.map(([kind, template]) => [kind, template.replace(/\{(name|id)\}/g, (_, what: string) => {
    if (what === 'id' && id === undefined) throw new OfficeError('invalid', `id: the profile needs one, for its ${kind} name ${JSON.stringify(template)}`);
    return what === 'id' ? id as string : name;
  })] as const);
  const wanted = (Object.entries(asked) as [Kind, readonly string[]][]).flatMap(([kind, values]) => values.map((value) => [kind, value.trim()] as const));
  for (const [kind, value] of [...filled, ...wanted]) {
    if (!WELL_FORMED[kind](value)) throw new OfficeError('invalid', `${kind}: ${JSON.stringify(value)} is no name of this kind`);
    if (value.includes('*') && profile.use !== 'server') throw new OfficeError('invalid', `${kind}: ${JSON.stringify(value)} holds a *; only names of servers may`);
  }
  // What the profile itself gives to clients is bound by its template; a server's name is whatever was asked for.
  for (const [kind, value] of profile.use === 'server' ? [...filled, ...wanted] : wanted) {
    if (!profile.names[kind].some((pattern) => matchesText(pattern, value))) throw new OfficeError('invalid', `${kind}: ${JSON.stringify(value)} may not be asked for; expected one of ${profile.names[kind].join(', ') || 'none'}`);
  }
  const kinds = (['dns', 'uri', 'email', 'ip'] as const).map((kind) => [kind, [...new Set([...filled, ...wanted].flatMap(([one, value]) => (one === kind ? [value] : [])))]] as const);
  return Object.fromEntries(kinds.filter(([, values]) => values.length > 0));
}

function keyOf(key: AskedKey): RequestBody['key'] {
  if (key.kind === 'made') return { kind: 'made', type: key.type ?? 'ec' };
  if (key.kind === 'code') return { kind: 'code', code_sha256: key.sha256, expires: new Date(key.expires).toISOString() };
  const { spki } = readCsr(key.csr);
  return { kind: 'csr', spki: spki.toString('base64'), spki_sha256: digestOf(spki) };
}

function applicantOf({ applicant }: RequestOrder): RequestBody['applicant'] {
  const name = textOf('applicant', applicant.name, 200);
  const typed = {
    ...(applicant.typedBy === undefined ? {} : { typed_by: textOf('who', applicant.typedBy, 200) }), ...(applicant.login === undefined ? {} : { login: textOf('login', applicant.login, 200) }),
  };
  if (applicant.certificate === undefined) return { name, ...typed };
  try {
    const { raw, publicKey } = new X509Certificate(applicant.certificate);
    return { name, fingerprint: digestOf(raw), key: digestOf(spkiOf(publicKey)), ...typed };
  } catch (error) {
    throw new OfficeError('invalid', 'the certificate of the applicant cannot be read', { cause: error });
  }
}

function validityOf(profile: Profile, asked: number | undefined): number {
  const validity = asked ?? profile.validity;
  const longest = Math.min(profile.longest, longestValidity.leaf);
  if (!(validity >= 3_600_000)) throw new OfficeError('invalid', 'validity: expected an hour or more');
  if (validity > longest) throw new OfficeError('invalid', `validity: ${Math.ceil(validity / DAY_MS)} days; expected at most ${longest / DAY_MS}${longest === longestValidity.leaf ? ', which is two years' : ' in this profile'}`);
  return validity;
}
