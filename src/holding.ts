import { sendAway, type Bound } from './bound-listener.ts';

/** Listeners that take nothing new for a time, on one thread: what is under way goes on. */
export interface Holding {
  /** Holds these, and lets all others listen again. Resolves with what could not: a port that somebody else has taken. */
  take(listeners: readonly string[]): Promise<readonly string[]>;
  has(listener: string): boolean;
  /** A reload may have bound some anew. */
  again(): void;
  /** Ends connections that have nothing to do. To be called about once a second. */
  look(): void;
}

export function createHolding(bound: () => Iterable<Bound>): Holding {
  let names: ReadonlySet<string> = new Set();
  /** Since when, in ms, monotonic. */
  const held = new Map<Bound, number>();

  function hold(): void {
    const current = new Set(bound());
    for (const one of held.keys()) if (!current.has(one)) held.delete(one);
    for (const one of current) {
      if (!names.has(one.name) || held.has(one)) continue;
      held.set(one, performance.now());
      if ('redirect' in one) one.redirect.pause();
      else one.tls.pause();
    }
  }

  function look(): void {
    for (const [one, since] of held) if ('protocol' in one) sendAway(one, since);
  }

  async function release(one: Bound): Promise<string | undefined> {
    // An IPv6 host has colons of its own.
    const host = one.address.slice(0, one.address.lastIndexOf(':'));
    try {
      await ('redirect' in one ? one.redirect : one.tls).listen(host, one.port);
      held.delete(one);
      return undefined;
    } catch (error) {
      return `listener ${one.name}: ${(error as Error).message}`;
    }
  }

  return {
    async take(listeners) {
      names = new Set(listeners);
      hold();
      look();
      const faults = await Promise.all([...held.keys()].filter(({ name }) => !names.has(name)).map(release));
      return faults.filter((fault) => fault !== undefined);
    },
    has: (listener) => names.has(listener),
    again: hold,
    look,
  };
}
