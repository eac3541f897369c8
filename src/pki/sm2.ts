import { createHash } from 'node:crypto';
import { bitStringOctets, DerCursor, malformed, readSingle, TAG } from './der.ts';

// GB/T 32918.5: the curve y² = x³ − 3x + b over the prime p, its base point G of prime order n.
const P = 0xfffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffffn;
const N = 0xfffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123n;
const A_HEX = 'fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc';
const B_HEX = '28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93';
const GX_HEX = '32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7';
const GY_HEX = 'bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0';

// GM/T 0009 section 10, RFC 8998 section 3.3: the signer's identity where none was agreed, as in certificates and CRLs.
const DEFAULT_IDENTITY = Buffer.from('1234567812345678', 'latin1');

/** Jacobian coordinates: x = X/Z², y = Y/Z³; Z = 0 is the point at infinity. */
interface Point {
  readonly x: bigint;
  readonly y: bigint;
  readonly z: bigint;
}

const INFINITY: Point = { x: 1n, y: 1n, z: 0n };
const BASE: Point = { x: BigInt(`0x${GX_HEX}`), y: BigInt(`0x${GY_HEX}`), z: 1n };

/**
 * Verifies an SM2 signature (GB/T 32918.2 section 7.1) over SM3 with the default signer identity, which issuers in China use
 * and which Node offers no way to name: its own `verify` takes the identity for empty. Only public values are computed with,
 * so nothing here needs constant time. False for what is no signature; throws a PkiError for a key off the curve.
 */
export function verifySm2(tbs: Uint8Array, signature: Uint8Array, spki: Uint8Array): boolean {
  const { point, hex } = readPoint(spki);
  const { r, s } = readSignature(signature);
  const t = (r + s) % N;
  if (r === 0n || r >= N || s === 0n || s >= N || t === 0n) return false;
  const e = BigInt(`0x${createHash('sm3').update(identityDigest(hex)).update(tbs).digest('hex')}`);
  const x = affineX(sumOfMultiples(s, t, point));
  return x !== undefined && (e + x) % N === r;
}

function readPoint(spki: Uint8Array): { readonly point: Point; readonly hex: string } {
  const cursor = new DerCursor(readSingle(spki, TAG.sequence, 'public key').content, 'public key');
  cursor.expect(TAG.sequence);
  const { octets } = bitStringOctets(cursor.expect(TAG.bitString).content, 'public key');
  if (octets.length !== 65 || octets[0] !== 4) throw malformed('public key: not an uncompressed point');
  const hex = Buffer.from(octets.subarray(1)).toString('hex');
  const [x, y] = [BigInt(`0x${hex.slice(0, 64)}`), BigInt(`0x${hex.slice(64)}`)];
  const onCurve = x < P && y < P && modP(y * y - (x * x - 3n) * x - BigInt(`0x${B_HEX}`)) === 0n;
  if (!onCurve) throw malformed('public key: not a point of the SM2 curve');
  return { point: { x, y, z: 1n }, hex };
}

function readSignature(signature: Uint8Array): { readonly r: bigint; readonly s: bigint } {
  const cursor = new DerCursor(readSingle(signature, TAG.sequence, 'signature').content, 'signature');
  const r = readUnsigned(cursor.expect(TAG.integer).content);
  const s = readUnsigned(cursor.expect(TAG.integer).content);
  cursor.end();
  return { r, s };
}

function readUnsigned(content: Uint8Array): bigint {
  // Negative or longer than the order: out of range, as zero is.
  if (content.length === 0 || content.length > 33 || (content[0] as number) >= 0x80) return 0n;
  return BigInt(`0x${Buffer.from(content).toString('hex')}`);
}

/** Z of GB/T 32918.2 section 5.5: who signs, on which curve, with which key. */
function identityDigest(publicHex: string): Buffer {
  const bits = Buffer.of(0, DEFAULT_IDENTITY.length * 8);
  return createHash('sm3').update(bits).update(DEFAULT_IDENTITY).update(A_HEX + B_HEX + GX_HEX + GY_HEX + publicHex, 'hex').digest();
}

function modP(value: bigint): bigint {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}

/** [s]G + [t]Q, both multiplications in one run over the bits. */
function sumOfMultiples(s: bigint, t: bigint, point: Point): Point {
  const both = add(BASE, point);
  let sum = INFINITY;
  for (let bit = 255n; bit >= 0n; bit -= 1n) {
    sum = double(sum);
    const inS = (s >> bit) & 1n;
    const inT = (t >> bit) & 1n;
    if (inS === 1n && inT === 1n) sum = add(sum, both);
    else if (inS === 1n) sum = add(sum, BASE);
    else if (inT === 1n) sum = add(sum, point);
  }
  return sum;
}

function double({ x, y, z }: Point): Point {
  if (z === 0n || y === 0n) return INFINITY;
  const delta = modP(z * z);
  const gamma = modP(y * y);
  const beta = modP(x * gamma);
  const alpha = modP(3n * (x - delta) * (x + delta));
  const x3 = modP(alpha * alpha - 8n * beta);
  return { x: x3, y: modP(alpha * (4n * beta - x3) - 8n * gamma * gamma), z: modP(2n * y * z) };
}

function add(left: Point, right: Point): Point {
  if (left.z === 0n) return right;
  if (right.z === 0n) return left;
  const z1 = modP(left.z * left.z);
  const z2 = modP(right.z * right.z);
  const u1 = modP(left.x * z2);
  const h = modP(right.x * z1 - u1);
  const s1 = modP(left.y * z2 * right.z);
  const slope = modP(right.y * z1 * left.z - s1);
  if (h === 0n) return slope === 0n ? double(left) : INFINITY;
  const h2 = modP(h * h);
  const h3 = modP(h2 * h);
  const v = modP(u1 * h2);
  const x = modP(slope * slope - h3 - 2n * v);
  return { x, y: modP(slope * (v - x) - s1 * h3), z: modP(h * left.z * right.z) };
}

function affineX({ x, z }: Point): bigint | undefined {
  if (z === 0n) return undefined;
  const inverse = invert(z);
  return modP(x * modP(inverse * inverse));
}

function invert(value: bigint): bigint {
  let [r0, r1] = [P, modP(value)];
  let [t0, t1] = [0n, 1n];
  while (r1 !== 0n) {
    const quotient = r0 / r1;
    [r0, r1] = [r1, r0 - quotient * r1];
    [t0, t1] = [t1, t0 - quotient * t1];
  }
  return modP(t0);
}
