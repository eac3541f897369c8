import type { Config, RoleConfig } from '../config/schema.ts';
import type { Certificate } from '../pki/certificate.ts';
import { holdsControl } from '../pki/preparation.ts';
import { bindAuthorities, type AuthorityFiles, type Bindings } from './authorities.ts';
import { leafOf, type Condition, type Shown } from './condition.ts';
import { compileIdTemplate, type IdTemplate } from './id-template.ts';
import { compileMatch } from './match.ts';

/** Who a certificate stands for. */
export interface Identity {
  /** That of the first rule that matched: the one that is shown where there is room for one. */
  readonly role: string;
  readonly id: string;
  /** Every role that it holds: `role`, those that come with it, and those that these inherit. */
  readonly roles: ReadonlySet<string>;
}

/** Why a certificate got its role, or none: `misses` says for each rule above the match, and each further role, what did not fit. */
export interface Identification {
  readonly identity?: Identity;
  readonly misses: readonly { readonly role: string; readonly detail: string }[];
}

/** The rules of a configuration, ready to be tried in their order. */
export interface RoleRules {
  readonly rules: readonly Rule[];
  readonly inherits: Inheritance;
}

interface Rule {
  readonly role: string;
  readonly condition: Condition;
  readonly id: IdTemplate;
  /** As it is written. */
  readonly template: string;
  readonly also: readonly FurtherRole[];
}

/** A role that comes with another: `condition` absent, always. */
interface FurtherRole {
  readonly role: string;
  readonly condition?: Condition;
}

/** What each role inherits directly. */
type Inheritance = Readonly<Record<string, readonly string[]>>;

/** Makes the roles of a configuration ready; `files` has the CA certificates that it binds something to. */
export function compileRoles(config: Pick<Config, 'roles' | 'inherits' | 'trust_domains'>, files: AuthorityFiles): RoleRules {
  const bindings = bindAuthorities(config, files);
  return { rules: config.roles.map((rule) => compileRule(rule, bindings)), inherits: config.inherits };
}

function compileRule({ role, match, id, also }: RoleConfig, bindings: Bindings): Rule {
  const further = also.map((one): FurtherRole => (one.match === undefined ? { role: one.role } : { role: one.role, condition: compileMatch(one.match, bindings) }));
  return { role, condition: compileMatch(match, bindings), id: compileIdTemplate(id, match, bindings.domains), template: id, also: further };
}

/**
 * The roles and the id of a certificate: the first rule whose every condition holds. An `issuer` condition is met by any CA of the
 * path. A rule whose id cannot be filled in does not match: nobody without a name. A certificate with control characters in its
 * names has no role at all: two readers would disagree on what they say.
 */
export function identify(shown: Shown, { rules, inherits }: RoleRules): Identification {
  const stained = textsOf(leafOf(shown)).some(holdsControl);
  const misses: { role: string; detail: string }[] = [];
  for (const rule of rules) {
    const miss = stained ? 'a name of the certificate holds control characters' : rule.condition(shown);
    const id = miss === undefined ? rule.id(shown) : undefined;
    if (id === undefined) {
      misses.push({ role: rule.role, detail: miss ?? `the certificate has nothing, or nothing that is one, to fill ${rule.template} with` });
      if (stained) return { misses };
      continue;
    }
    const held = [rule.role];
    for (const { role, condition } of rule.also) {
      const lacking = condition?.(shown);
      if (lacking === undefined) held.push(role);
      else misses.push({ role, detail: lacking });
    }
    return { identity: { role: rule.role, id, roles: withInherited(held, inherits) }, misses };
  }
  return { misses };
}

/** These roles and all that they inherit, each once, in the order in which they are found. */
export function withInherited(roles: readonly string[], inherits: Inheritance): ReadonlySet<string> {
  const held = new Set(roles);
  // A Set grows while it is gone through: what is inherited may inherit.
  for (const role of held) for (const inherited of Object.hasOwn(inherits, role) ? inherits[role] ?? [] : []) held.add(inherited);
  return held;
}

/** Whether one of the roles is among those allowed. */
export function holdsOneOf({ roles }: Pick<Identity, 'roles'>, allowed: ReadonlySet<string>): boolean {
  for (const role of roles) if (allowed.has(role)) return true;
  return false;
}

/** Every text of a leaf's names. */
function textsOf({ subject, subjectAltNames }: Certificate): readonly string[] {
  const names = [subject, ...subjectAltNames.flatMap((name) => (name.kind === 'directory' ? [name.name] : []))];
  return [
    ...names.flatMap(({ rdns }) => rdns.flat().map(({ value }) => value)),
    ...subjectAltNames.flatMap((name) => (name.kind === 'other' ? [name.text ?? ''] : 'value' in name && typeof name.value === 'string' ? [name.value] : [])),
  ];
}
