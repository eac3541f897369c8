import { randomBytes } from 'node:crypto';
import type { X509Certificate } from 'node:crypto';
import { prepareText } from '../pki/preparation.ts';
import { readApproval, type SignedApproval } from './approval.ts';
import { allNames, bodyOf } from './asked.ts';
import { canonical, digestOf } from './canonical.ts';
import type { Reason } from './extensions.ts';
import { spkiOf } from './keys.ts';
import { record, requestRow, rowOf, step, type Ground, type RequestRow } from './ground.ts';
import { LIVE, type State } from './life.ts';
import type { By, CaRequest, Renewal, RequestBody, RequestOrder } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import { profileOf, sensitivity, type CaPolicy } from './policy.ts';
import { stateAfter } from './taken-back.ts';
import { isIssuedFor, refuseUnacceptedPolicy, sealedEvents } from './proof.ts';

/** Who approves, and in which role. */
interface Approver {
  readonly by: string;
  readonly role: string;
  readonly fingerprint: string;
  /** SHA-256 of the public key. */
  readonly key: string;
}

/** An approval as the log has it; a ceremony's and that of an automatic renewal are nobody's. */
interface Approval extends Approver {
  readonly time: string;
  readonly signed: SignedApproval;
}

/** Puts a request on record. */
export function submit(ground: Ground, order: RequestOrder): CaRequest {
  return admit(ground, bodyOf(ground.policy, order, { id: newId(), now: ground.now() }), order.applicant.name);
}

function newId(): string {
  return `r-${randomBytes(5).toString('hex')}`;
}

function admit(ground: Ground, body: RequestBody, who: string, approved?: NonNullable<By['why']>): CaRequest {
  const { ledger } = ground;
  const text = canonical({ ...body });
  const digest = digestOf(text);
  return ledger.change(() => {
    if (body.key.kind === 'csr') refuseKnownKey(ground, body.key.spki_sha256);
    const spki = body.key.kind === 'csr' ? body.key.spki_sha256 : null;
    ledger.database.prepare("INSERT INTO request (id, state, spki, body) VALUES (?, 'requested', ?, ?)").run(body.id, spki, canonical({ ...body, digest }));
    record(ground, 'submit', { who, why: body.purpose, request: body.id, detail: { digest, subject: body.subject, names: (Object.values(body.names) as string[][]).flat(), profile: body.profile, system: body.system, ...(body.renews === undefined ? {} : { renews: body.renews }) } });
    if (approved !== undefined) step(ground, body.id, 'approve', { who, why: approved, detail: { automatic: true, digest, policy: ground.policyDigest } });
    return requestOf(ground, requestRow(ground, body.id));
  });
}

/** NIST SP 800-57 part 1 section 5.2: one key, one purpose; and whoever asks twice with one key may be two people who share it. */
export function refuseKnownKey({ ledger: { database } }: Ground, spki: string): void {
  const known = database.prepare('SELECT serial AS at FROM certificate WHERE spki = ? UNION ALL SELECT id FROM request WHERE spki = ? UNION ALL SELECT generation FROM issuer WHERE spki = ?').get(spki, spki, spki);
  if (known !== undefined) throw new OfficeError('key_reused', `the public key is already that of ${String(known['at'])}; every request needs a new key`);
}

/** Asks for the successor of a certificate; one that needs nobody's approval is approved at once. */
export function renew(ground: Ground, id: string, renewal: Renewal): CaRequest {
  ground.takenBack();
  return ground.ledger.change(() => askAgain(ground, id, renewal));
}

