import { unknownShape, type Objection } from './compartment.ts';
import type { JsonValue } from './resource.ts';

/** Objects and lists within each other; FHIR's own resources stay far below. */
const MOST_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

export interface ReadJson extends JsonValue {
  readonly kind: 'json';
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads a whole JSON text (RFC 8259) that is UTF-8 without a byte order mark, and no deeper than `MOST_DEPTH`. */
export function readJson(octets: Uint8Array): ReadJson | Objection {
  const scan = new ValueScan();
  scan.begin();
  if (!scan.read(octets, 0, octets.length)) return unknownShape(`JSON that is nested more than ${MOST_DEPTH} deep`);
  return parse(octets, scan.colons);
}

function parse(octets: Uint8Array, colons: number): ReadJson | Objection {
  try {
    return { kind: 'json', value: JSON.parse(utf8.decode(octets)) as unknown, colons };
  } catch {
    return unknownShape('a body that is no JSON in UTF-8');
  }
}

/**
 * Follows octets of JSON: where texts begin and end, how deep they are nested, and how many members were written. It does not
 * say whether they are JSON: what it has followed is parsed afterwards, and of JSON it has seen the right things.
 */
class ValueScan {
  colons = 0;
  #depth = 0;
  #text = false;
  #escaped = false;

  begin(): void {
    this.colons = 0;
    this.#depth = 0;
    this.#text = false;
    this.#escaped = false;
  }

  /** All of `octets` between two positions; false when they are nested too deeply. */
  read(octets: Uint8Array, from: number, to: number): boolean {
    let at = from;
    while (at < to) {
      at = this.#text ? this.#skipText(octets, at, to) : this.#step(octets[at] as number, at);
      if (this.#depth > MOST_DEPTH) return false;
    }
    return true;
  }

  /** Reads on to the end of a text, or of an object or list that has begun: the position behind it, or -1 when it is not there. */
  readEnd(octets: Uint8Array, from: number, to: number): number {
    let at = from;
    while (at < to) {
      at = this.#text ? this.#skipText(octets, at, to) : this.#step(octets[at] as number, at);
      if (this.#depth <= 0 && !this.#text) return at;
      if (this.#depth > MOST_DEPTH) return at;
    }
    return -1;
  }

  get tooDeep(): boolean {
    return this.#depth > MOST_DEPTH;
  }

  #step(octet: number, at: number): number {
    switch (octet) {
      case QUOTE: this.#text = true; break;
      case COLON: this.colons++; break;
      case 0x7b: case 0x5b: this.#depth++; break;
      case 0x7d: case 0x5d: this.#depth--; break;
    }
    return at + 1;
  }

  #skipText(octets: Uint8Array, from: number, to: number): number {
    let at = from;
    if (this.#escaped) {
      this.#escaped = false;
      at++;
    }
    while (at < to) {
      const octet = octets[at++] as number;
      if (octet === QUOTE) {
        this.#text = false;
        return at;
      }
      if (octet !== BACKSLASH) continue;
      if (at < to) at++;
      else this.#escaped = true;
    }
    return at;
  }
}

/** Who judges what was read of an answer. */
export interface Judge {
  /** An answer that is no Bundle, or whose beginning did not say so. */
  whole(value: JsonValue): Objection | undefined;
  /** A member of a Bundle, but `entry`. */
  member(name: string, value: JsonValue): Objection | undefined;
  /** One entry of a Bundle, from 0. */
  entry(value: JsonValue, index: number): Objection | undefined;
}

/** Octets that have been judged, in their order. */
export type Judged = { readonly kind: 'octets'; readonly octets: readonly Uint8Array[] } | Objection;

type State =
  | 'start' | 'first-name' | 'name' | 'in-name' | 'colon' | 'value' | 'in-value' | 'behind-member'
  | 'first-item' | 'item' | 'behind-item' | 'done';

/**
 * Reads an answer of FHIR in JSON as it comes and hands out what has been judged, octet for octet. A Bundle that says in its
 * first member that it is one is judged member by member and entry by entry, and no more is kept of it than of one of
 * them; anything else is judged as a whole. `most`: octets of what is kept.
 */
export class AnswerReader {
  readonly #judge: Judge;
  readonly #most: number;
  /** Octets that came and are not judged yet. */
  #kept: Uint8Array[] = [];
  #keptOctets = 0;
  #mode: 'undecided' | 'bundle' | 'whole' = 'undecided';
  #state: State = 'start';
  #behind: 'behind-member' | 'behind-item' = 'behind-member';
  #kind: 'structured' | 'plain' = 'plain';
  readonly #scan = new ValueScan();
  /** Octets of the name or value that is being read, from the pieces before. */
  #part: Uint8Array[] = [];
  #partOctets = 0;
  /** Blanks in a row, up to here. */
  #blanks = 0;
  #name = '';
  readonly #names = new Set<string>();
  #entries = 0;

