import { describe, expect, test } from 'vitest';
import { AnswerReader, readJson, type Judge } from '../src/policy/fhir/json.ts';
import { judgeMembers, type JsonValue } from '../src/policy/fhir/resource.ts';
import { judgeAnswer, judgeBundleMember, judgeEntry } from '../src/policy/fhir/bundle.ts';
import type { Compartment } from '../src/policy/fhir/compartment.ts';

const compartment: Compartment = { patient: 'A', host: 'api.test', base: '/fhir', bases: [], shared: new Set(['Practitioner']) };
const MOST = 4_096;

/** What a reader hands out of octets that come in pieces of these sizes; undefined where it objects. */
function readPieces(octets: Uint8Array, sizes: (left: number) => number, judge: Judge = whatever().judge, most = MOST): Buffer | undefined {
  const reader = new AnswerReader(judge, most);
  const out: Uint8Array[] = [];
  for (let at = 0; at < octets.length;) {
    const size = Math.max(1, Math.min(sizes(octets.length - at), octets.length - at));
    const judged = reader.read(octets.subarray(at, at + size));
    if (judged.kind === 'objection') return undefined;
    out.push(...judged.octets);
    at += size;
  }
  const judged = reader.end();
  return judged.kind === 'objection' ? undefined : Buffer.concat([...out, ...judged.octets]);
}

/** A judge that lets everything pass that has one reading, and what it was shown. */
function whatever(): { readonly judge: Judge; readonly seen: { whole?: unknown; members: Record<string, unknown>; entries: unknown[] } } {
  const seen: { whole?: unknown; members: Record<string, unknown>; entries: unknown[] } = { members: {}, entries: [] };
  const once = ({ value, colons }: JsonValue) => judgeMembers(value, colons);
  return {
    seen,
    judge: {
      whole(value) { seen.whole = value.value; return once(value); },
      member(name, value) { Object.defineProperty(seen.members, name, { value: value.value, enumerable: true }); return once(value); },
      entry(value) { seen.entries.push(value.value); return once(value); },
    },
  };
}

const ours: Judge = {
  whole: (value) => judgeAnswer(value, compartment),
  member: (name, value) => judgeBundleMember(name, value, compartment),
  entry: (value, index) => judgeEntry(value, index, compartment),
};

function read(text: string | Uint8Array, judge: Judge = ours, most = MOST): string | undefined {
  const octets = typeof text === 'string' ? Buffer.from(text) : text;
  const whole = readPieces(octets, () => octets.length, judge, most)?.toString();
  const single = readPieces(octets, () => 1, judge, most)?.toString();
  expect(single).toBe(whole);
  return whole;
}

const observation = (patient: string, more: object = {}): string => JSON.stringify({ resourceType: 'Observation', id: 'o', status: 'final', subject: { reference: `Patient/${patient}` }, ...more });
const bundle = (...entries: string[]): string => `{"resourceType":"Bundle","type":"searchset","entry":[${entries.map((entry) => `{"resource":${entry}}`).join(',')}]}`;

