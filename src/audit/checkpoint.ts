import type { KeyObject } from 'node:crypto';
import { digest, type Position } from './chain.ts';
import { isSigned, type AuditKey } from './key.ts';

/** Files beside the segments: the register of checkpoints, and the public key they are signed with. */
export const REGISTER_FILE = 'checkpoints.ndjson';
export const PUBLIC_KEY_FILE = 'checkpoints.pem';

/**
 * What is said of one segment. `open`: it is being written. `closed`: it ends there. `recovered`: likewise, after a process that did
 * not close it; `cut` is the half line that was taken off. `broken`: it is whole only up to there, and was found so. `missing`: it
 * was there and is not. `before`: a file from before there were checkpoints. `foreign`: one that no gateway here has opened.
 * `pruned`: it was removed when its time was over.
 */
export interface SegmentClaim extends Position {
  readonly segment: string;
  readonly state: 'open' | 'closed' | 'recovered' | 'broken' | 'missing' | 'before' | 'foreign' | 'pruned';
  readonly cut?: Cut;
  /** SHA-256 of all of it, of files that are not ours. */
  readonly sha256?: string;
  /** Root of the Merkle tree over all its lines (tree.ts), once it is closed. */
  readonly tree?: string;
}

/** Why segments were removed: by whom, in whose words, and the time before which everything in them happened (ISO 8601). */
export interface Pruning {
  readonly who: string;
  readonly reason: string;
  readonly before: string;
}

/** What must not be removed as long as it is held: records that match all of it. Times are ISO 8601, `to` not included. */
export interface Hold {
  readonly id: string;
  readonly from?: string;
  readonly to?: string;
  readonly fingerprint?: string;
  readonly serial?: string;
  readonly route?: string;
  readonly patient?: string;
  readonly who: string;
  readonly reason: string;
}

export type HoldChange = ({ readonly op: 'add' } & Hold) | { readonly op: 'release'; readonly id: string; readonly who: string; readonly reason: string };

/** Octets that were taken off or found, and their SHA-256. */
export interface Cut {
  readonly octets: number;
  readonly sha256: string;
}

/** A signed statement of how far the segments go; each carries the hash of the one before. */
export interface Checkpoint {
  readonly checkpoint: number;
  /** ISO 8601. */
  readonly time: string;
  readonly kind: 'start' | 'checkpoint' | 'stop';
  /** Name of the key. */
  readonly gateway: string;
  /** How often the gateway had been started. */
  readonly start: number;
  readonly previous: string;
  /** What a kill left of a line of the register itself. */
  readonly cut?: Cut;
  /** Of the segments that it says are pruned. */
  readonly pruning?: Pruning;
  readonly hold?: HoldChange;
  readonly segments: readonly SegmentClaim[];
}

const SIGNATURE_FIELD = ',"signature":"';
/** 64 octets in base64url. */
const SIGNATURE_OCTETS = 86;

/** One line, without its line feed: a checkpoint, or what begins in another way and says something else. */
export function signLine(said: Checkpoint | Readonly<Record<'manifest', object>>, key: AuditKey): string {
  const body = JSON.stringify(said).slice(0, -1);
  return `${body}${SIGNATURE_FIELD}${key.sign(Buffer.from(body))}"}`;
}

/** What a line of the register says; undefined when it is none. The signature has not been looked at. */
export function parseCheckpoint(line: string): Checkpoint | undefined {
  try {
    const checkpoint = JSON.parse(line) as Checkpoint;
    const good = Number.isSafeInteger(checkpoint.checkpoint) && typeof checkpoint.previous === 'string' && Array.isArray(checkpoint.segments);
    return good ? checkpoint : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a line that was signed carries the signature of this key over all that stands before it. */
export function isSignedLine(line: string, publicKey: KeyObject): boolean {
  const at = line.length - SIGNATURE_OCTETS - 2;
  const body = at - SIGNATURE_FIELD.length;
  if (body < 1 || !line.endsWith('"}') || line.slice(body, at) !== SIGNATURE_FIELD) return false;
  return isSigned(Buffer.from(line.slice(0, body)), line.slice(at, -2), publicKey);
}

/** What the next checkpoint says of this line. */
export function checkpointHash(line: string): string {
  return digest(line);
}

/** What the first checkpoint says of the line before it. */
export const NO_CHECKPOINT = checkpointHash('');