function askAgain(ground: Ground, id: string, renewal: Renewal): CaRequest {
  const { ledger, policy, now } = ground;
  const oldRow = requestRow(ground, id);
  const { body: old, state: written } = oldRow;
  const row = ledger.database.prepare('SELECT serial, sha256, not_after FROM certificate WHERE request = ?').get(old.id);
  const state = row === undefined ? written : stateAfter(written, LIVE, ground.takenBack().get(row['serial'] as string)?.revoked);
  if (row === undefined || (state !== 'delivered' && state !== 'confirmed')) {
    throw new OfficeError('step', `${id}: renewal is not possible: it is ${state}; ${LIVE.has(state) || state === 'requested' || state === 'approved' || state === 'issuing' ? 'it has to be delivered first' : 'a new request is needed'}`);
  }
  if (Number(row['not_after']) <= now()) throw new OfficeError('step', `${id}: renewal is not possible: it is expired; a new request is needed`);
  const serial = row['serial'] as string;
  const pending = ledger.database.prepare("SELECT id, body FROM request WHERE state IN ('requested', 'approved', 'issuing', 'issued', 'delivered') AND json_extract(body, '$.renews') = ?").get(serial);
  if (pending !== undefined) throw new OfficeError('step', `${id}: renewal is not possible: ${String(pending['id'])} renews it already`);
  const profile = profileOf(policy, old.profile);
  const validity = renewal.validity ?? Math.min(old.temporary === true ? profile.validity : old.validity, profile.longest);
  const order: RequestOrder = {
    profile: old.profile, name: old.name, ...(old.identifier === undefined ? {} : { id: old.identifier }), names: old.names, key: renewal.key ?? { kind: 'made' }, applicant: renewal.applicant,
    purpose: renewal.purpose ?? old.purpose, system: old.system, validity,
  };
  const body = bodyOf({ ...policy, profiles: { ...policy.profiles, [old.profile]: { ...profile, names: allowing(old) } } }, order, { id: newId(), now: now(), renews: serial });
  if (body.subject !== old.subject) throw new OfficeError('invalid', `${id}: the profile has another subject by now (${body.subject}); a new request is needed`);
  // Nobody has agreed to more than there was: neither to a longer life or other names nor to a regular certificate in the place of a temporary one.
  const automatic = profile.renewal === 'automatic' && renewal.authenticated === row['sha256'] && body.sensitive === undefined && old.temporary !== true && body.validity <= old.validity
    && canonical(body.names) === canonical(old.names) && ground.sealer() !== undefined;
  // What the database says was agreed to then, only the seal of the issuing key proves.
  if (automatic && !isIssuedFor(ground, oldRow, row['sha256'] as string)) throw new OfficeError('tampered', `${id}: the request of the certificate is not the one that it was issued for`);
  return admit(ground, body, renewal.applicant.name, automatic ? `renewal with the old certificate ${serial}` : undefined);
}

/** The names that were agreed to before; patterns hold no others than these then. */
function allowing({ names }: RequestBody): { dns: string[]; uri: string[]; email: string[]; ip: string[] } {
  const { dns = [], uri = [], email = [], ip = [] } = names;
  return { dns: [...dns], uri: [...uri], email: [...email], ip: [...ip] };
}

/** Takes a signed approval; the last that is needed makes the request approved. */
export function approve(ground: Ground, id: string, signed: SignedApproval, login?: string): CaRequest {
  return ground.ledger.change(() => {
    const row = requestRow(ground, id);
    const request = requestOf(ground, row);
    if (row.state !== 'requested') step(ground, request.id, 'approve', { who: 'nobody' });
    // What an approver is shown is the request; what is issued is judged by its digest.
    if (digestOf(canonical({ ...row.body })) !== row.digest) throw new OfficeError('tampered', `${request.id}: the request is not what was submitted`);
    refuseSameLogin(ground.policy, request, login);
    refuseRenewalOfRevoked(ground, row.body);
    const { x509, fingerprint, statement } = readApproval(request, signed, ground.now(), true);
    const approver = approverOf(ground, { fingerprint, x509, at: ground.now(), states: IN_USE });
    const before = approvalsOf(ground, row);
    refuseUnfit(ground, request, approver, before);
    const missing = missingOf(ground, request, [...before, approver]);
    step(ground, request.id, missing.length === 0 ? 'approve' : 'agree', {
      who: approver.by, ...(statement.note === undefined ? {} : { why: statement.note }),
      detail: { digest: row.digest, policy: ground.policyDigest, role: approver.role, fingerprint, key: approver.key, ...(login === undefined ? {} : { login }), signed: { ...signed } },
    });
    return requestOf(ground, requestRow(ground, id));
  });
}

