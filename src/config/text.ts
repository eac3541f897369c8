export type Decoded = { readonly kind: 'ok'; readonly text: string } | { readonly kind: 'fault'; readonly message: string; readonly line: number };

/** Reads UTF-8, strictly: a character that is replaced could be part of a name that rights are given to. */
export function decodeUtf8(bytes: Uint8Array): Decoded {
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    return { kind: 'fault', message: 'the file is UTF-16; expected UTF-8', line: 1 };
  }
  try {
    return { kind: 'ok', text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return { kind: 'fault', message: 'the file is not UTF-8', line: firstUndecodableLine(bytes) };
  }
}

function firstUndecodableLine(bytes: Uint8Array): number {
  const shown = new TextDecoder('utf-8').decode(bytes);
  const lines = shown.slice(0, Math.max(0, shown.indexOf('\ufffd'))).split('\n');
  return lines.length;
}
