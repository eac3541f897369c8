import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aeTitleFault, hl7NameFault } from '../src/config/values.ts';
import { associationReject, createDicomScanner } from '../src/forward/senders/dicom.ts';
import { readHeader } from '../src/forward/senders/hl7.ts';
import { createMllpScanner } from '../src/forward/senders/mllp.ts';
import type { Scanner } from '../src/forward/senders/scanner.ts';
import { compileSenders, hl7Text, judgeSender, sendersFor, type Announced } from '../src/policy/senders.ts';
import { associationRequest, frame, pdu } from './support/senders.ts';

interface Seen {
  readonly octets: Buffer;
  readonly senders: readonly Announced[];
  readonly fault?: string;
}

/** What a scanner finds in chunks; `admit` false stops at the first sender. */
function scanAll(scanner: Scanner, chunks: readonly Buffer[], admit = true): Seen {
  const passed: Buffer[] = [];
  const senders: Announced[] = [];
  for (const chunk of chunks) {
    for (const finding of scanner.scan(chunk)) {
      if (finding.kind === 'octets') passed.push(finding.octets);
      else if (finding.kind === 'malformed') return { octets: Buffer.concat(passed), senders, fault: finding.detail };
      else {
        senders.push(finding.announced);
        if (!admit) return { octets: Buffer.concat(passed), senders };
      }
    }
  }
  return { octets: Buffer.concat(passed), senders };
}

/** Chunks of a buffer, cut at the given places. */
function cut(octets: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set([0, ...places.map((place) => place % (octets.length + 1)), octets.length])].toSorted((a, b) => a - b);
  return at.slice(1).map((end, index) => octets.subarray(at[index], end));
}

const names = (segment: string): readonly [string, string] | string => {
  const header = readHeader(Buffer.from(segment));
  return header.kind === 'header' ? [header.sender.application, header.sender.facility] : header.detail;
};

describe('the header segment of HL7', () => {
  it.each<readonly [string, string, readonly [string, string]]>([
    ['the usual separators', 'MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260101||ORU^R01|1|P|2.5.1', ['LAB', 'NORTH']],
    ['separators of its own', 'MSH#*!?%#LAB*1.2.3*ISO#NORTH#EHR#', ['LAB^1.2.3^ISO', 'NORTH']],
    ['the truncation character of v2.7', 'MSH|^~\\&#|LAB|NORTH|', ['LAB', 'NORTH']],
    ['no escape character', 'MSH|^~|LAB|NORTH|', ['LAB', 'NORTH']],
    ['components, and empty ones at the end', 'MSH|^~\\&|LAB^1.2.3^ISO|NORTH^^|x', ['LAB^1.2.3^ISO', 'NORTH']],
    ['blanks around, which do not count', 'MSH|^~\\&| LAB ^ 1.2 |NORTH  |x', ['LAB^1.2', 'NORTH']],
    ['separators escaped', 'MSH|^~\\&|A\\T\\E|B\\S\\\\F\\|x', ['A\\T\\E', 'B\\S\\\\F\\']],
    ['other separators escaped', 'MSH#*!?%#A?T?E#B?S?#', ['A\\T\\E', 'B\\S\\']],
    ['subcomponents', 'MSH|^~\\&|A&B&|N|x', ['A&B', 'N']],
    ['nothing', 'MSH|^~\\&||||', ['', '']],
    ['a batch', 'BHS|^~\\&|LAB|NORTH|', ['LAB', 'NORTH']],
    ['UTF-8 declared in MSH-18', `MSH|^~\\&|检验科|北院|${'|'.repeat(13)}UNICODE UTF-8~ISO IR87`, ['检验科', '北院']],
  ])('is read with %s', (_what, segment, expected) => {
    expect(names(segment)).toEqual(expected);
  });

  it.each<readonly [string, string | Buffer, RegExp]>([
    ['no separators', 'MSH', /MSH-2/], ['letters as separators', 'MSHA^~\\&ALABANORTHA', /separators/], ['one declared twice', 'MSH|^^\\&|LAB|NORTH|', /separators/],
    ['blanks declared', 'MSH ^~\\& LAB NORTH ', /separators/], ['too many declared', 'MSH|^~\\&#!|LAB|NORTH|', /two to five/],
    ['an end before MSH-4 ends', 'MSH|^~\\&|LAB|NORTH', /before MSH-4/], ['a repetition', 'MSH|^~\\&|LAB~EVIL|NORTH|', /MSH-3 repeats/],
    ['the usual separator beside another', 'MSH#^~\\&#LAB#NORTH#a|b|EVIL|', /yet there is a \|/],
    ['the usual component separator beside another', 'MSH|*~\\&|LAB^EVIL|NORTH|', /MSH-3 holds a \^/],
    ['a hexadecimal escape', 'MSH|^~\\&|L\\X41\\B|NORTH|', /escape sequence/], ['half an escape', 'MSH|^~\\&|LAB|NOR\\TH|', /MSH-4 holds an escape/],
    ['an undeclared ampersand', 'MSH|^~&|A&E|NORTH|', /MSH-3 holds a &/], ['a long name', `MSH|^~\\&|${'A'.repeat(257)}|N|`, /longer/],
    ['undeclared UTF-8', 'MSH|^~\\&|检验科|NORTH|', /neither ASCII nor UTF-8/], ['a control character', 'MSH|^~\\&|LAB\u0000|NORTH|', /neither ASCII/],
    ['what is declared UTF-8 and is not', Buffer.concat([Buffer.from('MSH|^~\\&|L'), Buffer.of(0xe9), Buffer.from(`|N|${'|'.repeat(13)}UNICODE UTF-8`)]), /neither ASCII/],
  ])('is malformed with %s', (_what, segment, detail) => {
    expect(readHeader(Buffer.from(segment as string))).toMatchObject({ kind: 'malformed', detail: expect.stringMatching(detail) });
  });
});