describe('what is read of an answer', () => {
  test.each([
    ['a resource', observation('A')],
    ['a Bundle', bundle(observation('A'), observation('A'))],
    ['an empty Bundle', bundle()],
    ['a Bundle without entries', '{"resourceType":"Bundle","type":"searchset","total":0}'],
    ['a Bundle with blanks everywhere', ` {\n"resourceType" :\t"Bundle" , "type":"searchset","entry" : [ {"resource": ${observation('A')} } \r\n, {"resource":${observation('A')}} ] , "total" : 2 } \n`],
    ['a Bundle that says last that it is one', `{"type":"searchset","entry":[{"resource":${observation('A')}}],"resourceType":"Bundle"}`],
    ['escaped names', String.raw`{"resourceTyp\u0065":"Bundl\u0065","type":"searchset","\u0065ntry":[{"resource":${observation('A')}}]}`],
    ['nothing', ''],
  ])('passes octet for octet: %s', (_, text) => {
    expect(read(text)).toBe(text);
  });

  test.each([
    ['another patient\'s resource', observation('B')],
    ['another patient\'s resource behind ours', bundle(observation('A'), observation('B'))],
    ['the subject written twice', observation('A').replace('"status"', '"subject":{"reference":"Patient/B"},"status"')],
    ['the subject written twice in two cases', observation('A').replace('"status"', '"Subject":{"reference":"Patient/B"},"status"')],
    ['the resource of an entry written twice', `{"resourceType":"Bundle","type":"searchset","entry":[{"resource":${observation('B')},"resource":${observation('A')}}]}`],
    ['the entries written twice', `{"resourceType":"Bundle","type":"searchset","entry":[{"resource":${observation('A')}}],"entry":[{"resource":${observation('B')}}]}`],
    ['the entries written twice in two cases', `{"resourceType":"Bundle","type":"searchset","entry":[],"Entry":[{"resource":${observation('B')}}]}`],
    ['the type written twice', `{"resourceType":"Bundle","resourceType":"Patient","type":"searchset","entry":[]}`],
    ['entries that are no list', `{"resourceType":"Bundle","type":"searchset","entry":{"resource":${observation('A')}}}`],
    ['__proto__', observation('A').replace('"status"', '"__proto__":{"reference":"Patient/B"},"status"')],
    ['a byte order mark', `\ufeff${observation('A')}`],
    ['NaN', observation('A').replace('"final"', 'NaN')],
    ['a trailing comma', observation('A').replace(/\}$/, ',}')],
    ['a comment', observation('A').replace('{', '{/**/')],
    ['single quotes', observation('A').replaceAll('"', '\'')],
    ['a second value behind the first', `${observation('A')}${observation('B')}`],
    ['a second value behind a Bundle', `${bundle(observation('A'))}${observation('B')}`],
    ['a second line of values', `${observation('A')}\n${observation('B')}`],
    ['octets behind a Bundle', `${bundle(observation('A'))}x`],
    ['a Bundle that ends too early', bundle(observation('A')).slice(0, -1)],
    ['a list', `[${observation('A')}]`],
    ['a text', '"Patient/B"'],
    ['half a surrogate pair', observation('A', { note: 'x' }).replace('"x"', String.raw`"\ud800"`)],
    ['a control character in a text', observation('A', { note: 'x' }).replace('"x"', '"\u0001"')],
    ['a Bundle of another kind', '{"resourceType":"Bundle","type":"message","entry":[]}'],
    ['a Bundle of no kind', '{"resourceType":"Bundle","entry":[]}'],
    ['a Bundle with a member of its own', '{"resourceType":"Bundle","type":"searchset","resource":{}}'],
    ['closing brackets of the wrong kind', bundle(observation('A')).replace(']}', '}]')],
    ['a missing comma between entries', bundle(observation('A'), observation('A')).replace('},{', '}{')],
    ['blanks alone', '   '],
  ])('refuses %s', (_, text) => {
    expect(read(text)).toBeUndefined();
  });

  test('refuses octets that are no UTF-8, and goes on reading others afterwards', () => {
    const octets = Buffer.concat([Buffer.from('{"resourceType":"Observation","note":"'), Buffer.from([0xc3, 0x28]), Buffer.from('","subject":{"reference":"Patient/A"}}')]);
    expect(read(octets)).toBeUndefined();
    expect(read(Buffer.concat([Buffer.from('{"resourceType":"Observation","note":"'), Buffer.from([0xc3])]))).toBeUndefined();
    expect(read(observation('A'))).toBe(observation('A'));
  });

  test('refuses what is nested too deeply, without following it', () => {
    const deep = (depth: number): string => observation('A').replace(/\}$/, `,"extension":${'['.repeat(depth)}${']'.repeat(depth)}}`);
    expect(read(deep(50))).toBe(deep(50));
    expect(read(deep(70))).toBeUndefined();
    expect(read(bundle(deep(70)))).toBeUndefined();
    expect(read(`{"resourceType":"Bundle","type":${'['.repeat(100_000)}`, ours, 1 << 20)).toBeUndefined();
    expect(read('['.repeat(100_000))).toBeUndefined();
    expect(readJson(Buffer.from('{"a":'.repeat(100_000))).kind).toBe('objection');
  });

  test('keeps no more than one resource, and refuses one that is larger', () => {
    const large = observation('A', { note: 'x'.repeat(MOST) });
    expect(read(large)).toBeUndefined();
    expect(read(bundle(observation('A'), large))).toBeUndefined();
    expect(read(`{"resourceType":"Bundle","type":"searchset"${' '.repeat(2 * MOST)}}`)).toBeUndefined();
    const many = bundle(...Array.from({ length: 200 }, () => observation('A')));
    expect(many.length).toBeGreaterThan(4 * MOST);
    expect(readPieces(Buffer.from(many), () => 512, ours)?.toString()).toBe(many);
  });

  test('hands out nothing of an entry before it has been judged', () => {
    const reader = new AnswerReader(ours, MOST);
    const text = bundle(observation('A'), observation('B'));
    const out: Uint8Array[] = [];
    for (const octet of Buffer.from(text)) {
      const judged = reader.read(Uint8Array.of(octet));
      if (judged.kind === 'objection') break;
      out.push(...judged.octets);
    }
    const sent = Buffer.concat(out).toString();
    expect(sent).toContain('Patient/A');
    expect(sent).not.toContain('Patient/B');
    expect(text.startsWith(sent)).toBe(true);
    expect(sent.endsWith('}')).toBe(true);
  });
});

