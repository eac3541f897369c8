import { inNetworks, parseNetwork } from '../../policy/networks.ts';
import type { AuditRecord } from '../record.ts';

interface Exempt {
  readonly roles?: readonly string[];
  readonly networks?: readonly string[];
}

/** Whom a rule says nothing about. */
export function exemptOf(exempt: Exempt | undefined): (record: AuditRecord) => boolean {
  const roles = new Set(exempt?.roles);
  const networks = exempt?.networks?.map(parseNetwork) ?? [];
  return ({ role, address }) => (role !== undefined && roles.has(role)) || (networks.length > 0 && address !== undefined && inNetworks(address, networks));
}
