import type { PublishedCrl, PublishSource } from './source.ts';

export interface CrlDeskOptions {
  readonly source: PublishSource;
  readonly now: () => number;
  /** A new list at least so often, ms; in any case when half of its time is over. */
  readonly every: number;
}

/** The CRLs of an office, one for each of its issuing CAs: signed ahead of their end, and at once when something was revoked. */
export interface CrlDesk {
  current(generation: number): PublishedCrl | undefined;
  /** Signs what has to be signed; how many lists that were. */
  refresh(): Promise<number>;
}

export function createCrlDesk({ source, now, every }: CrlDeskOptions): CrlDesk {
  const lists = new Map<number, { readonly crl: PublishedCrl; readonly revoked: string }>();
  let revision: number | undefined;
  let revocations = new Map<number, string>();

  return {
    current: (generation) => lists.get(generation)?.crl,
    async refresh() {
      const current = source.revision();
      if (current !== revision) revocations = revokedBy(source);
      let signed = 0;
      let fault: unknown;
      for (const { generation, state, certificate } of source.issuers()) {
        if (certificate === undefined || state === 'requested') continue;
        const revoked = revocations.get(generation) ?? '';
        const last = lists.get(generation);
        // A list of the future, after the clock was set back, is believed by nobody.
        if (last !== undefined && last.revoked === revoked && last.crl.thisUpdate <= now() && now() < last.crl.thisUpdate + Math.min(every, (last.crl.nextUpdate - last.crl.thisUpdate) / 2)) continue;
        // A start signs anew: what another process revoked in the meantime is on no list that we know of.
        try {
          lists.set(generation, { crl: await source.crl(generation), revoked });
          signed += 1;
        } catch (error) {
          // An issuing CA of before whose key is gone keeps no other from telling what is revoked.
          fault ??= error;
        }
      }
      if (fault !== undefined) throw fault;
      revision = current;
      return signed;
    },
  };
}

/** What is revoked, by issuing CA, in a form that is another one whenever something was revoked. */
function revokedBy(source: PublishSource): Map<number, string> {
  const found = new Map<number, string>();
  for (const { generation, serial, revoked } of source.statuses()) {
    if (revoked !== undefined) found.set(generation, `${found.get(generation) ?? ''} ${serial} ${revoked.reason}`);
  }
  return found;
}
