import { randomBytes, scrypt } from 'node:crypto';
import { CellsError } from '../store/cells.ts';
import type { Salted } from '../store/enrolments.ts';

/** What a guess costs, should what is kept ever be read by somebody who has the key as well (RFC 7914). */
export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** For what people have: 16 MiB and some 40 ms. */
const DEAR: ScryptCost = { N: 16_384, r: 8, p: 1 };
/** For 80 random bits, which nobody guesses at any price. */
const CHEAP: ScryptCost = { N: 1_024, r: 8, p: 1 };
const DIGEST_OCTETS = 32;
/** Computed at a time, and waiting for it: they share threads with name resolution and files. */
const AT_A_TIME = 2;
const MOST_WAITING = 64;

/** What is only compared: codes that we made up, and numbers of cards. */
export type Compared = 'code' | 'card';

/** Computes salted digests of what is only compared, a few at a time. */
export interface Salting {
  /** Rejects with a CellsError when too many wait. */
  digest(what: Compared, text: string, salt: string): Promise<string>;
  /** The same under a new salt. */
  salted(what: Compared, text: string): Promise<Salted>;
}

/** A new salt, hex. */
export function newSalt(): string {
  return randomBytes(16).toString('hex');
}

/** `card`: what a guess at a card number costs; default: enough. */
export function createSalting(card: ScryptCost = DEAR): Salting {
  const waiting: (() => void)[] = [];
  let running = 0;

  async function digest(what: Compared, text: string, salt: string): Promise<string> {
    if (running >= AT_A_TIME) {
      if (waiting.length >= MOST_WAITING) throw new CellsError('cells_away', 'too many codes to compare at a time');
      await new Promise<void>((go) => waiting.push(go));
    } else {
      running += 1;
    }
    try {
      return await new Promise((done, failed) => {
        scrypt(text, Buffer.from(salt, 'hex'), DIGEST_OCTETS, what === 'card' ? card : CHEAP, (error, key) => (error === null ? done(key.toString('hex')) : failed(error)));
      });
    } finally {
      // Whoever waits takes the place over.
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  }

  return {
    digest,
    async salted(what, text) {
      const salt = newSalt();
      return { salt, digest: await digest(what, text, salt) };
    },
  };
}