/** While a CA is being made there is nobody yet who could sign: whoever makes it approves, on record as that, and never again. */
export function approveAtCeremony(ground: Ground, id: string, by: By): CaRequest {
  return ground.ledger.change(() => {
    if (isFounded(ground)) throw new OfficeError('not_authorized', 'the ceremony is over');
    step(ground, id, 'approve', { ...by, detail: { ceremony: true, digest: requestRow(ground, id).digest, policy: ground.policyDigest } });
    return requestOf(ground, requestRow(ground, id));
  });
}

function isFounded({ ledger }: Ground): boolean {
  return ledger.database.prepare("SELECT seq FROM event WHERE json_extract(line, '$.step') = 'init'").get() !== undefined;
}

/** Throws when somebody may not approve a request: by the role, or as one who has asked or approved already. */
function refuseUnfit({ policy }: Pick<Ground, 'policy'>, request: CaRequest, approver: Approver, before: readonly Approver[]): void {
  refuseSameEyes(request, approver, before);
  const sensitive = sensitiveOf(policy, request);
  const roles = [...profileOf(policy, request.profile).approvers, ...(sensitive === undefined ? [] : [sensitive.role])];
  if (!roles.includes(approver.role)) throw new OfficeError('not_authorized', `${approver.by} is ${approver.role}; ${request.profile} is approved by ${roles.join(' or ')}`);
}

/** By the policy of today as well: a name may have become sensitive since it was asked for. */
function sensitiveOf(policy: CaPolicy, body: RequestBody): RequestBody['sensitive'] {
  return body.sensitive ?? sensitivity(policy, allNames(body));
}

/** Where the policy has it so. What came over EST was typed by nobody. */
function refuseSameLogin({ separate_logins: separate }: CaPolicy, { id, applicant }: CaRequest, login: string | undefined): void {
  if (!separate || applicant.login === undefined || (login !== undefined && login !== applicant.login)) return;
  throw new OfficeError('not_authorized', `${id}: was typed by somebody logged in as ${applicant.login}${login === undefined ? ', and who approves is not known to have another login' : ', and is approved from the same login'}; the policy has separate_logins`);
}

/** Two people are not one with two certificates, two names or one key. */
function refuseSameEyes({ applicant, key, name, id }: CaRequest, approver: Approver, before: readonly Approver[]): void {
  const same = (one: string, other: string): boolean => prepareText(one) === prepareText(other);
  if (applicant.fingerprint === approver.fingerprint || applicant.key === approver.key || [applicant.name, applicant.typed_by, applicant.login].some((one) => one !== undefined && same(one, approver.by))) {
    throw new OfficeError('not_authorized', `${approver.by} has asked for ${id}; somebody else has to approve it`);
  }
  if (same(name, approver.by) || (key.kind === 'csr' && key.spki_sha256 === approver.key)) throw new OfficeError('not_authorized', `${id} is for ${approver.by}; somebody else has to approve it`);
  if (before.some((one) => one.fingerprint === approver.fingerprint || one.key === approver.key || same(one.by, approver.by))) {
    throw new OfficeError('not_authorized', `${approver.by} has approved ${id} already; somebody else has to as well`);
  }
}

/** States of a certificate with which somebody approves; and those that it may have come to since. */
const IN_USE: ReadonlySet<State> = new Set<State>(['delivered', 'confirmed']);
const SINCE: ReadonlySet<State> = new Set<State>([...IN_USE, 'superseded', 'revoked', 'expired', 'destroyed']);

interface Shown {
  readonly fingerprint: string;
  readonly x509: Pick<X509Certificate, 'publicKey' | 'validFromDate' | 'validToDate' | 'subject'>;
  /** When somebody approved with it; ms. */
  readonly at: number;
  readonly states: ReadonlySet<State>;
}

