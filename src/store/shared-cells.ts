import type { Redis } from 'ioredis';
import { CellsError, type Cells } from './cells.ts';
import type { Keyring } from './sealing.ts';

export interface SharedCellsOptions {
  readonly redis: Redis;
  /** What the keys of this gateway begin with. */
  readonly prefix: string;
  readonly keyring: Keyring;
}

/** Cells that replicas share. */
export interface SharedCells extends Cells {
  /** Names of all cells that begin with `prefix`. */
  names(prefix: string): Promise<readonly string[]>;
}

/** As often as a cell may be somebody else's between reading and writing it. */
const MOST_TRIES = 50;
/** Keys that the store looks at for one answer. */
const SCANNED = 1_000;

/** Writes a value if the cell still holds what was read, or still nothing. */
const SWAP = `
local held = redis.call('GET', KEYS[1]) or ''
if held ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1])
elseif ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
elseif ARGV[3] == 'keep' then redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1`;

/**
 * Cells in Redis or Valkey, the same for every replica that has the same keys, every value sealed: who reads the store learns nothing,
 * who writes it can take away but not make up. A store that is away is told at once: nothing waits for it.
 */
export function createSharedCells({ redis, prefix, keyring }: SharedCellsOptions): SharedCells {
  const keyOf = (name: string): string => `${prefix}:factor:${name}`;
  return {
    async update(name, step) {
      const key = keyOf(name);
      for (let attempt = 0; attempt < MOST_TRIES; attempt++) {
        const held = await redis.get(key).catch(lost);
        const { result, value, lifetime } = step(held === null ? undefined : opened(held, name));
        const next = nextValue(name, held, value, lifetime);
        if (next === undefined) return result;
        if (await redis.eval(SWAP, 1, key, held ?? '', ...next).catch(lost) === 1) return result;
      }
      throw new CellsError('cells_away', `${name}: changed by others again and again`);
    },
    async names(begin) {
      // A key is in the pattern as it is: prefixes are names of the configuration, and hold no wildcards.
      const found = new Set<string>();
      let cursor = '0';
      do {
        const [next, keys] = await redis.scan(cursor, 'MATCH', `${keyOf(begin)}*`, 'COUNT', SCANNED).catch(lost);
        for (const key of keys) found.add(key.slice(keyOf('').length));
        cursor = next;
      } while (cursor !== '0');
      return [...found];
    },
  };

  /** The sealed value to write and how long it lasts; undefined when there is nothing to write. */
  function nextValue(name: string, held: string | null, value: string | null | undefined, lifetime: number | undefined): [sealed: string, lifetime: string] | undefined {
    if (value === null) return ['', ''];
    if (value !== undefined) return [keyring.seal(value, name).toString('base64'), lifetime === undefined ? '' : String(Math.ceil(lifetime))];
    // Sealed under an older key: the next who reads it may not have that any more.
    if (held === null || keyring.isCurrent(Buffer.from(held, 'base64'))) return undefined;
    return [keyring.seal(opened(held, name), name).toString('base64'), 'keep'];
  }

  function opened(sealed: string, name: string): string {
    try {
      return keyring.open(Buffer.from(sealed, 'base64'), name);
    } catch (error) {
      throw new CellsError('cells_away', (error as Error).message, { cause: error });
    }
  }
}

function lost(error: Error): never {
  throw new CellsError('cells_away', `the shared store: ${error.message}`, { cause: error });
}
