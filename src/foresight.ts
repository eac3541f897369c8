import type { OpenListener } from './bound-listener.ts';
import { addUp, identityOf, routesUnderWay, underWay } from './concern.ts';
import type { DeviceView } from './identity/devices.ts';
import { idsOf, speaksForItself } from './isolation.ts';
import { prepareText } from './pki/preparation.ts';
import { fingerprintsOf } from './pki/twin.ts';
import type { Admission, KnownAdmission } from './policy/facts.ts';
import { inNetworks, parseNetwork } from './policy/networks.ts';
import type { DenySubject } from './store/deny-list.ts';
import type { Foreseen, ForeseenOperator, Hit } from './thread-protocol.ts';
import type { Connection } from './tls/connection.ts';

/** Of a SHA-256: enough to tell certificates apart. */
const SHORT = 16;
/** How many certificates of the latest are named. */
const MOST_LATELY = 100;

/** Tells whom it would hit on this thread to isolate or deny something; nothing is changed. */
export function createForesight(serving: () => readonly OpenListener[], devices: DeviceView): (hit: Hit) => Foreseen {
  return (hit) => {
    const all = serving().flatMap((listener) => [...listener.connections.values()].map((connection) => ({ listener, connection })));
    const found = all.filter(({ listener, connection }) => isHit(hit, connection, listener, devices));
    const roles = new Map<string, number>();
    const routes = new Map<string, number>();
    for (const { listener, connection } of found) {
      count(roles, identityOf(connection)?.role ?? '');
      for (const route of routesUnderWay(listener.runtime, connection)) if (route !== undefined) count(routes, route);
    }
    return {
      ...addUp(found.map(({ listener, connection }) => {
        const identity = identityOf(connection);
        return { connections: 1, under_way: underWay(undefined, listener.runtime, connection), clients: [{ ...(identity === undefined ? {} : { role: identity.role, id: identity.id }), address: connection.address, connections: 1 }] };
      })),
      roles: Object.fromEntries(roles), routes: Object.fromEntries(routes), of: all.length, lately: hit.kind === 'network' ? [] : latelyHit(hit, serving(), devices),
      operators: operatorsHit(hit, found, serving(), devices),
    };
  };
}

/** What threads foresee, together. */
export function addForeseen(found: readonly Foreseen[]): Foreseen {
  const roles = new Map<string, number>();
  const routes = new Map<string, number>();
  for (const one of found) {
    for (const [role, connections] of Object.entries(one.roles)) count(roles, role, connections);
    for (const [route, requests] of Object.entries(one.routes)) count(routes, route, requests);
  }
  const lately = new Map(found.flatMap((one) => one.lately.map((known) => [known.certificate, known])));
  return {
    ...addUp(found), roles: Object.fromEntries(roles), routes: Object.fromEntries(routes), of: found.reduce((sum, one) => sum + one.of, 0), lately: [...lately.values()].slice(0, MOST_LATELY),
    operators: found.flatMap((one) => one.operators),
  };
}

function count(counts: Map<string, number>, key: string, more = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + more);
}

function isHit(hit: Hit, connection: Connection, { runtime }: OpenListener, devices: DeviceView): boolean {
  switch (hit.kind) {
    case 'network': return inNetworks(connection.address, [parseNetwork(hit.network)]) && !speaksForItself(connection, runtime.config);
    case 'device': return idsOf(connection, devices).some((id) => prepareText(id) === prepareText(hit.device));
    default: return [...connection.admissions.values()].some((held) => held.kind === 'known' && isSubject(hit, held));
  }
}

/** Whether a denial would be of somebody: of any certificate of the path, as admission has it. */
function isSubject(subject: DenySubject, { path, identity }: KnownAdmission): boolean {
  switch (subject.kind) {
    case 'fingerprint': return path.some((certificate) => fingerprintsOf(certificate).includes(subject.fingerprint));
    case 'serial': return path.some(({ serial, issuer }) => serial === subject.serial && issuer.normalized === subject.issuer);
    case 'key': return path.some(({ spkiSha256 }) => spkiSha256 === subject.key);
    case 'issuer': return path.some(({ issuer }) => issuer.normalized === subject.issuer);
    case 'identity': case 'departed': return identity !== undefined && prepareText(identity.id) === prepareText(subject.id);
  }
}

/** Who would lose the operators' listener by it: those with a connection there, and those who can be let in again without being judged anew. */
function operatorsHit(hit: Hit, found: readonly { readonly listener: OpenListener; readonly connection: Connection }[], serving: readonly OpenListener[], devices: DeviceView): readonly ForeseenOperator[] {
  const connected = found.filter(({ listener }) => listener.runtime.operators).flatMap(({ connection: { admissions, address } }) => [...admissions.values()].flatMap((held) => operatorOf(held, address)));
  const lately = serving.filter(({ runtime }) => runtime.operators).flatMap(({ runtime: { office } }) => office.known()).filter(([, held]) => hit.kind !== 'network' && isHeld(hit, held, devices)).flatMap(([, held]) => operatorOf(held));
  return [...new Map([...lately, ...connected].map((one) => [JSON.stringify(one), one])).values()].slice(0, MOST_LATELY);
}

function operatorOf(held: Admission, address?: string): readonly ForeseenOperator[] {
  if (held.kind !== 'known' || held.identity === undefined) return [];
  return [{ certificate: held.leaf.sha256, id: held.identity.id, ...(address === undefined ? {} : { address }) }];
}

function isHeld(hit: Exclude<Hit, { kind: 'network' }>, held: KnownAdmission, devices: DeviceView): boolean {
  return hit.kind === 'device' ? idsOf({ admissions: new Map([['', held]]) }, devices).some((id) => prepareText(id) === prepareText(hit.device)) : isSubject(hit, held);
}

function latelyHit(hit: Exclude<Hit, { kind: 'network' }>, listeners: readonly OpenListener[], devices: DeviceView): Foreseen['lately'] {
  const found = new Map<string, Foreseen['lately'][number]>();
  for (const { runtime: { office } } of listeners) {
    for (const [, held] of office.known()) {
      if (found.size >= MOST_LATELY) return [...found.values()];
      const { leaf, identity } = held;
      if (isHeld(hit, held, devices)) found.set(leaf.sha256, { certificate: leaf.sha256.slice(0, SHORT), ...(identity === undefined ? {} : { role: identity.role, id: identity.id }) });
    }
  }
  return [...found.values()];
}
