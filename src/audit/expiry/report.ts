import { tierOf } from '../../pki/ending.ts';
import { endingOf, type Entry, type Use } from './watched.ts';
import { tierText } from './words.ts';

/** Something that ends, as it is shown. Times are ISO 8601. */
export interface EntryReport {
  readonly use: Use;
  readonly name: string;
  readonly places: readonly string[];
  readonly serial?: string;
  readonly issuer?: string;
  readonly role?: string;
  readonly id?: string;
  readonly not_before: string;
  readonly not_after: string;
  /** The tier that it is in, as it is written; `ended` behind its end. */
  readonly tier?: string;
  /** When and in which tier it was last told of, and on which channels; those of them that have not taken it yet. */
  readonly told?: { readonly tier: string; readonly at: string; readonly channels: readonly string[]; readonly waiting: readonly string[] };
  /** When a client was last seen to use it. */
  readonly seen?: string;
  /** Nobody is told: its renewal is in use, or its role is left out. */
  readonly quiet?: true;
}

/** How something that ends is shown; `tiers` and `now` in ms. */
export function reportOf(entry: Entry, { tiers, now, isInUse, waiting }: { readonly tiers: readonly number[]; readonly now: number; readonly isInUse: boolean; readonly waiting: readonly string[] }): EntryReport {
  const { use, name, places, serial, issuer, from, until, told, user } = entry;
  const tier = tierOf(tiers, endingOf(entry), now);
  return {
    use, name, places, ...(serial === undefined ? {} : { serial }), ...(issuer === undefined ? {} : { issuer }),
    ...(user === undefined ? {} : { role: user.role, ...(user.id === undefined ? {} : { id: user.id }), seen: iso(user.seen) }),
    not_before: iso(from), not_after: iso(until), ...(tier === undefined ? {} : { tier: tierText(tier) }),
    ...(told === undefined ? {} : { told: { tier: tierText(told.before), at: iso(told.at), channels: told.channels, waiting } }),
    ...(isInUse ? {} : { quiet: true }),
  };
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
