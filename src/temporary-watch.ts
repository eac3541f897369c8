import { X509Certificate } from 'node:crypto';
import type { Gauge } from 'prom-client';
import type { AuditWriter } from './audit/writer.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { Log } from './log.ts';
import { noteTemporary, readTemporaries, standing, type Temporary } from './store/temporaries.ts';

/** A temporary certificate that is to be replaced. */
export type TemporaryReport = Pick<Temporary, 'use' | 'name' | 'listener' | 'serial' | 'sha256' | 'not_after'>;

/** Reminds of temporary certificates, every day, until regular ones are in their place. */
export interface TemporaryWatch {
  report(): readonly TemporaryReport[];
  /** Resolves when what there is to say is on record; never rejects. */
  look(): Promise<void>;
  close(): Promise<void>;
}

export interface TemporaryWatchOptions {
  readonly state: string;
  readonly snapshot: () => Snapshot;
  readonly audit: Pick<AuditWriter, 'append'>;
  /** For gateways without alarms. */
  readonly raise: (rule: 'temporary_certificate', about: object) => void;
  readonly metrics: { readonly temporaryCertificates: Gauge<'use'> };
  /** ms since the epoch */
  readonly now: () => number;
  readonly log: Log;
}

const LOOK_MS = 60_000;
const DAY_MS = 86_400_000;

/** Looks at once, and then every minute. */
export function watchTemporaries({ state, snapshot, audit, raise, metrics, now, log }: TemporaryWatchOptions): TemporaryWatch {
  let busy: Promise<void> | undefined;
  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();

  async function once(): Promise<void> {
    const left = standing(readTemporaries(state), now());
    // Another than the one that shows it has come in its place: nobody has to say so.
    const shown = left.length === 0 ? new Set<string>() : shownBy(snapshot());
    const isOver = (one: Temporary): boolean => one.use === 'server' && !shown.has(one.sha256);
    for (const one of left.filter(isOver)) noteTemporary(state, { ...one, replaced: { at: new Date(now()).toISOString(), who: 'the gateway', how: 'the listener shows another certificate' } });
    const flagged = left.filter((one) => !isOver(one));
    for (const use of ['server', 'client'] as const) metrics.temporaryCertificates.set({ use }, flagged.filter((one) => one.use === use).length);
    for (const one of flagged.filter(({ made, told }) => now() - Date.parse(told ?? made) >= DAY_MS)) await remind(one);
  }

  async function remind(one: Temporary): Promise<void> {
    const detail = `the temporary certificate of ${one.use === 'server' ? `listener ${one.listener}` : one.name} is not replaced yet; it ends ${one.not_after}`;
    await audit.append({ time: new Date(now()).toISOString(), event: 'alarm', result: 'failed', alarm: 'temporary_certificate', serial: one.serial, fingerprint: one.sha256, not_after: one.not_after, detail });
    raise('temporary_certificate', { certificate: one.sha256, detail });
    noteTemporary(state, { ...one, told: new Date(now()).toISOString() });
  }

  function look(): Promise<void> {
    busy ??= once().catch((error: Error) => log.error({ error: error.message }, 'whether temporary certificates are in use cannot be known')).finally(() => {
      busy = undefined;
    });
    return busy;
  }

  void look();
  return {
    report: () => standing(readTemporaries(state), now()).map(({ use, name, listener, serial, sha256, not_after: end }) => ({ use, name, ...(listener === undefined ? {} : { listener }), serial, sha256, not_after: end })),
    look,
    async close() {
      clearInterval(timer);
      await busy;
    },
  };
}

/** SHA-256 (hex) of what listeners show. */
function shownBy({ listeners }: Snapshot): ReadonlySet<string> {
  return new Set(Object.values(listeners).flatMap(({ certificates }) => certificates.map(({ certificate }) => new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase())));
}