/** Numbers that look random and are the same every time (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const PIECES = ['{', '}', '[', ']', ',', ':', '"', '\\', '"a"', '"entry"', '"resourceType"', '"Bundle"', '"type"', '"resource"', 'true', 'null', '1', '-1.5e3', '01', '\\u0041', '\\"', ' ', '\n', '\u00e9', '{}', '[]', '"":', '"__proto__":1', '/', '\ufeff'];

function mutated(random: () => number): string {
  const pick = (): string => PIECES[Math.floor(random() * PIECES.length)] as string;
  if (random() < 0.3) return Array.from({ length: Math.floor(random() * 20) }, pick).join('');
  let text = random() < 0.7 ? bundle(...Array.from({ length: Math.floor(random() * 3) }, () => observation('A'))) : observation('A');
  const changes = Math.floor(random() * 3);
  for (let change = 0; change < changes; change++) {
    const at = Math.floor(random() * text.length);
    const kind = random();
    if (kind < 0.4) text = text.slice(0, at) + pick() + text.slice(at);
    else if (kind < 0.7) text = text.slice(0, at) + text.slice(at + 1 + Math.floor(random() * 4));
    else text = text.slice(0, at) + text.slice(at, at + Math.floor(random() * 30)) + text.slice(at);
  }
  return text;
}

test('whatever is accepted is what JSON.parse reads, in whatever pieces it comes', () => {
  const random = generator(4);
  const rounds = Number(process.env['FUZZ_ROUNDS'] ?? 40_000);
  let accepted = 0;
  for (let round = 0; round < rounds; round++) {
    const text = mutated(random);
    const { judge, seen } = whatever();
    const octets = Buffer.from(text);
    const out = readPieces(octets, () => Math.ceil(random() * 40), judge);
    const whole = readPieces(octets, () => octets.length, whatever().judge);
    expect(whole?.toString(), text).toBe(out?.toString());
    if (out === undefined || text === '') continue;
    accepted++;
    expect(out.toString(), text).toBe(text);
    const expected = JSON.parse(text) as Record<string, unknown>;
    if (seen.whole !== undefined) expect(seen.whole, text).toEqual(expected);
    else {
      const { resourceType, entry, ...members } = expected;
      expect(resourceType, text).toBe('Bundle');
      expect(seen.entries, text).toEqual(entry ?? []);
      expect(seen.members, text).toEqual(members);
    }
  }
  expect(accepted).toBeGreaterThan(rounds / 10);
});
