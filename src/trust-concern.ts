import type { OpenListener } from './bound-listener.ts';
import { addUp, identityOf, routesUnderWay, underWay } from './concern.ts';
import { parseCertificate, type Certificate } from './pki/certificate.ts';
import { createPool, validatePath, withIntermediates, type CertificatePool } from './pki/path.ts';
import type { KnownAdmission } from './policy/facts.ts';
import type { AnchorStanding, Concerned, ListenerRealm, TrustConcern } from './thread-protocol.ts';
import type { Connection } from './tls/connection.ts';

/** How long a look at open connections may hold up requests at a time. */
const SLICE_MS = 10;
/** Of a SHA-256: enough to count by. */
const SHORT = 16;

/** What open connections of a thread stand on, and which of them would not stand on other anchors. */
export interface TrustLook {
  standing(): readonly AnchorStanding[];
  concern(realms: readonly ListenerRealm[], skew: number): Promise<TrustConcern>;
}

export function createTrustConcern(serving: () => readonly OpenListener[], now: () => number): TrustLook {
  function standing(): readonly AnchorStanding[] {
    const found = new Map<string, { readonly listener: string; readonly realm: string; readonly anchor: string; connections: number; readonly certificates: Set<string> }>();
    const at = (listener: string, realm: string, { path, leaf }: KnownAdmission, connections: number): void => {
      const anchor = path.at(-1)?.sha256 ?? '';
      const key = JSON.stringify([listener, realm, anchor]);
      const one = found.get(key) ?? { listener, realm, anchor, connections: 0, certificates: new Set<string>() };
      one.connections += connections;
      one.certificates.add(leaf.sha256.slice(0, SHORT));
      found.set(key, one);
    };
    for (const { name, runtime, connections } of serving()) {
      for (const connection of connections.values()) for (const [realm, held] of knownOf(connection)) at(name, realm, held, 1);
      for (const [realm, held] of runtime.office.known()) at(name, realm, held, 0);
    }
    return [...found.values()].map((one) => ({ ...one, certificates: [...one.certificates] }));
  }

  async function concern(realms: readonly ListenerRealm[], skew: number): Promise<TrustConcern> {
    const found: Concerned[] = [];
    const roles: Record<string, number> = {};
    const routes: Record<string, number> = {};
    const learnt = new Map<string, readonly Uint8Array[]>();
    let sliceEnds = performance.now() + SLICE_MS;
    for (const listener of serving()) {
      learnt.set(listener.name, [...listener.runtime.office.learnt().values()].flat().map(({ der }) => der));
      const next = realms.filter((realm) => realm.listener === listener.name);
      // One that would go, or that there was not yet, is no question of trust.
      if (next.length === 0) continue;
      const leads = judgeOf(listener, next, skew);
      for (const connection of [...listener.connections.values()]) {
        if (performance.now() >= sliceEnds) {
          await new Promise((resolve) => setImmediate(resolve));
          sliceEnds = performance.now() + SLICE_MS;
        }
        if (connection.socket.destroyed || knownOf(connection).every(([realm, held]) => leads(realm, held, connection))) continue;
        const identity = identityOf(connection);
        const { runtime } = listener;
        roles[identity?.role ?? ''] = (roles[identity?.role ?? ''] ?? 0) + 1;
        for (const route of routesUnderWay(runtime, connection)) if (route !== undefined) routes[route] = (routes[route] ?? 0) + 1;
        found.push({ connections: 1, under_way: underWay(undefined, runtime, connection), clients: [{ ...(identity === undefined ? {} : { role: identity.role, id: identity.id }), address: connection.address, connections: 1 }] });
      }
    }
    return { ...addUp(found), roles, routes, learnt: Object.fromEntries(learnt) };
  }

  /** As admission would judge: by the anchors and intermediates that would be configured, what clients have taught, and what this one has brought. */
  function judgeOf({ runtime: { office } }: OpenListener, realms: readonly ListenerRealm[], skew: number): (realm: string, held: KnownAdmission, connection: Connection) => boolean {
    const pools = new Map<string, CertificatePool>();
    const verdicts = new Map<string, boolean>();
    const learnt = office.learnt();
    const poolOf = (name: string): CertificatePool => {
      const realm = realms.find((one) => one.name === name) ?? realms.find((one) => one.name === '');
      const pool = pools.get(name) ?? withIntermediates(createPool((realm?.anchors ?? []).map(parseCertificate), (realm?.intermediates ?? []).map(parseCertificate)), learnt.get(name) ?? []);
      pools.set(name, pool);
      return pool;
    };
    return (realm, { leaf, path }, { peer }) => {
      const pool = poolOf(realm);
      const key = `${leaf.sha256} ${realm}`;
      const before = verdicts.get(key);
      if (before === true) return true;
      const members = new Set(pool.intermediates.map(({ sha256 }) => sha256));
      const anchor = path.at(-1);
      const stays = anchor !== undefined && pool.isAnchor(anchor) && path.slice(1, -1).every(({ sha256 }) => members.has(sha256));
      const leads = stays || validatePath(leaf, withIntermediates(pool, readable(peer.intermediates())), { now: now(), skew, purpose: 'client' }).kind === 'valid';
      verdicts.set(key, leads);
      return leads;
    };
  }

  return { standing, concern };
}

function knownOf({ admissions }: Connection): readonly (readonly [string, KnownAdmission])[] {
  return [...admissions].flatMap(([realm, held]) => (held.kind === 'known' ? [[realm, held] as const] : []));
}

function readable(ders: readonly Uint8Array[]): readonly Certificate[] {
  return ders.flatMap((der) => {
    try {
      return [parseCertificate(Uint8Array.from(der))];
    } catch {
      return [];
    }
  });
}
