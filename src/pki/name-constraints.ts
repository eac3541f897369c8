import type { Certificate } from './certificate.ts';
import type { NameConstraints } from './extensions.ts';
import { OTHER_NAME, type GeneralName } from './general-name.ts';
import { formatName } from './name.ts';
import type { Name } from './name.ts';

// A certificate may carry thousands of names and its issuer thousands of subtrees; their product is an attack.
const MAX_COMPARISONS = 250_000;

/**
 * Checks a path against the name constraints of its CAs, the trust anchor's included (RFC 5280 section 6.1.3 b and c,
 * section 4.2.1.10). `path` is leaf first. Returns what is wrong, or undefined.
 */
export function nameConstraintFault(path: readonly Certificate[]): string | undefined {
  const inForce: NameConstraints[] = [];
  const work = { left: MAX_COMPARISONS };
  for (let index = path.length - 1; index >= 0; index -= 1) {
    const certificate = path[index] as Certificate;
    const exempt = certificate.selfIssued && index > 0;
    if (inForce.length > 0 && !exempt) {
      const fault = certificateFault(certificate, inForce, work);
      if (fault !== undefined) return fault;
    }
    if (certificate.nameConstraints === undefined) continue;
    const fault = constraintFault(certificate.nameConstraints);
    if (fault !== undefined) return `${fault} (in ${formatName(certificate.subject)})`;
    inForce.push(certificate.nameConstraints);
  }
  return undefined;
}

/** A constraint that is not of the form section 4.2.1.10 gives cannot be honoured, so it is refused rather than guessed at. */
function constraintFault({ permitted, excluded }: NameConstraints): string | undefined {
  for (const { base } of [...permitted, ...excluded]) {
    const wellFormed = base.kind === 'dns' ? isHostOrEmpty(base.value)
      : base.kind === 'email' ? isMailboxConstraint(base.value)
      : base.kind === 'uri' ? isHostOrEmpty(base.value.replace(/^\./, ''))
      : base.kind === 'ip' ? isContiguousMask(base.bytes.subarray(base.bytes.length / 2))
      : true;
    if (!wellFormed) return `name constraint cannot be read: ${base.kind} ${'value' in base ? String(base.value) : ''}`;
  }
  return undefined;
}

function certificateFault(certificate: Certificate, inForce: readonly NameConstraints[], work: { left: number }): string | undefined {
  for (const name of namesOf(certificate)) {
    for (const { permitted, excluded } of inForce) {
      work.left -= permitted.length + excluded.length;
      if (work.left < 0) return 'name constraints: too many names and subtrees to compare';
      const fault = nameFault(name, permitted.map(({ base }) => base), excluded.map(({ base }) => base));
      if (fault !== undefined) return fault;
    }
  }
  return undefined;
}

function* namesOf({ subject, subjectAltNames }: Certificate): Generator<GeneralName> {
  if (subject.rdns.length > 0) yield { kind: 'directory', name: subject };
  // Section 4.2.1.10 asks it where there is no alternative name; we map identities from the subject, so always.
  for (const { oid, value } of subject.rdns.flat()) if (oid === EMAIL_ADDRESS) yield { kind: 'email', value };
  yield* subjectAltNames;
  // RFC 9598 section 6: the constraints on rfc822Name hold for mailboxes in UTF-8 too.
  for (const name of subjectAltNames) if (name.kind === 'other' && name.oid === OTHER_NAME.smtpUtf8Mailbox) yield { kind: 'email', value: name.text ?? '' };
}

const EMAIL_ADDRESS = '1.2.840.113549.1.9.1';

function nameFault(name: GeneralName, permitted: readonly GeneralName[], excluded: readonly GeneralName[]): string | undefined {
  const allowed = permitted.filter((base) => sameForm(base, name));
  const forbidden = excluded.filter((base) => sameForm(base, name));
  if (allowed.length === 0 && forbidden.length === 0) return undefined;
  const shown = describe(name);
  // "The application MUST either process the constraint or reject the certificate": these forms are rejected.
  if (!isProcessed(name)) return `name constraints on ${shown} are not supported`;
  const unreadable = nameSyntaxFault(name);
  if (unreadable !== undefined) return `${shown}: ${unreadable}, and its form is constrained`;
  if (forbidden.some((base) => overlaps(base, name))) return `${shown} is in an excluded subtree`;
  if (allowed.length > 0 && !allowed.some((base) => contains(base, name))) return `${shown} is outside the permitted subtrees`;
  return undefined;
}

function sameForm(base: GeneralName, name: GeneralName): boolean {
  if (base.kind !== name.kind) return false;
  if (base.kind === 'other' && name.kind === 'other') return base.oid === name.oid;
  if (base.kind === 'unsupported' && name.kind === 'unsupported') return base.tag === name.tag;
  return true;
}

function isProcessed(name: GeneralName): boolean {
  return name.kind === 'dns' || name.kind === 'email' || name.kind === 'uri' || name.kind === 'ip' || name.kind === 'directory';
}