/** Who a certificate makes an approver. Throws an OfficeError when it makes nobody one, or does not any more. */
function approverOf({ ledger: { database }, policy }: Ground, { fingerprint, x509, at, states }: Shown): Approver {
  const key = digestOf(spkiOf(x509.publicKey));
  if (at < x509.validFromDate.getTime() || at >= x509.validToDate.getTime()) throw new OfficeError('not_authorized', 'the certificate of the approver is not valid now');
  const own = database.prepare('SELECT r.state AS state, r.body AS body, c.revoked_at AS revoked_at FROM certificate c JOIN request r ON r.id = c.request WHERE c.sha256 = ?').get(fingerprint);
  if (own !== undefined) {
    const { state, body } = rowOf(own);
    // One that is on its way may be in anybody's hands.
    if (!states.has(state)) throw new OfficeError('not_authorized', `the certificate of the approver is ${state}`);
    return { by: body.name, role: profileOf(policy, body.profile).role ?? body.profile, fingerprint, key };
  }
  const pinned = policy.approvers.find((one) => one.fingerprint === fingerprint);
  if (pinned === undefined) throw new OfficeError('not_authorized', `the certificate ${fingerprint} is that of no approver: neither issued by this CA nor in approvers of its policy`);
  return { by: /^CN=(.+)$/m.exec(x509.subject)?.[1] ?? fingerprint, role: pinned.role, fingerprint, key };
}

/** The approvals on record. */
function approvalsOf({ ledger }: Ground, { body }: RequestRow): readonly Approval[] {
  return ledger.events(body.id).flatMap(({ step: what, who, time, detail }) => {
    const { role, fingerprint, key, signed } = detail as { role?: string; fingerprint?: string; key?: string; signed?: SignedApproval };
    return (what !== 'approve' && what !== 'agree') || role === undefined || fingerprint === undefined || key === undefined || signed === undefined ? [] : [{ by: who, role, fingerprint, key, time, signed }];
  });
}

function missingOf({ policy }: Ground, request: CaRequest, approvals: readonly Pick<Approver, 'role'>[]): readonly string[] {
  const { profile: name } = request;
  const sensitive = sensitiveOf(policy, request);
  if (!Object.hasOwn(policy.profiles, name)) return [`the profile ${name}, which the policy has no more,`];
  const { approvers, approvals: wanted } = profileOf(policy, name);
  // Whoever agrees to the sensitive name alone has not agreed to the certificate.
  const lacking = wanted - approvals.filter(({ role }) => approvers.includes(role)).length;
  return [
    ...(lacking <= 0 ? [] : [`${lacking === 1 ? 'an approval' : `${lacking} approvals`} by ${approvers.join(' or ')}`]),
    ...(sensitive === undefined || approvals.some(({ role }) => role === sensitive.role) ? [] : [`an approval by ${sensitive.role}, as ${JSON.stringify(sensitive.name)} is a sensitive name`]),
  ];
}

export function refuse(ground: Ground, id: string, by: By & { readonly why: string }): CaRequest {
  return ground.ledger.change(() => {
    const { body } = requestRow(ground, id);
    step(ground, body.id, 'refuse', by);
    return requestOf(ground, requestRow(ground, body.id));
  });
}

/**
 * Looks once more, before anything is signed, at what was agreed to, and believes nothing that somebody could have written who has the database and not the passphrase:
 * each approval is one of this request, by somebody whose certificate this CA has issued, or an accepted policy names, and was not revoked since; what nobody
 * signed for has the seal of the issuing key; and by the policy of today they are enough. Throws an OfficeError.
 */
export function refuseUnapproved(ground: Ground, row: RequestRow): void {
  if (digestOf(canonical({ ...row.body })) !== row.digest) throw new OfficeError('tampered', `${row.body.id}: the request is not what was submitted`);
  const events = ground.ledger.events(row.body.id);
  const submitted = events.find(({ step: what }) => what === 'submit');
  if (submitted?.detail['digest'] !== row.digest) throw new OfficeError('tampered', `${row.body.id}: the request is not what the event log has`);
  const last = events.findLast(({ step: what }) => what === 'approve');
  const sealed = sealedEvents(ground, ['approve'], row.body.id).some(({ hash, detail }) => hash === last?.hash && detail['digest'] === row.digest);
  if (last?.detail['ceremony'] === true && sealed && !isFounded(ground)) return;
  refuseUnacceptedPolicy(ground);
  const request = requestOf(ground, row);
  if (last?.detail['automatic'] === true && row.body.renews !== undefined) {
    if (!sealed) throw new OfficeError('tampered', `${row.body.id}: the renewal was approved by nobody, and the issuing key has not signed for it`);
    return refuseLostGround(ground, row.body.id, row.body.profile, row.body.renews);
  }
  refuseRenewalOfRevoked(ground, row.body);
  const approvals = approvalsOf(ground, row);
  const judged: Approver[] = [];
  for (const { signed, by } of approvals) {
    const { fingerprint, x509, statement } = readApproval(request, signed, ground.now(), false);
    const revoked = revocationOf(ground, fingerprint, x509.serialNumber);
    if (revoked !== undefined && revoked !== 'superseded') throw new OfficeError('not_authorized', `${row.body.id}: the certificate of ${by} was revoked since ${by} approved it (${revoked}); refuse it, and have it asked for again`);
    const approver = approverOf(ground, { fingerprint, x509, at: Date.parse(statement.time), states: SINCE });
    refuseUnprovenApprover(ground, row.body.id, approver);
    refuseUnfit(ground, request, approver, judged);
    judged.push(approver);
  }
  const missing = missingOf(ground, request, judged);
  if (missing.length > 0) throw new OfficeError('not_authorized', `${row.body.id}: ${missing.join(' and ')} is missing`);
}

