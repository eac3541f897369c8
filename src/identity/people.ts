import { prepareText } from '../pki/preparation.ts';
import { withInherited, type Identity, type RoleRules } from './roles.ts';

/** The roles that a person has come to have since their certificate was issued. */
export interface Transfer {
  /** As roles give it. */
  readonly id: string;
  readonly roles: readonly string[];
  /** Whose certificate gives none of these is not meant: an id that a device or a patient has as well changes nothing for them. */
  readonly within: readonly string[];
}

/** Transfers, looked up by person. */
export interface TransferView {
  of(id: string): Transfer | undefined;
}

export const NO_TRANSFERS: TransferView = { of: () => undefined };

export function createTransfers(transfers: readonly Transfer[]): TransferView {
  const byId = new Map(transfers.map((transfer) => [prepareText(transfer.id), transfer]));
  return byId.size === 0 ? NO_TRANSFERS : { of: (id) => byId.get(prepareText(id)) };
}

/** Who a certificate stands for, by now: with the roles that its holder was given since, in the place of all that it gives. */
export function transferred(identity: Identity, transfers: TransferView, { inherits }: Pick<RoleRules, 'inherits'>): Identity {
  const transfer = transfers.of(identity.id);
  const [role] = transfer?.roles ?? [];
  if (transfer === undefined || role === undefined || !transfer.within.some((one) => identity.roles.has(one))) return identity;
  return { ...identity, role, roles: withInherited(transfer.roles, inherits) };
}
