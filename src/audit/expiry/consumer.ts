import type { Consumer } from '../feed.ts';
import { EXPIRY_CONSUMER } from './configured.ts';
import { openExpiry, type Expiry, type ExpiryGround, type ExpiryList, type ExpirySetup, type ExpiryStanding } from './open.ts';
import type { Watched } from './watched.ts';

/** What is asked of warnings; times in ms. */
export type ExpiryAsk =
  /** This is all that is held from now on. */
  | { readonly kind: 'hold'; readonly items: readonly Watched[] }
  | { readonly kind: 'list'; readonly within: number; readonly most: number }
  | { readonly kind: 'standing' };

const LOOK_MS = 1_000;
const CLOSE_MS = 500;

/** Warnings as somebody who is handed every record. */
export interface ExpiryConsumer extends Consumer {
  /** Throws when what is kept of warnings cannot be opened. */
  answer(ask: ExpiryAsk): ExpiryList | ExpiryStanding | undefined;
}

/** What cannot be opened must not keep records from others: it is tried again with every batch and every question. */
export function createExpiryConsumer(setup: ExpirySetup, ground: ExpiryGround): ExpiryConsumer {
  let opened: Expiry | undefined;

  function expiry(): Expiry {
    return opened ??= openExpiry(setup, ground);
  }

  try {
    expiry();
  } catch (error) {
    ground.warn(`warnings of what ends cannot be opened: ${(error as Error).message}`);
  }
  const timer = setInterval(() => opened?.look(), LOOK_MS);
  timer.unref();

  return {
    name: EXPIRY_CONSUMER,
    take: async (batch) => expiry().take(batch),
    answer(ask) {
      switch (ask.kind) {
        case 'hold':
          expiry().hold(ask.items);
          return expiry().look() as undefined;
        case 'list': return expiry().list(ask.within, ask.most);
        case 'standing': return expiry().standing();
      }
    },
    async close() {
      clearInterval(timer);
      await opened?.close(CLOSE_MS);
    },
  };
}
