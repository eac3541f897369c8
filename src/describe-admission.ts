import { identify, type RoleRules } from './identity/roles.ts';
import { formatName } from './pki/name.ts';
import type { Step } from './policy/decision.ts';
import type { Admission } from './policy/facts.ts';
import type { Statement } from './revocation/status.ts';

/** What an admission stands on, rule by rule, for whoever wants to know why. */
export function describeAdmission(admission: Admission, roles: RoleRules, steps: Step[]): void {
  if (admission.kind === 'anonymous') return;
  if (admission.leaf !== undefined) {
    const { leaf } = admission;
    steps.push({ rule: 'leaf', outcome: 'pass', detail: `${formatName(leaf.subject)}, serial ${leaf.serial}, SHA-256 ${leaf.sha256}` });
  }
  if (admission.path === undefined) {
    if (admission.kind === 'refused') steps.push({ rule: 'path', outcome: 'deny', detail: `${admission.reason}: ${admission.detail}` });
    return;
  }
  steps.push({ rule: 'path', outcome: 'pass', detail: admission.path.map((certificate) => formatName(certificate.subject)).join(' <- ') });
  for (const statement of admission.statements ?? []) steps.push(statementStep(statement));
  if (admission.kind === 'refused') {
    steps.push({ rule: 'status', outcome: 'deny', detail: `${admission.reason}: ${admission.detail}` });
    return;
  }
  const { status } = admission;
  steps.push({ rule: 'status', outcome: status.kind === 'good' ? 'pass' : 'skip', detail: status.kind === 'good' ? `good (${status.source})` : `unknown: ${status.reason}: ${status.detail}` });
  const { identity, misses } = identify(admission, roles);
  for (const miss of misses) steps.push({ rule: 'roles', outcome: 'skip', detail: `${miss.role}: ${miss.detail}` });
  steps.push(identity === undefined
    ? { rule: 'roles', outcome: 'skip', detail: 'no role matches: every route denies' }
    : { rule: 'roles', outcome: 'pass', detail: `${[...identity.roles].join(' + ')}, id ${identity.id}` });
  const held = admission.identity;
  if (held !== undefined && held.role !== identity?.role) steps.push({ rule: 'transfer', outcome: 'pass', detail: `${[...held.roles].join(' + ')}, since a webhook told so` });
}

function statementStep(statement: Statement): Step {
  const times = [
    statement.thisUpdate === undefined ? '' : `this update ${new Date(statement.thisUpdate).toISOString()}`,
    statement.nextUpdate === undefined ? '' : `next update ${new Date(statement.nextUpdate).toISOString()}`,
  ].filter((time) => time !== '');
  const outcome = statement.kind === 'good' ? 'pass' : statement.kind === 'revoked' ? 'deny' : 'skip';
  return { rule: statement.source, outcome, detail: [`${statement.kind}: ${statement.detail}`, ...times].join(', ') };
}