  constructor(judge: Judge, most: number) {
    this.#judge = judge;
    this.#most = most;
  }

  /** Reads on. After an objection nothing must be read any more. */
  read(octets: Uint8Array): Judged {
    if (this.#isWhole) return this.#keep(octets) ?? NOTHING;
    let at = 0;
    let judged = 0;
    while (at < octets.length) {
      const state = this.#state;
      const next = this.#advance(octets, at);
      if (typeof next === 'object') return next;
      // A member of a Bundle, or one of its entries, is judged: all before its end may leave.
      if (next > at && this.#mode === 'bundle' && state === 'in-value' && this.#state !== 'in-value') judged = next;
      at = next;
      if (this.#isWhole) break;
    }
    if (judged === 0) return this.#keep(octets) ?? NOTHING;
    const out = [...this.#kept, octets.subarray(0, judged)];
    this.#kept = [];
    this.#keptOctets = 0;
    return this.#keep(octets.subarray(judged)) ?? { kind: 'octets', octets: out };
  }

  /** The answer has come to its end: what is left, judged. */
  end(): Judged {
    const { length } = this.#kept;
    if (this.#mode === 'undecided' && this.#keptOctets === 0) return NOTHING;
    if (this.#mode === 'bundle') {
      if (this.#state !== 'done') return unknownShape('an answer that ends within its JSON');
      return this.#names.has('type') ? { kind: 'octets', octets: this.#kept } : unknownShape('a Bundle without a type');
    }
    const whole = length === 1 ? this.#kept[0] as Uint8Array : joined(this.#kept);
    const read = readJson(whole);
    if (read.kind === 'objection') return read;
    return this.#judge.whole(read) ?? { kind: 'octets', octets: [whole] };
  }

  get #isWhole(): boolean {
    return this.#mode === 'whole';
  }

  #keep(octets: Uint8Array): Objection | undefined {
    if (octets.length === 0) return undefined;
    this.#kept.push(octets);
    this.#keptOctets += octets.length;
    return this.#isWhole && this.#keptOctets > this.#most ? this.#tooLarge() : undefined;
  }

  #tooLarge(): Objection {
    return unknownShape(`a resource of more than ${this.#most} octets`);
  }

  #advance(octets: Uint8Array, at: number): number | Objection {
    switch (this.#state) {
      case 'in-name': return this.#readName(octets, at);
      case 'in-value': return this.#readValue(octets, at);
      default: {
        const octet = octets[at] as number;
        const blank = octet === 0x20 || octet === 0x0a || octet === 0x0d || octet === 0x09;
        this.#blanks = blank ? this.#blanks + 1 : 0;
        if (blank) return this.#blanks > this.#most ? this.#tooLarge() : at + 1;
        return this.#begin(octet, at);
      }
    }
  }

  #begin(octet: number, at: number): number | Objection {
    switch (this.#state) {
      case 'start': return octet === 0x7b ? this.#go('first-name', at + 1) : unexpected();
      case 'first-name':
        if (octet === 0x7d) return this.#go('done', at + 1);
        return octet === QUOTE ? this.#beginName(at) : unexpected();
      case 'name': return octet === QUOTE ? this.#beginName(at) : unexpected();
      case 'colon': return octet === COLON ? this.#go('value', at + 1) : unexpected();
      case 'value':
        if (this.#mode === 'bundle' && this.#name === 'entry') return octet === 0x5b ? this.#go('first-item', at + 1) : unexpected();
        return this.#beginValue(octet, at, 'behind-member');
      case 'behind-member':
        if (octet === 0x7d) return this.#go('done', at + 1);
        return octet === 0x2c ? this.#go('name', at + 1) : unexpected();
      case 'first-item':
        return octet === 0x5d ? this.#go('behind-member', at + 1) : this.#beginValue(octet, at, 'behind-item');
      case 'item': return this.#beginValue(octet, at, 'behind-item');
      case 'behind-item':
        if (octet === 0x5d) return this.#go('behind-member', at + 1);
        return octet === 0x2c ? this.#go('item', at + 1) : unexpected();
      default: return unexpected();
    }
  }

  #go(state: State, at: number): number {
    this.#state = state;
    return at;
  }

  #beginName(at: number): number {
    this.#scan.begin();
    return this.#go('in-name', at);
  }

