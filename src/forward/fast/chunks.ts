type State = 'size' | 'extension' | 'data' | 'data-end' | 'trailer' | 'end' | 'invalid';

const CR = 13;
const LF = 10;
/** Twelve hexadecimal digits: exact in a double, and more than any body. */
const MOST_DIGITS = 12;
const MOST_EXTENSION = 256;
const MOST_TRAILER = 16_384;

// RFC 9112 section 7.1.1, without the blanks that it lets recipients allow: what is read loosely here is where others see a line end (CVE-2025-55315).
const EXTENSION = /^(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"[\t !#-[\]-~]*"))?)+$/;
const TRAILER_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t -~]*$/;
/** RFC 9110 section 6.5.1: nothing behind a body may change what the message was. */
const NOT_BEHIND_A_BODY = new Set(['content-length', 'transfer-encoding', 'host', 'connection', 'proxy-connection', 'upgrade', 'trailer', 'te']);

/** Reads a chunked body (RFC 9112 section 7.1) that comes in pieces. It keeps no octets but those of the trailer section. */
export class ChunkScanner {
  /** The trailer section as latin1 text, its blank line left out; complete at the end. */
  trailer = '';
  #state: State = 'size';
  #left = 0;
  #digits = 0;
  #extension = '';
  #trailerLine = 0;
  /** A carriage return has been seen, and only a line feed may follow. */
  #returned = false;

  get ended(): boolean {
    return this.#state === 'end';
  }

  get invalid(): boolean {
    return this.#state === 'invalid';
  }

  /**
   * Reads `octets` between two positions, hands the ranges of them that are body to `data`, and returns where it stopped: at
   * the end of the body, or of the octets, or where they are no chunked body any more.
   */
  scan(octets: Uint8Array, from: number, to: number, data: (from: number, to: number) => void): number {
    let at = from;
    while (at < to && this.#state !== 'end' && this.#state !== 'invalid') {
      if (this.#state === 'data') {
        const end = Math.min(to, at + this.#left);
        data(at, end);
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#state = 'data-end';
      } else this.#octet(octets[at++] as number);
    }
    return at;
  }

  #octet(octet: number): void {
    if (this.#returned) return this.#lineFeed(octet);
    if (octet === CR) {
      this.#returned = true;
      return;
    }
    switch (this.#state) {
      case 'size': return this.#sizeDigit(octet);
      // An extension, which goes no further.
      case 'extension':
        this.#extension += String.fromCharCode(octet);
        return this.#need(isText(octet) && this.#extension.length <= MOST_EXTENSION);
      case 'trailer':
        this.trailer += String.fromCharCode(octet);
        return this.#need(isText(octet) && this.trailer.length <= MOST_TRAILER);
      default: return this.#need(false);
    }
  }

  #sizeDigit(octet: number): void {
    const digit = hexValue(octet);
    if (digit === undefined) {
      this.#extension = ';';
      this.#state = octet === 0x3b && this.#digits > 0 ? 'extension' : 'invalid';
      return;
    }
    this.#left = this.#left * 16 + digit;
    this.#need(++this.#digits <= MOST_DIGITS);
  }

  #lineFeed(octet: number): void {
    this.#returned = false;
    if (octet !== LF) return this.#need(false);
    switch (this.#state) {
      case 'size':
      case 'extension':
        if (this.#digits === 0 || (this.#state === 'extension' && !EXTENSION.test(this.#extension))) return this.#need(false);
        this.#digits = 0;
        this.#state = this.#left === 0 ? 'trailer' : 'data';
        return;
      case 'data-end':
        this.#state = 'size';
        return;
      case 'trailer':
        this.#trailerLineEnd();
        return;
      default: return this.#need(false);
    }
  }

  #trailerLineEnd(): void {
    const line = this.trailer.slice(this.#trailerLine);
    if (line === '') {
      this.#state = 'end';
      return;
    }
    const name = TRAILER_LINE.exec(line)?.[1]?.toLowerCase();
    this.trailer += '\r\n';
    this.#trailerLine = this.trailer.length;
    this.#need(name !== undefined && !NOT_BEHIND_A_BODY.has(name));
  }

  #need(condition: boolean): void {
    if (!condition) this.#state = 'invalid';
  }
}

/** The fields of a trailer section that a scanner has read whole: name, value, name, value… */
export function readTrailers(section: string): string[] {
  const fields: string[] = [];
  for (const line of section.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.push(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return fields;
}

function hexValue(octet: number): number | undefined {
  if (octet >= 0x30 && octet <= 0x39) return octet - 0x30;
  const letter = octet | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : undefined;
}

function isText(octet: number): boolean {
  return octet === 0x09 || (octet >= 0x20 && octet <= 0x7e);
}
