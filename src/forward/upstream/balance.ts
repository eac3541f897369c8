/**
 * The choice of one of several addresses. `shares` holds for each what it may have now: its weight, less while it comes
 * back, 0 when it may have nothing, and less than that when it may have nothing this time. Each function gives back a position,
 * or -1 when there is none.
 */

/**
 * Each in its turn, those with a larger share more often and evenly spread. `credits` is what each has saved up; it is kept
 * from one choice to the next.
 */
export function inTurn(shares: Float64Array, credits: Float64Array): number {
  let best = -1;
  let total = 0;
  let most = -Infinity;
  for (let index = 0; index < shares.length; index++) {
    const share = shares[index] as number;
    if (share <= 0) {
      // Nothing is saved up while away: the return would begin with a flood.
      if (share === 0) credits[index] = 0;
      continue;
    }
    const credit = (credits[index] as number) + share;
    credits[index] = credit;
    total += share;
    if (credit > most) {
      most = credit;
      best = index;
    }
  }
  if (best !== -1) credits[best] = most - total;
  return best;
}

/** The one with the least under way for its share; of equals the first from `start` on. */
export function leastLoaded(shares: Float64Array, loads: Float64Array, start: number): number {
  let best = -1;
  let least = Infinity;
  for (let step = 0; step < shares.length; step++) {
    const index = (start + step) % shares.length;
    const share = shares[index] as number;
    if (share <= 0) continue;
    const load = ((loads[index] as number) + 1) / share;
    if (load < least) {
      least = load;
      best = index;
    }
  }
  return best;
}

/**
 * Always the same for the same key as long as it may have it (rendezvous hashing, weighted): when one goes, its own keys are
 * spread over the others and no other key moves; when one comes back with a growing share, its keys return little by little.
 */
export function byKey(shares: Float64Array, seeds: Int32Array, key: number): number {
  let best = -1;
  let least = Infinity;
  for (let index = 0; index < shares.length; index++) {
    const share = shares[index] as number;
    if (share <= 0) continue;
    const uniform = ((mix(key ^ (seeds[index] as number)) >>> 0) + 0.5) / 2 ** 32;
    const score = -Math.log(uniform) / share;
    if (score < least) {
      least = score;
      best = index;
    }
  }
  return best;
}

/** A text as 32 bits, the same on every thread and replica (FNV-1a over UTF-16 units). */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mix(hash);
}

/** Spreads 32 bits over 32 bits, one to one (the last step of MurmurHash3). */
function mix(bits: number): number {
  let mixed = bits ^ (bits >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
