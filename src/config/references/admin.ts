import { show, type Fault, type Path } from '../issue.ts';
import { lookUp } from '../schema-faults.ts';
import { items, listKnown } from './plain-values.ts';
import { unknownTrustDomains } from './roles.ts';

/** What is wrong with `admin`: a listener that cannot serve operators, or roles that nobody can use. */
export function adminFaults(value: unknown): Fault[] {
  const roles = items(value, ['admin', 'roles']);
  const name = lookUp(value, ['admin', 'listener']);
  const domains = roles.flatMap((_, index) => unknownTrustDomains(value, ['admin', 'roles', index, 'match', 'san', 'spiffe']));
  if (name === undefined) return [...domains, ...(roles.length === 0 ? [] : [{ path: ['admin', 'roles'], message: 'expected the listener that these are for, in admin.listener' }])];
  if (typeof name !== 'string') return domains;
  return [...domains, ...listenerFaults(value, name), ...(roles.length === 0 ? [{ path: ['admin', 'listener'], message: 'expected whose certificate may do what, in admin.roles: as it is nobody may' }] : [])];
}

function listenerFaults(value: unknown, name: string): Fault[] {
  const listeners = items(value, ['listeners']);
  const index = listeners.findIndex((listener) => lookUp(listener, ['name']) === name);
  const listener = listeners[index];
  const path: Path = ['admin', 'listener'];
  if (listener === undefined) return [{ path, message: `no listener named ${show(name)}; ${listKnown(listeners.map((one) => lookUp(one, ['name'])).filter((one) => typeof one === 'string'))}` }];
  const protocol = lookUp(listener, ['protocol']) ?? 'https';
  if (protocol !== 'https') return [{ path, message: `expected a listener with protocol: https; ${show(name)} is ${String(protocol)}` }];
  // Whoever shows no certificate has no business there, not even an answer.
  if (lookUp(listener, ['client_auth', 'mode']) === 'optional') return [{ path: ['listeners', index, 'client_auth', 'mode'], message: 'expected required: this listener is for operators alone' }];
  if (lookUp(listener, ['client_auth', 'forwarded']) !== undefined) return [{ path: ['listeners', index, 'client_auth', 'forwarded'], message: 'operators show their certificates themselves' }];
  return [];
}
