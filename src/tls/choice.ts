import type { ServerCertificate } from '../config/snapshot.ts';
import { CERTIFICATE_STATES } from '../pki/standing.ts';
import { coversHost } from '../policy/host.ts';

type Candidate = Pick<ServerCertificate, 'names' | 'keyType' | 'standing'>;

/**
 * The certificates that serve a name, one of each key type: of those that cover it (where none does, of all) the first that is usable.
 * Where none of a type is, the least bad serves on, unless clients that can use it would be served better by another type: an RSA
 * certificate stays beside an EC one, since only who knows no EC gets it; an EC certificate goes, since all others would prefer it.
 */
export function certificatesFor<Certificate extends Candidate>(all: readonly Certificate[], name: string): readonly Certificate[] {
  const covering = all.filter(({ names }) => names.some((pattern) => coversHost(pattern, name)));
  const best = new Map<Certificate['keyType'], Certificate>();
  for (const certificate of covering.length > 0 ? covering : all) {
    const known = best.get(certificate.keyType);
    if (known === undefined || rank(certificate) < rank(known)) best.set(certificate.keyType, certificate);
  }
  const chosen = [...best.values()];
  const usable = chosen.filter((certificate) => rank(certificate) === 0);
  if (usable.length === 0) return chosen;
  const preferred = usable.some(({ keyType }) => keyType !== 'rsa');
  return chosen.filter((certificate) => rank(certificate) === 0 || (certificate.keyType === 'rsa' && preferred));
}

function rank({ standing }: Candidate): number {
  return CERTIFICATE_STATES.indexOf(standing ?? 'usable');
}