/** Why an approver's certificate was revoked, by the database or by the event log. */
function revocationOf(ground: Ground, fingerprint: string, serial: string): Reason | undefined {
  const own = ground.ledger.database.prepare('SELECT reason FROM certificate WHERE sha256 = ?').get(fingerprint);
  // Serial numbers of other CAs are other certificates'.
  return own === undefined ? undefined : reasonOf(ground, serial.toLowerCase());
}

/** A row of the database makes nobody an approver: this CA has issued the certificate, for the request that is there. Those whom the policy pins are in what was accepted. */
function refuseUnprovenApprover(ground: Ground, id: string, { by, fingerprint }: Approver): void {
  const own = ground.ledger.database.prepare('SELECT r.id AS id, r.state AS state, r.body AS body FROM certificate c JOIN request r ON r.id = c.request WHERE c.sha256 = ?').get(fingerprint);
  if (own !== undefined && !isIssuedFor(ground, rowOf(own), fingerprint)) throw new OfficeError('tampered', `${id}: the certificate of ${by}, who approved it, is none that this CA has issued for what the database says`);
}

/** What made a renewal automatic has to hold still: the policy, and the old certificate. */
function refuseLostGround(ground: Ground, id: string, profile: string, renews: string): void {
  if (profileOf(ground.policy, profile).renewal !== 'automatic') throw new OfficeError('not_authorized', `${id}: the policy has renewals of ${profile} approved by now; refuse it, and have it asked for again`);
  if (reasonOf(ground, renews) !== undefined) throw new OfficeError('not_authorized', `${id}: the certificate ${renews}, with which the renewal was asked for, was revoked since`);
}

/** Why the certificate with a serial number was revoked, by the database or by the event log; undefined when it was not. */
function reasonOf({ ledger: { database }, takenBack }: Ground, serial: string): Reason | undefined {
  return database.prepare('SELECT reason FROM certificate WHERE serial = ?').get(serial)?.['reason'] as Reason | null ?? takenBack().get(serial)?.revoked?.reason;
}

/** Of what was taken back nothing follows: somebody asks anew, and says why. */
function refuseRenewalOfRevoked(ground: Ground, { id, renews }: RequestBody): void {
  const reason = renews === undefined ? undefined : reasonOf(ground, renews);
  if (reason !== undefined) throw new OfficeError('not_authorized', `${id}: the certificate ${renews} that it renews was revoked (${reason}); refuse it, and have a new one asked for`);
}

/** A request as callers see it. */
export function requestOf(ground: Ground, row: RequestRow): CaRequest {
  const approvals = approvalsOf(ground, row);
  const serial = ground.ledger.database.prepare('SELECT serial FROM certificate WHERE request = ?').get(row.body.id)?.['serial'] as string | undefined;
  const request = { ...row.body, digest: row.digest, state: row.state, approvals: approvals.map(({ by, role, fingerprint, time }) => ({ by, role, fingerprint, time })), missing: [], ...(serial === undefined ? {} : { serial }) };
  const { renews } = row.body;
  const lost = renews === undefined || row.state !== 'requested' ? undefined : reasonOf(ground, renews);
  const missing = lost === undefined ? missingOf(ground, request, approvals) : [`a refusal: the certificate ${renews} that it renews was revoked (${lost})`];
  return { ...request, missing: row.state === 'requested' ? missing : [] };
}
