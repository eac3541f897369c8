import { heldCertificates, type HeldCertificate } from './admin/held-certificates.ts';
import { tiersOf } from './audit/expiry/configured.ts';
import type { Snapshot } from './config/snapshot.ts';
import { tierOf } from './pki/ending.ts';
import type { SuspensionOrder } from './policy/suspensions.ts';

/**
 * The routes that are paused at `now` (ms), on each listener whose own certificate is in the last tier, or has ended. Of several for the same
 * names the one that ends last counts: it can take over.
 */
export function pausesOf(snapshot: Snapshot, now: number): readonly SuspensionOrder[] {
  const { listeners, expiry } = snapshot.config;
  const { pause = [] } = expiry ?? {};
  if (pause.length === 0) return [];
  const last = Math.min(...tiersOf(snapshot.config));
  return listeners.filter(({ protocol }) => protocol === 'https').flatMap(({ name }): SuspensionOrder[] => {
    const own = heldCertificates(snapshot).filter(({ kind, owner }) => kind === 'server' && owner === `listener ${name}`);
    const ending = [...Map.groupBy(own, namesOf).values()].flatMap((same) => same.at(-1) ?? [])
      .find(({ notBefore, notAfter }) => (tierOf([last], { kind: 'certificate', from: notBefore, until: notAfter }, now) !== undefined));
    if (ending === undefined) return [];
    const reason = `the certificate of listener ${name}, serial ${ending.serial}, ${now > ending.notAfter ? 'ended' : 'ends'} on ${new Date(ending.notAfter).toISOString().slice(0, 10)}`;
    return pause.map((route) => ({ route, listener: name, reason }));
  });
}

function namesOf({ names = [] }: HeldCertificate): string {
  return JSON.stringify(names.toSorted());
}
