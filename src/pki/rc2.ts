const TABLE = Buffer.from(
  'd978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82'
  + '54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb6266fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7'
  + '08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ecc2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731'
  + '2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a90d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad',
  'hex',
);
const ROTATION = [1, 2, 3, 5] as const;
const BLOCK = 8;

/**
 * Decrypts RC2 in CBC mode (RFC 2268), padding left as it is; the effective length is the key's own. OpenSSL keeps this cipher in a
 * provider that Node has not, and PKCS#12 files of before 2021 hide their certificates, which are no secret, under it.
 */
export function decryptRc2Cbc(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Buffer {
  const words = expandKey(key);
  const out = Buffer.alloc(data.length);
  const blocks = Buffer.from(data.buffer, data.byteOffset, data.length);
  for (let at = 0; at + BLOCK <= data.length; at += BLOCK) {
    const plain = decryptBlock(words, [0, 2, 4, 6].map((offset) => blocks.readUInt16LE(at + offset)));
    for (const [index, word] of plain.entries()) out.writeUInt16LE(word, at + 2 * index);
    const previous = at === 0 ? iv : data.subarray(at - BLOCK, at);
    for (let index = 0; index < BLOCK; index++) out[at + index] = (out[at + index] ?? 0) ^ (previous[index] ?? 0);
  }
  return out;
}

/** RFC 2268 section 2. */
function expandKey(key: Uint8Array): Uint16Array {
  const octets = new Uint8Array(128);
  octets.set(key);
  const at = (index: number): number => octets[index] ?? 0;
  for (let index = key.length; index < 128; index++) octets[index] = TABLE[(at(index - 1) + at(index - key.length)) & 0xff] ?? 0;
  // The effective length is a whole number of octets: the mask of the RFC is 0xff.
  octets[128 - key.length] = TABLE[at(128 - key.length)] ?? 0;
  for (let index = 127 - key.length; index >= 0; index--) octets[index] = TABLE[at(index + 1) ^ at(index + key.length)] ?? 0;
  return Uint16Array.from({ length: 64 }, (_, index) => at(2 * index) | (at(2 * index + 1) << 8));
}

/** RFC 2268 section 4: five rounds of mixing, a mash, six, a mash, five; backwards. */
function decryptBlock(words: Uint16Array, block: readonly number[]): number[] {
  const state = [...block];
  const of = (index: number): number => state[index & 3] ?? 0;
  let next = 63;
  for (let round = 0; round < 16; round++) {
    for (let index = 3; index >= 0; index--, next--) {
      const rotation = ROTATION[index] ?? 0;
      const turned = (of(index) >>> rotation) | (of(index) << (16 - rotation));
      state[index] = (turned - (words[next] ?? 0) - (of(index + 3) & of(index + 2)) - (~of(index + 3) & of(index + 1))) & 0xffff;
    }
    if (round !== 4 && round !== 10) continue;
    for (let index = 3; index >= 0; index--) state[index] = (of(index) - (words[of(index + 3) & 63] ?? 0)) & 0xffff;
  }
  return state;
}