function describe(name: GeneralName): string {
  if (name.kind === 'directory') return formatName(name.name);
  if (name.kind === 'other' || name.kind === 'rid') return `${name.kind} ${name.oid}`;
  return name.kind === 'unsupported' ? `name form ${name.tag}` : `${name.kind} ${name.value}`;
}

function nameSyntaxFault(name: GeneralName): string | undefined {
  if (name.kind === 'dns') return isHost(name.value.replace(/^\*\./, '')) ? undefined : 'not a host name';
  if (name.kind === 'email') return splitMailbox(name.value) === undefined ? 'not a mailbox' : undefined;
  if (name.kind === 'uri') return uriHost(name.value) === undefined ? 'has no host name' : undefined;
  return undefined;
}

/** Whether every name that `name` stands for is in the subtree of `base`; the two are of one form. */
function contains(base: GeneralName, name: GeneralName): boolean {
  if (base.kind === 'dns' && name.kind === 'dns') return inDomain(base.value, name.value.replace(/^\*\./, ''));
  if (base.kind === 'email' && name.kind === 'email') return mailboxMatches(base.value, name.value);
  if (base.kind === 'uri' && name.kind === 'uri') return hostMatches(base.value, uriHost(name.value) as string);
  if (base.kind === 'ip' && name.kind === 'ip') return inRange(base.bytes, name.bytes);
  if (base.kind === 'directory' && name.kind === 'directory') return inSubtree(base.name, name.name);
  return false;
}

/** Whether any name that `name` stands for is in the subtree: `*.example.test` overlaps `secret.example.test`. */
function overlaps(base: GeneralName, name: GeneralName): boolean {
  if (contains(base, name)) return true;
  if (base.kind !== 'dns' || name.kind !== 'dns' || !name.value.startsWith('*.')) return false;
  const parent = name.value.slice(1).toLowerCase();
  const excluded = base.value.toLowerCase();
  return excluded.endsWith(parent) && !excluded.slice(0, -parent.length).includes('.');
}

// "Any DNS name that can be constructed by simply adding zero or more labels to the left-hand side" is inside.
function inDomain(domain: string, host: string): boolean {
  const [base, name] = [domain.toLowerCase(), host.toLowerCase()];
  return base === '' || name === base || name.endsWith(`.${base}`);
}

// For URIs and mail hosts a leading period means subdomains only, and without one the host itself only.
function hostMatches(constraint: string, host: string): boolean {
  const [base, name] = [constraint.toLowerCase(), host.toLowerCase()];
  return base.startsWith('.') ? name.length > base.length && name.endsWith(base) : name === base;
}

function mailboxMatches(constraint: string, address: string): boolean {
  const { local, host } = splitMailbox(address) as Mailbox;
  const wanted = splitMailbox(constraint);
  if (wanted !== undefined) return wanted.local === local && wanted.host.toLowerCase() === host.toLowerCase();
  return hostMatches(constraint, host);
}

interface Mailbox {
  readonly local: string;
  readonly host: string;
}

/** RFC 5321 Mailbox, dot-string local parts only: quoted ones have several spellings, and no one issues them. */
function splitMailbox(address: string): Mailbox | undefined {
  const at = address.indexOf('@');
  const [local, host] = [address.slice(0, at), address.slice(at + 1)];
  return at > 0 && LOCAL_PART.test(local) && isHost(host) ? { local, host } : undefined;
}

// RFC 6531 section 3.3 adds what is beyond ASCII.
const LOCAL_PART = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u{80}-\u{10ffff}-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u{80}-\u{10ffff}-]+)*$/u;

function isMailboxConstraint(value: string): boolean {
  return value.includes('@') ? splitMailbox(value) !== undefined : isHost(value.replace(/^\./, ''));
}

const LABEL = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

function isHost(value: string): boolean {
  return value.length <= 253 && value.split('.').every((label) => LABEL.test(label));
}

function isHostOrEmpty(value: string): boolean {
  return value === '' || isHost(value);
}

// RFC 3986 section 3.2: scheme ":" "//" [ userinfo "@" ] host [ ":" port ]. An address instead of a name is no match.
const AUTHORITY = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#@:[\]]+)(?::\d*)?(?:[/?#]|$)/;

function uriHost(uri: string): string | undefined {
  const host = AUTHORITY.exec(uri)?.[1];
  return host !== undefined && isHost(host) && !/^\d+(?:\.\d+){3}$/.test(host) ? host : undefined;
}

function inRange(range: Uint8Array, address: Uint8Array): boolean {
  const half = range.length / 2;
  return address.length === half && address.every((octet, index) => ((octet ^ (range[index] as number)) & (range[half + index] as number)) === 0);
}

function isContiguousMask(mask: Uint8Array): boolean {
  const bits = [...mask].map((octet) => octet.toString(2).padStart(8, '0')).join('');
  return /^1*0*$/.test(bits);
}

function inSubtree(base: Name, name: Name): boolean {
  return base.normalizedRdns.length <= name.normalizedRdns.length && base.normalizedRdns.every((rdn, index) => rdn === name.normalizedRdns[index]);
}
