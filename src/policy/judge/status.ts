import type { UnavailableConfig } from '../../config/schema.ts';
import { admitUnknown } from '../../revocation/status.ts';
import type { Denial } from '../decision.ts';
import type { KnownAdmission, Reason } from '../facts.ts';
import type { Route } from '../routes.ts';

type Unknown = Denial | { readonly kind: 'admitted'; readonly reason: Reason } | undefined;

/** What a certificate's unknown status comes to, as `unavailable` says; undefined where the status is known. */
export function judgeUnknown(unavailable: UnavailableConfig, route: Route | undefined, admission: KnownAdmission, now: number): Unknown {
  const { status } = admission;
  if (status.kind !== 'unknown') return undefined;
  const verdict = admitUnknown(unavailable, status.lastGoodAt, now);
  if (verdict.kind === 'admit') return { kind: 'admitted', reason: status.reason };
  return {
    kind: 'denial', code: 'certificate_rejected', reason: status.reason, detail: status.detail, ...(route === undefined ? {} : { route }),
  };
}
