import type { Config, HttpsListenerConfig } from './config/schema.ts';
import { readClientCert } from './forward/client-cert.ts';
import type { Forwarded } from './forward/client.ts';
import type { AuthorityFiles } from './identity/authorities.ts';
import { compileRoles, identify } from './identity/roles.ts';
import type { Admission, KnownAdmission, Reason, RequestFacts } from './policy/facts.ts';
import type { IsolationWatch } from './isolation.ts';
import type { Front, HttpsRuntime } from './protocol.ts';
import { combineStatuses } from './revocation/status.ts';
import type { AdmissionOffice } from './tls/admission.ts';
import { currentAdmission, type Connection } from './tls/connection.ts';

const ANONYMOUS: Admission = { kind: 'anonymous' };

/** Who is a front on a listener; undefined where nobody is. */
export function compileFront({ client_auth: { forwarded } }: HttpsListenerConfig, config: Config, authorities: AuthorityFiles): Front | undefined {
  if (forwarded === undefined) return undefined;
  const { header, by } = forwarded;
  // Read as the certificates of clients are: one whose names two readers could read differently fits nothing.
  const rules = compileRoles({ roles: [{ role: 'front', match: by, id: 'front', also: [] }], inherits: {}, trust_domains: config.trust_domains }, authorities);
  const judged = new WeakMap<KnownAdmission, boolean>();
  return {
    header: header.toLowerCase(),
    fits(admission) {
      let fits = judged.get(admission);
      if (fits === undefined) {
        fits = identify(admission, rules).identity !== undefined;
        judged.set(admission, fits);
      }
      return fits;
    },
  };
}

/** Where a request comes in. */
export interface FrontGround {
  readonly connection: Connection;
  readonly runtime: HttpsRuntime;
  readonly isolation: IsolationWatch;
}

/**
 * Who a request comes from: whom the connection's own certificate stands for, or whom a front names in it. A front's own certificate
 * stands for nobody, and where it is refused so is everything that comes by it.
 */
export function shownBy(at: FrontGround, host: string, fields: readonly string[], anew = false): Admission | Forwarded | Promise<Admission | Forwarded> {
  const { connection, runtime: { office, front }, isolation } = at;
  const name = connection.serverName ?? host;
  const own = currentAdmission(connection, office, name);
  if (front === undefined) return own;
  return own instanceof Promise ? own.then((taken) => named(taken, front)) : named(own, front);

  function named(held: Admission, { header, fits }: Front): Admission | Forwarded | Promise<Admission | Forwarded> {
    if (held.kind !== 'known' || !fits(held)) return held;
    connection.front = true;
    const said = readClientCert(fields, header);
    const by = { kind: 'forwarded', front: held.leaf } as const;
    if (said.kind !== 'client') return { ...by, admission: ANONYMOUS, ...(said.kind === 'malformed' ? { fault: said.detail } : {}) };
    const taken = office.admit({ leaf: said.leaf, intermediates: () => said.intermediates }, name);
    if (!(taken instanceof Promise)) return { ...by, admission: atMost(unlessIsolated(taken, isolation), held) };
    // A revocation may have come while a responder was asked, of the one or of the other.
    return taken.then((admission) => {
      const stand = anew || (office.stands(admission) && office.stands(held));
      return stand ? { ...by, admission: atMost(unlessIsolated(admission, isolation), held) } : shownBy(at, host, fields, true);
    });
  }
}

/** A client is known as well as who vouches for it: where nobody can tell whether the front is revoked, the route says what is done, as of the client itself. */
function atMost(admission: Admission, front: KnownAdmission): Admission {
  if (admission.kind !== 'known' || front.status.kind === 'good') return admission;
  const status = combineStatuses([admission.status, front.status]);
  return status.kind === 'revoked' ? ANONYMOUS : { ...admission, status, validUntil: Math.min(admission.validUntil, front.validUntil) };
}

/** What is isolated has no connection of its own here that would be ended: nothing it asks by a front is let in. */
function unlessIsolated(admission: Admission, isolation: IsolationWatch): Admission {
  if (admission.kind !== 'known') return admission;
  const isolated = isolation.client(admission);
  return isolated === undefined ? admission : refused(admission, 'isolated', isolated.detail);
}

function refused({ leaf, path, statements, epoch, validUntil }: KnownAdmission, reason: Reason, detail: string): Admission {
  return { kind: 'refused', reason, detail, leaf, path, statements, epoch, validUntil };
}

/** Clients whom fronts have named, as long as something of theirs is under way. */
export interface FrontedClients {
  /** Whether what was let in on these facts stands on a certificate that has to be judged again. */
  lapsed(facts: RequestFacts, office: AdmissionOffice): boolean;
  /** Its admission as it is now, `own` being that of the front's connection; undefined while somebody must be asked: it is judged again then. */
  again(connection: Connection, facts: RequestFacts, own: Admission, runtime: HttpsRuntime): Admission | undefined;
}

export function createFrontedClients(isolation: IsolationWatch): FrontedClients {
  const latest = new WeakMap<RequestFacts, Admission>();
  const asking = new WeakSet<RequestFacts>();
  const heldOf = (facts: RequestFacts): Admission => latest.get(facts) ?? facts.admission;

  return {
    lapsed: (facts, office) => facts.front !== undefined && (!isolation.idle() || !office.stands(heldOf(facts))),
    again(connection, facts, own, { office, front }) {
      // Who is no front any more vouches for nobody.
      if (own.kind !== 'known' || front?.fits(own) !== true) return ANONYMOUS;
      const { admission: first, host } = facts;
      const held = heldOf(facts);
      if (first.kind !== 'known') return held;
      if (office.stands(held)) return atMost(unlessIsolated(held, isolation), own);
      // What is known by now is not waited for.
      const denied = held.kind === 'known' ? office.denial(held) : undefined;
      if (held.kind === 'known' && denied !== undefined) return refused(held, 'revoked_denylist', denied);
      if (asking.has(facts)) return undefined;
      const name = connection.serverName ?? (host.kind === 'host' ? host.name : '');
      const taken = office.admit({ leaf: first.leaf.der, intermediates: () => first.path.slice(1, -1).map(({ der }) => der) }, name);
      if (!(taken instanceof Promise)) {
        latest.set(facts, taken);
        return atMost(unlessIsolated(taken, isolation), own);
      }
      asking.add(facts);
      void taken.then((admission) => {
        latest.set(facts, admission);
        connection.unjudged = true;
        asking.delete(facts);
        // Whatever fails here, nobody stays by it.
      }, () => connection.socket.destroy());
      return undefined;
    },
  };
}