describe('the MLLP scanner', () => {
  const one = frame('LAB', 'NORTH', 'PID|1||88\rOBX|1|ED|PDF||^application^pdf^Base64^MSHFHSBHS\r');

  it('finds the sender of every message and passes every octet, however the octets are cut', () => {
    const stream = Buffer.concat([
      one, frame('LAB', 'SOUTH', 'OBX|1|TX|||ACTH: 1, MSH: 20 pg/ml\n  bhs. x\rM\rMS\rBH\r mshwari\rdosé: aMSH|1MSH|-MSH|^MSH|é BHS. F\u2028M|FHS|\r'), Buffer.from('\r\n'),
      frame('ADT', 'NORTH', Buffer.from([0xc3, 0x85, 0x4d, 0x53, 0xe2, 0x80, 0xa8, 0x42, 0x0d])),
    ]);
    fc.assert(fc.property(fc.array(fc.nat(), { maxLength: 40 }), (places) => {
      const seen = scanAll(createMllpScanner(), cut(stream, places));
      expect(seen.fault).toBeUndefined();
      expect(seen.octets.equals(stream)).toBe(true);
      expect(seen.senders.map((sender) => (sender.kind === 'mllp' ? `${sender.application} ${sender.facility}` : ''))).toEqual(['LAB NORTH', 'LAB SOUTH', 'ADT NORTH']);
    }));
  });

  it('holds back a frame until its sender is let in, octet by octet too', () => {
    for (const chunks of [[one], cut(one, [...one.keys()])]) {
      expect(scanAll(createMllpScanner(), chunks, false)).toMatchObject({ octets: Buffer.alloc(0), senders: [{ application: 'LAB' }] });
    }
    const second = Buffer.concat([one, frame('EVIL', 'NORTH', '')]);
    const stopped = createMllpScanner();
    const passed: Buffer[] = [];
    for (const finding of stopped.scan(second)) {
      if (finding.kind === 'sender' && finding.announced.kind === 'mllp' && finding.announced.application === 'EVIL') break;
      if (finding.kind === 'octets') passed.push(finding.octets);
    }
    expect(Buffer.concat(passed).equals(one)).toBe(true);
  });

  it('finds a second header in a frame: receivers take batches apart', () => {
    for (const line of ['\r', '\n', '\r\n', '\u000c', '\u001d', '\r\r\r']) {
      const batch = frame('LAB', 'NORTH', `PID|1${line}MSH|^~\\&|EVIL|NORTH|x${line}PID|2\r`);
      expect(scanAll(createMllpScanner(), [batch]).senders.map((sender) => (sender.kind === 'mllp' ? sender.application : '')), JSON.stringify(line)).toEqual(['LAB', 'EVIL']);
    }
    const file = Buffer.from('\x0bFHS|^~\\&|LAB|NORTH|\rBHS|^~\\&|LAB|NORTH|\rMSH|^~\\&|LAB|NORTH|\rPID|1\rBTS|1\rFTS|1\r\x1c\r');
    expect(scanAll(createMllpScanner(), cut(file, [...file.keys()]))).toMatchObject({ octets: file, senders: [{}, {}, {}] });
  });

  it.each<readonly [string, string, RegExp]>([
    ['octets before the first frame', 'GET / HTTP/1.1\r\n', /outside/], ['octets between frames', `${one.toString()}x`, /outside/],
    ['a frame within a frame', '\x0bMSH|^~\\&|LAB|NORTH|\rPID|1\r\x0bMSH|^~\\&|EVIL|NORTH|\r\x1c\r', /within another/],
    ['a frame within a header', '\x0bMSH|^~\\&|LAB|\x0b', /within another/], ['a frame behind a line', '\x0bMSH|^~\\&|LAB|NORTH|\r\x0b', /within another/],
    ['an end without its carriage return', '\x0bMSH|^~\\&|LAB|NORTH|\r\x1c\x0bMSH|^~\\&|EVIL|NORTH|\r\x1c\r', /without its carriage return/],
    ['a frame that begins with something else', '\x0bPID|1\rMSH|^~\\&|LAB|NORTH|\r\x1c\r', /does not begin/], ['a byte order mark', '\x0b\ufeffMSH|^~\\&|LAB|NORTH|\r', /does not begin/],
    ['a frame that begins with a line end', '\x0b\rMSH|^~\\&|LAB|NORTH|\r', /does not begin/], ['an empty frame', '\x0b\x1c\r', /does not begin/],
    ['a header behind blanks', '\x0bMSH|^~\\&|LAB|NORTH|\r \tMSH|^~\\&|EVIL|NORTH|\r', /behind a blank/], ['a header in small letters', '\x0bMSH|^~\\&|LAB|NORTH|\rmsh|^~\\&|EVIL|N|\r', /small letters/],
    ['an empty second header', '\x0bMSH|^~\\&|LAB|NORTH|\rMSH|\r', /MSH-2/], ['a header that does not end', `\x0bMSH|^~\\&|LAB|NORTH|${'x'.repeat(5_000)}`, /longer than 4096/],
    ['a header that does not end, in letters beyond ASCII', `\x0bMSH|^~\\&|LAB|NORTH|${'\u0085'.repeat(5_000)}`, /longer than 4096/],
  ])('is closed by %s', (_what, text, detail) => {
    const octets = Buffer.from(text);
    for (const chunks of [[octets], cut(octets, [...octets.keys()])]) expect(scanAll(createMllpScanner(), chunks).fault).toMatch(detail);
  });

  it.each(['MSH#ab#EVIL#NORTH#', 'MSH# *#EVIL#NORTH#', 'MSHx^~\\&xEVILxNORTHx', 'MSH ^~\\& EVIL NORTH ', 'MSH|', 'MSH: 20 pg/ml', 'MSH', 'MSHIP|', 'BHS#ab#EVIL#NORTH#', 'FHSX|'])(
    'takes %j for a header wherever a segment begins: some receivers look at three letters alone', (header) => {
      for (const line of ['\r', '\n', '\r\n', '\u000c']) {
        const octets = frame('LAB', 'NORTH', `PID|1${line}${header}\rPID|2\r`);
        for (const chunks of [[octets], cut(octets, [...octets.keys()])]) {
          const seen = scanAll(createMllpScanner(), chunks);
          expect(seen).toMatchObject({ fault: expect.stringMatching(/MSH-2|MSH-1|before MSH-4/), senders: [{ application: 'LAB' }] });
          expect(seen.octets.length).toBeLessThanOrEqual(octets.indexOf(header, octets.indexOf('PID')));
        }
      }
    },
  );

  const shown = (octets: Buffer): string => JSON.stringify(octets.toString('latin1'));
  const wide = (...texts: readonly string[]): readonly Buffer[] => texts.map((text) => Buffer.from(text));
  /** At the beginning of a line: what receivers strip, drop when they cannot decode it, or know to be no character. */
  const SKIPPED = [
    ...wide(' ', ' \t', '\u00a0', '\u2003', '\u3000', '\ufeff', 'é', '检', '\u001b(B', '\u001b$B\u001b(J ', '\u001b%/1', '\u001b'),
    ...[0x00, 0x7f, 0x80, 0xa0, 0xff].map((octet) => Buffer.of(octet)),
  ];
  /** Anywhere: what ends a line, or a message, for a receiver. */
  const ENDING = [
    ...wide('\u0085', '\u2028', '\u2029', '\u0085 ', '\u2028\t', 'Å', '\t', '\u0001\u00a0'), ...[0x00, 0x1f, 0x85].map((octet) => Buffer.of(octet)),
    // CR in more octets of UTF-8 than it needs; U+0085 and U+2028 in GB 18030.
    ...[[0xc0, 0x8d], [0xe0, 0x80, 0x8d], [0xf0, 0x80, 0x80, 0x8a], [0x81, 0x30, 0x81, 0x35], [0x81, 0x36, 0xa6, 0x35]].map((octets) => Buffer.from(octets)),
  ];
  const HEADERS = ['MSH|^~\\&|EVIL|NORTH|x\r', 'MSH#ab#EVIL#NORTH#\r', 'MSH: 1\r', 'BHS|', 'FHS#*!?%#EVIL#NORTH#', 'msh|', 'Msh#ab#EVIL#', 'bhs#*!'];

  function expectHidden(before: string, hiding: Buffer, header: string): void {
    const hidden = Buffer.concat([hiding, Buffer.from(header)]);
    const octets = frame('LAB', 'NORTH', Buffer.concat([Buffer.from(before), hidden]));
    const begins = octets.indexOf(hidden) + hiding.length;
    for (const chunks of [[octets], cut(octets, [...octets.keys()]), cut(octets, [begins]), cut(octets, [begins - 1])]) {
      const seen = scanAll(createMllpScanner(), chunks);
      expect(seen).toMatchObject({ fault: expect.stringMatching(/behind a blank/), senders: [{ application: 'LAB' }] });
      expect(seen.octets.length).toBeLessThanOrEqual(begins);
    }
  }

  it.each([...SKIPPED, ...ENDING].map((octets) => [shown(octets), octets] as const))('is closed by a header behind %s at the beginning of a line', (_what, hiding) => {
    for (const header of HEADERS) for (const before of ['PID|1\r', 'PID|1\n', '']) expectHidden(before, hiding, header);
  });

  it.each(ENDING.map((octets) => [shown(octets), octets] as const))('is closed by a header behind %s, where a receiver may begin a message of another sender', (_what, hiding) => {
    for (const header of HEADERS) for (const before of ['PID|1\rNTE|1||a', 'PID|1\rNTE|1||', 'PID|1\rNTE|1||检']) expectHidden(before, hiding, header);
    // In the header segment itself, of which nothing has passed.
    for (const header of HEADERS) {
      const within = Buffer.concat([Buffer.from('\x0bMSH|^~\\&|LAB|NORTH|EHR'), hiding, Buffer.from(header), Buffer.from('\r\x1c\r')]);
      for (const chunks of [[within], cut(within, [...within.keys()])]) {
        expect(scanAll(createMllpScanner(), chunks)).toEqual({ octets: Buffer.alloc(0), senders: [], fault: expect.stringMatching(/behind a blank/) });
      }
    }
  });

  it.each([
    'Toronto MSH|', 'MSH|', 'Mount Sinai (MSH)|', '^MSH^BHS~FHS&MSH|', 'α-MSH: 20 pg/ml', '促黑素MSH|', 'Unité MSH|', 'Santé\u00a0MSH|^~\\&|', 'dose\u3000MSH#*!', '\u001b$B7l@6\u001b(BMSH|', 'msh|', 'x MSHIP', '¨MSH|', '\u2026 MSH|', 'a\u007fMSH|',
  ])('takes %j in the middle of a segment for text, in a header segment too', (text) => {
    const field = `${text}\r`;
    for (const octets of [frame('LAB', 'NORTH', `PID|1||${field}OBX|1|TX|||a ${field}`), Buffer.from(`\x0bMSH|^~\\&|LAB|NORTH|EHR ${field}PID|1\r\x1c\r`)]) {
      for (const chunks of [[octets], cut(octets, [...octets.keys()])]) expect(scanAll(createMllpScanner(), chunks)).toMatchObject({ octets, senders: [{ application: 'LAB', facility: 'NORTH' }] });
    }
  });

  it('closes on just what the rule says, whatever is put together and however it is cut', () => {
    const octets = (text: string): string => Buffer.from(text).toString('latin1');
    const piece = fc.constantFrom('MSH', 'msh', 'BHS', 'FHS', 'M', 'S', 'H', '|', '#', '.', ' ', '\t', '\x1f', '\r', '\n', '\f', 'a', '1', '\x7f', '\x85', '\x80', '\xa0', octets('é'), octets('Å'), octets('检'), octets('\u2028'), octets('\ufeff'), '\xc0\x8d');
    // From each name back to where its segment begins, over what is skipped: the other way round than the scanner goes.
    const expected = (text: string): boolean => [...text.matchAll(/(?=(MSH|BHS|FHS)([^]{0,2}))/gi)].some(({ index, 1: name = '', 2: behind = '' }) => {
      if (name !== name.toUpperCase() && !/^(?:\||[!-/:-@[-`{-~][!-~\x80-\xff])/.test(behind)) return false;
      // eslint-disable-next-line no-control-regex
      return /(?:[\x00-\x1f]|\x85|\xe2\x80[\xa8\xa9]|(?:\xc0|[\xe0\x80]\x80)[\x80-\x9f])[\x00-\x20\x7f-\xff]*$/.test(text.slice(0, index));
    });
    fc.assert(fc.property(fc.array(piece, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 20 }), (pieces, places) => {
      const body = `PID|1\r${pieces.join('')}\r`;
      const whole = frame('LAB', 'NORTH', Buffer.from(body, 'latin1'));
      const seen = scanAll(createMllpScanner(), cut(whole, places));
      expect(seen.fault !== undefined, JSON.stringify(body)).toBe(expected(body));
      if (seen.fault === undefined) expect(seen.octets.equals(whole)).toBe(true);
    }), { numRuns: 3_000 });
  });

  it('knows an octet of 0x85 for the end of a letter where the message declares UTF-8, and for a line end where it stands alone', () => {
    const declared = (body: string | Buffer): Buffer => Buffer.concat([Buffer.from(`\x0bMSH|^~\\&|LAB|NORTH|${'|'.repeat(13)}UNICODE UTF-8\r`), Buffer.from(body as string), Buffer.from('\r\x1c\r')]);
    const field = 'OBX|1|TX|||血清MSH: 20 pg/ml ÅMSH|';
    for (const octets of [declared(field), frame('LAB', 'NORTH', field)]) {
      const [whole, byOctet] = [[octets], cut(octets, [...octets.keys()])].map((chunks) => scanAll(createMllpScanner(), chunks));
      expect([whole?.fault, byOctet?.fault]).toEqual(octets.includes('UTF-8') ? [undefined, undefined] : [expect.stringMatching(/behind a blank/), expect.stringMatching(/behind a blank/)]);
    }
    for (const hiding of [Buffer.from('\u0085'), Buffer.of(0x85)]) {
      expect(scanAll(createMllpScanner(), [declared(Buffer.concat([Buffer.from('NTE|1||a'), hiding, Buffer.from('MSH|')]))]).fault).toMatch(/behind a blank/);
    }
  });

  it('passes on what it is given in the middle of a message, not a copy of it', () => {
    const scanner = createMllpScanner();
    scanAll(scanner, [Buffer.from('\x0bMSH|^~\\&|LAB|NORTH|\rOBX|1|ED|')]);
    const body = Buffer.alloc(100_000, 'A');
    const [finding] = [...scanner.scan(body)];
    expect(finding?.kind === 'octets' && finding.octets.buffer === body.buffer && finding.octets.length).toBe(100_000);
    expect(scanner.whole()).toBe(false);
  });
});

describe('the DICOM scanner', () => {
  const request = associationRequest('CT1', 'PACS');
  const whole = Buffer.concat([request, pdu(4, Buffer.alloc(3_000, 7)), pdu(4, Buffer.alloc(0)), pdu(5, Buffer.alloc(4))]);

  it('finds the AE titles and passes every octet, however the octets are cut', () => {
    fc.assert(fc.property(fc.array(fc.nat(), { maxLength: 40 }), (places) => {
      const seen = scanAll(createDicomScanner(), cut(whole, places));
      expect(seen).toEqual({ octets: whole, senders: [{ kind: 'dicom', calling: 'CT1', called: 'PACS' }] });
    }));
  });

  it('holds back everything until the sender is let in', () => {
    expect(scanAll(createDicomScanner(), [request], false).octets.length).toBe(0);
  });

  it('passes on a run of PDUs as one piece', () => {
    const scanner = createDicomScanner();
    scanAll(scanner, [request]);
    const run = Buffer.concat([pdu(4, Buffer.alloc(10)), pdu(4, Buffer.alloc(20)), pdu(4, Buffer.alloc(30))]);
    expect([...scanner.scan(run)]).toEqual([{ kind: 'octets', octets: run }]);
  });

  it.each<readonly [string, Buffer, RegExp]>([
    ['another protocol', Buffer.from('GET / HTTP/1.1\r\n'), /first octet is 0x47/], ['a P-DATA-TF first', pdu(4, Buffer.alloc(4)), /first octet is 0x04/],
    ['a second A-ASSOCIATE-RQ', Buffer.concat([request, request]), /second A-ASSOCIATE-RQ/], ['a second one behind data', Buffer.concat([whole, request]), /second/],
    ['an A-ASSOCIATE-AC from the requester', Buffer.concat([request, pdu(2, Buffer.alloc(68))]), /type 0x02/],
    ['a short request with something behind', Buffer.concat([pdu(1, Buffer.alloc(20)), Buffer.alloc(100)]), /of 20 octets/],
    ['an endless request', Buffer.concat([Buffer.of(1, 0, 0xff, 0xff, 0xff, 0xff), Buffer.alloc(100)]), /of 4294967295 octets/],
    ['another version', associationRequest('CT1', 'PACS', { version: 2 }), /protocol version/], ['no calling AE title', associationRequest('', 'PACS'), /calling AE title that is none/],
    ['no called AE title', associationRequest('CT1', ''), /called AE title/], ['a backslash', associationRequest('CT1\\CT2', 'PACS'), /calling/],
    ['a title that a NUL ends for receivers written in C', associationRequest('CT1\0          X', 'PACS'), /calling/],
  ])('is closed by %s', (_what, octets, detail) => {
    for (const chunks of [[octets], cut(octets, [...octets.keys()])]) expect(scanAll(createDicomScanner(), chunks).fault).toMatch(detail);
  });

  it('words its refusal as PS3.8 section 9.3.4 has it', () => {
    expect([...associationReject('calling')]).toEqual([3, 0, 0, 0, 0, 4, 0, 1, 1, 3]);
    expect([...associationReject('called')]).toEqual([3, 0, 0, 0, 0, 4, 0, 1, 1, 7]);
    expect([...associationReject('congestion')]).toEqual([3, 0, 0, 0, 0, 4, 0, 2, 3, 1]);
  });
});

describe('senders', () => {
  const lab = { id: 'lab-1' };
  const verdict = (id: string, application: string, facility: string) =>
    judgeSender(compileSenders({ mllp: [{ id: ['lab-*'], application: ['LAB', 'LX*^1.2.*^ISO'], facility: ['NORTH', '{id}', '{id}-*'] }, { id: ['lab-1'], application: ['PATH'] }] }), { id }, { kind: 'mllp', application, facility });

  it.each([
    ['lab-1', 'LAB', 'NORTH'], ['LAB-1', 'LAB', 'LAB-1'], ['lab-2', 'LAB', 'lab-2'], ['lab-2', 'LAB', 'lab-2-east'], ['lab-2', 'LX^1.2.9^ISO', 'NORTH'], ['lab-1', 'PATH', 'ANYTHING^AT^ALL'],
  ])('%s may be %s of %s', (id, application, facility) => {
    expect(verdict(id, application, facility)).toEqual({ kind: 'allowed' });
  });

  it.each([
    ['lab-1', 'lab', 'NORTH', 'application'], ['lab-1', 'LAB^1.2.3^ISO', 'NORTH', 'application'], ['lab-2', 'PATH', 'x', 'application'], ['lab-2', 'LAB', 'lab-1', 'facility'],
    ['lab-2', 'LAB', 'NORTH^EVIL', 'facility'], ['lab-2', 'LX^1.2.9', 'NORTH', 'application'], ['lab-2', '', '', 'application'], ['kiosk', 'LAB', 'NORTH', undefined],
  ])('%s may not be %s of %s', (id, application, facility, name) => {
    const refused = verdict(id, application, facility);
    expect(refused).toMatchObject({ kind: 'refused', ...(name === undefined ? {} : { name }) });
    expect('name' in refused).toBe(name !== undefined);
  });

  it('an id is a name and no pattern, whatever a CA has put into the certificate', () => {
    for (const id of ['*', 'a*', '{id}', '$&', 'A^B', 'A&B|C~D\\']) {
      const policy = compileSenders({ mllp: [{ id: ['*'], application: ['{id}'] }] });
      expect(judgeSender(policy, { id }, { kind: 'mllp', application: 'EVIL', facility: '' }).kind).toBe('refused');
      expect(judgeSender(policy, { id }, { kind: 'mllp', application: hl7Text(id), facility: '' }).kind).toBe('allowed');
    }
  });

  it('AE titles are compared with case and without padding, the called one too', () => {
    const policy = compileSenders({ dicom: [{ id: ['ct*'], calling: ['CT*'], called: ['PACS'] }, { id: ['ct1'], calling: ['ECHO'] }] });
    const judge = (calling: string, called: string) => judgeSender(policy, { id: 'ct1' }, { kind: 'dicom', calling, called });
    expect(judge('CT1', 'PACS')).toEqual({ kind: 'allowed' });
    expect(judge('ECHO', 'ANY')).toEqual({ kind: 'allowed' });
    expect(judge('ct1', 'PACS')).toMatchObject({ kind: 'refused', name: 'calling' });
    expect(judge('CT1', 'OTHER')).toMatchObject({ kind: 'refused', name: 'called' });
  });

  it('what is announced in another protocol is refused, and what is not announced is awaited', () => {
    const policy = compileSenders({ mllp: [{ id: ['lab-1'], application: ['*'] }] });
    expect(judgeSender(policy, lab, { kind: 'dicom', calling: 'A', called: 'B' }).kind).toBe('refused');
    expect(judgeSender(policy, lab, undefined)).toEqual({ kind: 'expected' });
    expect(judgeSender(policy, { id: 'other' }, undefined).kind).toBe('refused');
    expect(sendersFor(policy, lab)).toEqual(['the sending application *']);
  });
});

describe('patterns that nothing can match are refused with the configuration', () => {
  it.each(['', ' CT1', 'CT\\1', 'CT1\u0007', 'SEVENTEENLETTERSX', '{san.dns}', 'ü'])('AE title %j', (text) => {
    expect(aeTitleFault(text)).toMatch(/^expected/);
  });

  it.each(['', 'A|B', 'A~B', 'A\\X41\\', ' A', 'A^ B', '{ID}', 'A\rB'])('HL7 name %j', (text) => {
    expect(hl7NameFault(text)).toMatch(/^expected/);
  });

  it('and all others are not', () => {
    for (const text of ['CT1', 'CT*', '{id}', 'SIXTEENLETTERSXX', 'A&E', 'A B']) expect(aeTitleFault(text)).toBeUndefined();
    for (const text of ['LAB', 'A\\T\\E', 'LAB^1.2.3^ISO', '*', '{id}^*', '检验科']) expect(hl7NameFault(text)).toBeUndefined();
  });
});
