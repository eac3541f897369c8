import { show, type Fault, type Path } from '../issue.ts';
import { lookUp } from '../schema-faults.ts';
import { items, keys, listKnown, texts } from './plain-values.ts';

/** What is wrong with one entry of `roles`. */
export function roleFaults(value: unknown, path: Path): Fault[] {
  const also = items(value, [...path, 'also']).map((_, index): Path => [...path, 'also', index]);
  return [
    ...reservedRole(value, [...path, 'role']),
    ...also.flatMap((further) => reservedRole(value, typeof lookUp(value, further) === 'string' ? further : [...further, 'role'])),
    ...[path, ...also].flatMap((owner) => unknownTrustDomains(value, [...owner, 'match', 'san', 'spiffe'])),
  ];
}

/** A role that stands for no certificate, given or inherited; `at`: it is a key. */
export function reservedRole(value: unknown, path: Path, at?: 'key'): Fault[] {
  if ((at === 'key' ? path.at(-1) : lookUp(value, path)) !== 'public') return [];
  return [{ path, ...(at === undefined ? {} : { at }), message: '"public" stands for no certificate at all and cannot be given by a certificate' }];
}

/** SPIFFE IDs of trust domains that are not configured. */
export function unknownTrustDomains(value: unknown, path: Path): Fault[] {
  const known = keys(value, ['trust_domains']);
  return texts(value, path).flatMap(({ text, place }) => {
    const domain = /^spiffe:\/\/([^/]*)/.exec(text)?.[1];
    return domain === undefined || known.includes(domain) ? [] : [{ path: place, message: `no trust domain named ${show(domain)} in trust_domains; ${listKnown(known)}` }];
  });
}

/** The roles that entries give, by themselves or beside another, and those of scopes. */
function givenRoles(value: unknown): readonly string[] {
  const scoped = keys(value, ['tokens']).flatMap((name) => keys(value, ['tokens', name, 'roles']).flatMap((scope) => texts(value, ['tokens', name, 'roles', scope]).map(({ text }) => text)));
  const given = items(value, ['roles']).flatMap((role) => [lookUp(role, ['role']), ...items(role, ['also']).map((one) => (typeof one === 'string' ? one : lookUp(one, ['role'])))]);
  return [...given, ...scoped].filter((role) => typeof role === 'string');
}

function inheritedRoles(value: unknown, role: string): readonly string[] {
  return items(value, ['inherits', role]).filter((one) => typeof one === 'string');
}

/** What is wrong with `inherits`. */
export function inheritanceFaults(value: unknown): Fault[] {
  const heirs = keys(value, ['inherits']);
  const known = new Set([...givenRoles(value), ...heirs.flatMap((role) => inheritedRoles(value, role))]);
  return heirs.flatMap((role): Fault[] => {
    const path = ['inherits', role];
    const stranger: Fault[] = known.has(role) ? [] : [{ path, at: 'key', message: `no role named ${show(role)}; ${listKnown([...known])}` }];
    const circle = circleFrom(value, role);
    return [
      ...reservedRole(value, path, 'key'), ...stranger,
      ...inheritedRoles(value, role).flatMap((_, index) => reservedRole(value, [...path, index])),
      ...(circle === undefined ? [] : [{ path, at: 'key' as const, message: `a role that inherits itself: ${circle.map((one) => show(one)).join(' -> ')}` }]),
    ];
  });
}

/** A way from a role by what it inherits back to itself. */
function circleFrom(value: unknown, role: string): readonly string[] | undefined {
  const cameFrom = new Map<string, string>();
  const open = [role];
  for (let next = open.shift(); next !== undefined; next = open.shift()) {
    for (const inherited of inheritedRoles(value, next)) {
      if (inherited === role) return wayTo(next, role, cameFrom);
      if (cameFrom.has(inherited)) continue;
      cameFrom.set(inherited, next);
      open.push(inherited);
    }
  }
  return undefined;
}

function wayTo(last: string, role: string, cameFrom: ReadonlyMap<string, string>): readonly string[] {
  const way = [role];
  for (let step: string | undefined = last; step !== undefined && step !== role; step = cameFrom.get(step)) way.unshift(step);
  return [role, ...way];
}

/** A role that is bound in one entry and free in another would be either, by the order of the entries. */
export function bindFaults(value: unknown): Fault[] {
  const first = new Map<unknown, { readonly index: number; readonly bind: string }>();
  const nowhere = lookUp(value, ['devices']) === undefined;
  return items(value, ['roles']).flatMap((entry, index): Fault[] => {
    const [role, bind] = [lookUp(entry, ['role']), lookUp(entry, ['bind'])];
    if (bind !== undefined && nowhere) return [{ path: ['roles', index, 'bind'], message: 'expected the registered devices, in devices' }];
    const known = first.get(role);
    if (known === undefined) first.set(role, { index, bind: bindText(bind) });
    else if (known.bind !== bindText(bind)) return [{ path: bind === undefined ? ['roles', index] : ['roles', index, 'bind'], message: `expected the same bind as in roles[${known.index}], which gives the same role` }];
    return [];
  });
}

function bindText(bind: unknown): string {
  const to = typeof bind === 'string' ? bind : lookUp(bind, ['to']);
  return bind === undefined ? '' : `${String(to)} ${String(lookUp(bind, ['hardware']) ?? 'optional')}`;
}

/** Roles in a list that nothing gives, and that are none of the `reserved`. */
export function unknownRoles(value: unknown, path: Path, reserved: readonly string[]): Fault[] {
  const inherited = keys(value, ['inherits']).flatMap((role) => inheritedRoles(value, role));
  const known = [...new Set([...givenRoles(value), ...inherited, ...reserved])];
  return items(value, path).flatMap((role, index) => {
    if (typeof role !== 'string' || known.includes(role)) return [];
    return [{ path: [...path, index], message: `no role named ${show(role)}; ${listKnown(known)}` }];
  });
}
