import type { Config } from '../config/schema.ts';
import { holdsOneOf, type Identity } from './roles.ts';

/** Which kind of system has told something. */
export type Teller = 'hr' | 'cmdb';

/** Whether what such systems tell of an id, or of a certificate, concerns whoever it stands for. */
export type ToldScopes = Readonly<Record<Teller, (identity: Pick<Identity, 'role' | 'roles'>) => boolean>>;

type Scope = ToldScopes[Teller];

/**
 * Whom HR and CMDB tell of: what each webhook's `within` says, else persons who are no patients for HR, and whoever is bound to a device for a
 * CMDB. Webhooks of one kind speak for each other. Where none of a kind is configured any more, what it has told before stands for those
 * it would be about.
 */
export function compileToldScopes({ webhooks, roles, routes }: Pick<Config, 'webhooks' | 'roles' | 'routes'>): ToldScopes {
  const devices = new Set(roles.flatMap(({ role, bind }) => (bind?.to === 'device' ? [role] : [])));
  const patients = new Set(routes.flatMap(({ patient }) => patient?.bound ?? []));
  const standing: ToldScopes = {
    // By the first role: a device that inherits one of persons is none, and a person stays one with whatever other role.
    hr: ({ role }) => !devices.has(role) && !patients.has(role),
    cmdb: (identity) => holdsOneOf(identity, devices),
  };
  const scopeOf = (teller: Teller): Scope => {
    const scopes = Object.values(webhooks).filter(({ kind }) => kind === teller).map(({ within }) => (within === undefined ? standing[teller] : scopeWithin(new Set(within))));
    return scopes.length === 0 ? standing[teller] : (identity) => scopes.some((covers) => covers(identity));
  };
  return { hr: scopeOf('hr'), cmdb: scopeOf('cmdb') };
}

function scopeWithin(roles: ReadonlySet<string>): Scope {
  return (identity) => holdsOneOf(identity, roles);
}
