import { malformed } from './der.ts';

export interface PemBlock {
  readonly label: string;
  readonly der: Uint8Array;
}

const BOUNDARY = /^-----(BEGIN|END) ([A-Z0-9][A-Z0-9 ]*)-----[ \t]*$/;
const BASE64_LINE = /^[A-Za-z0-9+/]+={0,2}[ \t]*$/;

/**
 * Every PEM block of a text (RFC 7468), in order, or only those of one label. Text between the blocks is allowed, as
 * certificate bundles carry comments; inside a block only base64 is. A block that does not end, ends under another label,
 * or is not canonical base64 throws a PkiError that names its line.
 */
export function pemBlocks(text: string, label?: string): PemBlock[] {
  const blocks: PemBlock[] = [];
  let open: { label: string; line: number; base64: string[] } | undefined;
  text.split(/\r\n|\n|\r/).forEach((line, index) => {
    const boundary = BOUNDARY.exec(line);
    const found = boundary?.[2];
    if (boundary === null || found === undefined) {
      if (open !== undefined) open.base64.push(base64Line(line, index + 1));
      else if (line.startsWith('-----')) throw malformed(`PEM line ${index + 1}: not a boundary: ${JSON.stringify(line.slice(0, 60))}`);
      return;
    }
    if (boundary[1] === 'BEGIN') {
      if (open !== undefined) throw malformed(`PEM line ${index + 1}: BEGIN inside the block of line ${open.line}`);
      open = { label: found, line: index + 1, base64: [] };
      return;
    }
    if (open === undefined || open.label !== found) throw malformed(`PEM line ${index + 1}: END ${found} without its BEGIN`);
    blocks.push({ label: found, der: decodeBase64(open.base64.join(''), open.line) });
    open = undefined;
  });
  if (open !== undefined) throw malformed(`PEM line ${(open as { line: number }).line}: block does not end`);
  return label === undefined ? blocks : blocks.filter((block) => block.label === label);
}

function base64Line(line: string, number: number): string {
  if (line.trim() === '') return '';
  if (!BASE64_LINE.test(line)) throw malformed(`PEM line ${number}: not base64`);
  return line.trimEnd();
}

function decodeBase64(base64: string, line: number): Uint8Array {
  const bytes = Buffer.from(base64, 'base64');
  // Node skips what it does not understand; only text that encodes back to itself was base64 throughout.
  if (bytes.length === 0 || bytes.toString('base64') !== base64) throw malformed(`PEM line ${line}: not canonical base64`);
  return new Uint8Array(bytes);
}
