import { isVouchedBy, type Authorities } from '../../identity/authorities.ts';
import { holdsOneOf, type Identity } from '../../identity/roles.ts';
import { deny, type Denial, type Step } from '../decision.ts';
import type { Admission, RequestFacts } from '../facts.ts';
import { inNetworks } from '../networks.ts';
import type { Route } from '../routes.ts';
import { unlessBroken, type Glass } from './glass.ts';

/** The roles that somebody holds, as the details of decisions name them. */
export function rolesOf({ roles }: Identity): string {
  return roles.size === 1 ? `the role ${[...roles].join('')}` : `any of the roles ${[...roles].join(', ')}`;
}

/** `glass`: what the client may break of it; `mayCome`: the role may yet come with the token. */
export function judgeRoute(route: Route, facts: RequestFacts, { glass, mayCome }: { readonly glass: Glass | undefined; readonly mayCome: boolean }, trace?: (step: Step) => void): Denial | undefined {
  const { admission } = facts;
  const open = route.allow.has('public');
  if (admission.kind === 'anonymous' && (!open || route.authorities !== undefined || route.token !== undefined)) {
    return deny('certificate', 'certificate_required', 'no_certificate', 'the route requires a client certificate', trace, route);
  }
  if (admission.kind === 'known') {
    if (admission.identity === undefined) return deny('role', 'role_denied', 'no_role', 'the certificate maps to no role', trace, route);
    if (!open && !mayCome && !holdsOneOf(admission.identity, route.allow)) {
      const denial = unlessBroken(glass, 'role', deny('role', 'role_denied', 'role_denied', `the route does not allow ${rolesOf(admission.identity)}`, trace, route));
      if (denial !== undefined) return denial;
    } else trace?.({ rule: 'role', outcome: 'pass', detail: `${[...admission.identity.roles].join(' + ')} ${admission.identity.id}` });
  }
  const { networks, authorities } = route;
  if (authorities !== undefined && !vouchedByOneOf(authorities, admission)) {
    return deny('issuer', 'role_denied', 'issuer_denied', 'no CA on the path is one of those that the route trusts', trace, route);
  }
  if (networks !== undefined && !inNetworks(facts.address, networks)) {
    const denial = unlessBroken(glass, 'networks', deny('network', 'role_denied', 'network_denied', `the route does not serve ${facts.address}`, trace, route));
    if (denial !== undefined) return denial;
  }
  return judgePolicies(route, facts, trace);
}

function vouchedByOneOf(authorities: Authorities, admission: Admission): boolean {
  return admission.kind === 'known' && isVouchedBy(admission.path, authorities);
}

function judgePolicies(route: Route, facts: RequestFacts, trace?: (step: Step) => void): Denial | undefined {
  const wanted = route.config.require.policy;
  if (wanted === undefined || wanted.length === 0) return undefined;
  const held = facts.admission.kind === 'known' ? facts.admission.policies : [];
  if (wanted.some((oid) => held.includes(oid))) return undefined;
  return deny('policy', 'role_denied', 'policy_missing', `the path holds none of ${wanted.join(', ')}`, trace, route);
}