  #readName(octets: Uint8Array, at: number): number | Objection {
    const end = this.#scan.readEnd(octets, at, octets.length);
    if (!this.#addPart(octets, at, end)) return this.#tooLarge();
    if (end === -1) return octets.length;
    const read = parse(this.#takePart(), 0);
    if (read.kind === 'objection') return read;
    this.#name = read.value as string;
    const name = this.#name.toLowerCase();
    if (this.#names.has(name)) return unknownShape('a member that is written twice');
    this.#names.add(name);
    return this.#go('colon', end);
  }

  #beginValue(octet: number, at: number, behind: 'behind-member' | 'behind-item'): number | Objection {
    // Values do not begin with what ends one.
    if (octet === 0x2c || octet === 0x5d || octet === 0x7d || octet === COLON) return unexpected();
    this.#behind = behind;
    this.#kind = octet === QUOTE || octet === 0x7b || octet === 0x5b ? 'structured' : 'plain';
    this.#scan.begin();
    return this.#go('in-value', at);
  }

  #readValue(octets: Uint8Array, at: number): number | Objection {
    const end = this.#kind === 'structured' ? this.#scan.readEnd(octets, at, octets.length) : endOfPlain(octets, at);
    if (this.#scan.tooDeep) return unknownShape(`JSON that is nested more than ${MOST_DEPTH} deep`);
    if (!this.#addPart(octets, at, end)) return this.#tooLarge();
    if (end === -1) return octets.length;
    const read = parse(this.#takePart(), this.#scan.colons);
    if (read.kind === 'objection') return read;
    return this.#taken(read) ?? this.#go(this.#behind, end);
  }

  /** False when what is read is larger than anything that is kept. */
  #addPart(octets: Uint8Array, at: number, end: number): boolean {
    const part = octets.subarray(at, end === -1 ? octets.length : end);
    this.#part.push(part);
    this.#partOctets += part.length;
    return this.#partOctets <= this.#most;
  }

  #takePart(): Uint8Array {
    const whole = joined(this.#part);
    this.#part = [];
    this.#partOctets = 0;
    return whole;
  }

  #taken(read: ReadJson): Objection | undefined {
    if (this.#mode === 'undecided') {
      this.#mode = this.#name === 'resourceType' && read.value === 'Bundle' ? 'bundle' : 'whole';
      return undefined;
    }
    return this.#behind === 'behind-item' ? this.#judge.entry(read, this.#entries++) : this.#judge.member(this.#name, read);
  }
}

const NOTHING: Judged = { kind: 'octets', octets: [] };

/** The end of a number or a word: whatever may follow a value ends it. */
function endOfPlain(octets: Uint8Array, from: number): number {
  for (let at = from; at < octets.length; at++) {
    const octet = octets[at] as number;
    if (octet === 0x2c || octet === 0x5d || octet === 0x7d || octet === 0x20 || octet === 0x0a || octet === 0x0d || octet === 0x09) return at;
  }
  return -1;
}

function unexpected(): Objection {
  return unknownShape('a body that is no JSON in UTF-8');
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0] as Uint8Array;
  return Buffer.concat(parts);
}
