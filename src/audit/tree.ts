import { hash } from 'node:crypto';
import { START, statedLink, type Link } from './chain.ts';
import type { Evidence } from './evidence.ts';
import { PIECE_OCTETS, segmentPieces } from './pieces.ts';
import { scanSegment } from './segment.ts';

/*
 * The Merkle tree of RFC 6962, section 2.1, over the hashes of the lines of a segment: its root is signed once the segment is closed, and from then on a
 * single line proves that it stands there with a few hashes and nothing of the other lines.
 */
const NODE_OCTETS = 32;
const LEAF = Buffer.alloc(1 + 43);
const NODE = Buffer.alloc(1 + 2 * NODE_OCTETS, 1);

/** Grows leaf by leaf; keeps a node for each bit of their number. */
export interface TreeRoot {
  add(lineHash: string): void;
  readonly leaves: number;
  /** SHA-256, base64url. */
  root(): string;
}

function leafOf(lineHash: string): Buffer {
  LEAF[0] = 0;
  LEAF.write(lineHash, 1, 'latin1');
  return hash('sha256', LEAF, 'buffer');
}

function nodeOf(left: Uint8Array, right: Uint8Array): Buffer {
  NODE.set(left, 1);
  NODE.set(right, 1 + NODE_OCTETS);
  return hash('sha256', NODE, 'buffer');
}

/** An empty tree. */
function growTree(): TreeRoot {
  const whole: { readonly leaves: number; readonly node: Buffer }[] = [];
  let leaves = 0;
  return {
    add(lineHash) {
      let node = leafOf(lineHash);
      let size = 1;
      for (let last = whole.at(-1); last?.leaves === size; last = whole.at(-1)) {
        node = nodeOf(last.node, node);
        size *= 2;
        whole.pop();
      }
      whole.push({ leaves: size, node });
      leaves += 1;
    },
    get leaves() {
      return leaves;
    },
    root() {
      const [last, ...before] = whole.map(({ node }) => node).reverse();
      return (last === undefined ? hash('sha256', '', 'buffer') : before.reduce((right, left) => nodeOf(left, right), last)).toString('base64url');
    },
  };
}

/** The root of the tree over a segment that ends with this line, its chain followed on the way, a piece at a time; undefined where it is not whole up to there, or not there. */
export function* rootOf(evidence: Pick<Evidence, 'read'>, segment: string, end: Link): Generator<void, string | undefined> {
  const tree = growTree();
  for (let at = START; ; ) {
    let read = 0;
    const scan = evidence.read(segment, (stretch) => scanSegment(stretch, at, (link, _, start, stop) => {
      tree.add(link.hash);
      read += stop - start;
      return read < PIECE_OCTETS;
    }));
    if (scan === undefined || scan.broken !== undefined) return undefined;
    if (scan.lines === 0) return at.seq === end.seq && at.hash === end.hash ? tree.root() : undefined;
    at = scan.at;
    yield;
  }
}

/** A whole tree, for proofs: 64 octets a line. */
export interface Tree {
  readonly root: string;
  readonly leaves: number;
  /** The hashes beside the way from a leaf to the root, base64url. */
  proof(leaf: number): readonly string[];
}

/** The tree over the lines of a segment, a piece at a time; undefined where a line has no hash. */
export function* buildTree(evidence: Pick<Evidence, 'read'>, segment: string): Generator<void, Tree | undefined> {
  let level: Buffer = Buffer.allocUnsafe(1 << 16);
  let leaves = 0;
  let good = true;
  yield* segmentPieces(evidence, segment, (octets, start, end) => {
    const stated = statedLink(octets, start, end);
    if (stated === undefined) {
      good = false;
      return;
    }
    if ((leaves + 1) * NODE_OCTETS > level.length) level = Buffer.concat([level], level.length * 2);
    level.set(leafOf(stated.hash), leaves * NODE_OCTETS);
    leaves += 1;
  });
  if (!good || leaves === 0) return undefined;
  const levels = [level.subarray(0, leaves * NODE_OCTETS)];
  for (let below = levels[0] as Buffer; below.length > NODE_OCTETS; below = levels.at(-1) as Buffer) levels.push(levelAbove(below));
  const top = levels.at(-1) as Buffer;
  return {
    leaves, root: top.toString('base64url'),
    proof: (leaf) => levels.slice(0, -1).flatMap((nodes, height) => {
      const beside = ((leaf >>> height) ^ 1) * NODE_OCTETS;
      return beside < nodes.length ? [nodes.toString('base64url', beside, beside + NODE_OCTETS)] : [];
    }),
  };
}

function levelAbove(below: Buffer): Buffer {
  const above = Buffer.allocUnsafe(Math.ceil(below.length / (2 * NODE_OCTETS)) * NODE_OCTETS);
  for (let at = 0; at < below.length; at += 2 * NODE_OCTETS) {
    const left = below.subarray(at, at + NODE_OCTETS);
    const right = below.subarray(at + NODE_OCTETS, at + 2 * NODE_OCTETS);
    // One without a neighbour goes up as it is.
    above.set(right.length === 0 ? left : nodeOf(left, right), at / 2);
  }
  return above;
}

/** Whether a line of this hash is leaf number `leaf` of `leaves` under the root. */
export function isInTree(lineHash: string, leaf: number, leaves: number, proof: readonly string[], root: string): boolean {
  if (leaf < 0 || leaf >= leaves || lineHash.length !== 43) return false;
  const beside = proof.map((text) => Buffer.from(text, 'base64url'));
  if (beside.some(({ length }) => length !== NODE_OCTETS)) return false;
  let node = leafOf(lineHash);
  let used = 0;
  for (let at = leaf, last = leaves - 1; last > 0; at = Math.floor(at / 2), last = Math.floor(last / 2)) {
    const next = beside[used];
    if (at % 2 === 0 && at === last) continue;
    if (next === undefined) return false;
    node = at % 2 === 1 ? nodeOf(next, node) : nodeOf(node, next);
    used += 1;
  }
  return used === beside.length && node.toString('base64url') === root;
}
