import { createDecipheriv, createHmac, createPrivateKey, createPublicKey, diffieHellman, hkdfSync, scryptSync, timingSafeEqual } from 'node:crypto';

/*
 * A reader of backups that was written from docs/backup.md alone: nothing of src is imported, so that whoever has the document and any library of
 * ciphers can open one.
 */

export interface Scrypted {
  readonly N: number;
  readonly r: number;
  readonly p: number;
  readonly salt: string;
  readonly wrapped: string;
}

interface Lock extends Scrypted {
  readonly kind: 'passphrase' | 'holders';
  readonly need: number;
  readonly shares: readonly { readonly key: string; readonly ephemeral: string; readonly wrapped: string }[];
}

export type Opener = { readonly passphrase: string } | { readonly keys: readonly { readonly text: string; readonly passphrase: string }[] };

/** The archive inside a backup. */
export function openBackupByTheBook(file: Buffer, opener: Opener): Buffer {
  if (file.toString('latin1', 0, 16) !== 'WARDGATE-BACKUP\n' || file[16] !== 1) throw new Error('no backup');
  const end = 21 + file.readUInt32BE(17);
  const { lock } = JSON.parse(file.toString('utf8', 21, end)) as { lock: Lock };
  const key = 'passphrase' in opener ? unwrap(stretch(opener.passphrase, lock), lock.wrapped, 'wardgate backup v1 passphrase') : joined(lock, opener.keys);
  const mac = createHmac('sha256', expand(key, Buffer.alloc(0), 'wardgate backup v1 header')).update(file.subarray(0, end)).digest();
  if (!timingSafeEqual(mac, file.subarray(end, end + 32))) throw new Error('another header');
  const payload = expand(key, Buffer.alloc(0), 'wardgate backup v1 payload');
  const parts: Buffer[] = [];
  for (let at = end + 32, counter = 0; at < file.length; at += 65_552, counter++) {
    const chunk = file.subarray(at, at + 65_552);
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(counter, 7);
    nonce[11] = at + 65_552 >= file.length ? 1 : 0;
    parts.push(gcm(payload, nonce, chunk));
  }
  return Buffer.concat(parts);
}

function joined(lock: Lock, keys: readonly { readonly text: string; readonly passphrase: string }[]): Buffer {
  const points = keys.map(({ text, passphrase }) => {
    const own = JSON.parse(text) as Scrypted & { public: string };
    const publicKey = Buffer.from(own.public, 'base64');
    const secret = unwrap(stretch(passphrase, own), own.wrapped, `wardgate backup v1 key ${publicKey.toString('hex')}`);
    const share = lock.shares.find((one) => one.key === own.public);
    if (share === undefined) throw new Error('not for this key');
    const ephemeral = Buffer.from(share.ephemeral, 'base64');
    const shared = diffieHellman({
      privateKey: createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), secret]), format: 'der', type: 'pkcs8' }),
      publicKey: createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), ephemeral]), format: 'der', type: 'spki' }),
    });
    return unwrap(expand(shared, Buffer.concat([ephemeral, publicKey]), 'wardgate backup v1 share'), share.wrapped, 'wardgate backup v1 share');
  }).slice(0, lock.need);
  return Buffer.from(Array.from({ length: 32 }, (_, place) => points.reduce((sum, point, index) => {
    const weight = points.reduce((product, other, at) => (at === index ? product : times(product, over(other[0] ?? 0, (other[0] ?? 0) ^ (point[0] ?? 0)))), 1);
    return sum ^ times(point[place + 1] ?? 0, weight);
  }, 0)));
}

/** In GF(2^8), by long multiplication and long division. */
export function times(left: number, right: number): number {
  let product = 0;
  for (let bit = 0; bit < 8; bit++) if ((right & (1 << bit)) !== 0) product ^= left << bit;
  for (let bit = 15; bit >= 8; bit--) if ((product & (1 << bit)) !== 0) product ^= 0x11b << (bit - 8);
  return product;
}

function over(left: number, right: number): number {
  return Array.from({ length: 256 }, (_, one) => one).find((one) => times(one, right) === left) ?? 0;
}

function stretch(passphrase: string, { N, r, p, salt }: Scrypted): Buffer {
  return scryptSync(passphrase.normalize('NFKC'), Buffer.from(salt, 'base64'), 32, { N, r, p, maxmem: 1024 ** 3 });
}

function expand(key: Buffer, salt: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, info, 32));
}

function unwrap(key: Buffer, wrapped: string, label: string): Buffer {
  return gcm(key, Buffer.alloc(12), Buffer.from(wrapped, 'base64'), label);
}

function gcm(key: Buffer, nonce: Buffer, sealed: Buffer, label = ''): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(label)).setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
}
