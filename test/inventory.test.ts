import { describe, expect, it } from 'vitest';
import { type Device } from '../src/config/device.ts';
import { readInventory } from '../src/config/inventory.ts';
import { formatIssue } from '../src/config/issue.ts';
import { readCsv } from '../src/config/csv.ts';

const HEX = 'ab'.repeat(32);

async function read(text: string, file: string): Promise<readonly Device[] | readonly string[]> {
  const result = await readInventory(Buffer.from(text), file, 'Asia/Shanghai');
  return result.kind === 'ok' ? result.devices : result.issues.map((issue) => formatIssue(issue));
}

const KIOSK = {
  id: 'kiosk-7', state: 'active', hardware: 'sn 42', fingerprints: [HEX], keys: [], serials: [{ serial: '0a1b', issuer: '2.5.4.10==hospital,2.5.4.3==devices ca' }],
  users: ['Dr Wang', 'Dr Li'], networks: ['10.1.4.0/24', '10.1.5.7'], location: 'Ward 4, east',
  hours: { zone: 'Asia/Shanghai', windows: [{ days: 31, from: 420, to: 1_140 }, { days: 32, from: 480, to: 720 }] },
};

describe('an inventory', () => {
  it('is read from YAML', async () => {
    expect(await read(`
- id: kiosk-7
  hardware: SN 42
  fingerprint: "${HEX.toUpperCase().match(/../g)?.join(':')}"
  serial: "0x0A1B"
  issuer: CN=Devices CA,O=Hospital
  users: [Dr Wang, Dr Li]
  networks: [10.1.4.0/24, 10.1.5.7]
  hours: [Mon-Fri 07:00-19:00, Sat 08:00-12:00]
  location: Ward 4, east
- { id: pump-1, state: lost, hours: daily 22:00-06:00, timezone: UTC }
`, 'devices.yaml')).toEqual([KIOSK, {
      id: 'pump-1', state: 'lost', fingerprints: [], keys: [], serials: [], users: [], hours: { zone: 'UTC', windows: [{ days: 127, from: 1_320, to: 360 }] },
    }]);
  });

  it('is read from CSV as a spreadsheet writes it, with the same outcome', async () => {
    expect(await read(`\ufeffID,Hardware,Fingerprint,Serial,Issuer,Users,Networks,Hours,Location,Owner\r
kiosk-7,SN 42,${HEX},0A1B,"CN=Devices CA,O=Hospital",Dr Wang; Dr Li,10.1.4.0/24;10.1.5.7,"Mon-Fri 07:00-19:00, Sat 08:00-12:00","Ward 4, east",\r
\r
`, 'devices.csv')).toEqual([KIOSK]);
  });

  it('is read from JSON', async () => {
    expect(await read(JSON.stringify([{ id: 'kiosk-7', networks: '10.1.4.0/24' }]), 'devices.json')).toMatchObject([{ id: 'kiosk-7', networks: ['10.1.4.0/24'] }]);
  });

  it('of YAML is refused with every issue at its line and column', async () => {
    expect(await read(`- { id: a, state: broken }
- id: b
  networks: [10.1.4.7/24, 10.0.0.0/8]
  hours: Mon 7-19
  timezone: "+08:00"
  colour: red
- id: B
- hardware: 12345
- id: c
  fingerprint: abc
  serial: "1"
- { id: d, issuer: CN=X, hardware: "hex:0" }
`, 'devices.yaml')).toEqual([
      'devices.yaml:1:19: [0].state: expected active, inactive, lost, scrapped; got "broken"',
      'devices.yaml:3:14: [1].networks[0]: expected a network without bits beyond its prefix, such as 10.1.0.0/16; got "10.1.4.7/24"',
      'devices.yaml:4:10: [1].hours: expected hours such as Mon-Fri 07:00-19:00, Sat 08:00-12:00 or daily 22:00-06:00; got "Mon 7-19"',
      'devices.yaml:5:13: [1].timezone: expected a time zone such as Asia/Shanghai or UTC; got "+08:00"',
      'devices.yaml:6:3: [1].colour: unknown key "colour"; known: id, state, hardware, fingerprint, key, serial, issuer, users, networks, hours, timezone, owner, location',
      'devices.yaml:8:3: [3].id: required, but missing: expected text (numbers in quotes)',
      'devices.yaml:8:13: [3].hardware: expected text (numbers in quotes); got 12345',
      'devices.yaml:10:16: [4].fingerprint: expected a SHA-256 in hex, or a list of them; got "abc"',
      'devices.yaml:12:36: [5].hardware: expected octets in hex behind hex:; got "hex:0"',
    ]);
  });

  it('of CSV is refused with every issue at its line and column', async () => {
    expect(await read(`id,state,networks
a,active,10.0.0.0/8
b,gone,10.0.0.0/8;x
A,,
c,active
`, 'devices.csv')).toEqual(['devices.csv:5:1: inventory: expected 3 fields as in the header; got 2']);
    expect(await read(`id,state,networks
a,active,10.0.0.0/8
b,gone,10.0.0.0/8;x
A,,
"c
d",,
`, 'devices.csv')).toEqual([
      'devices.csv:3:3: [1].state: expected active, inactive, lost, scrapped; got "gone"',
      'devices.csv:3:8: [1].networks[1]: expected a network such as 10.1.0.0/16 or 2001:db8::/32; got "x"',
      'devices.csv:4:1: [2].id: the id "A" is taken by [0]',
      'devices.csv:5:1: [3].id: expected text of 256 characters at most, without blanks around it; got "c\\nd"',
    ]);
  });

  it.each([
    ['id,colour\n', 'devices.csv:1:4: inventory: unknown column "colour"; known: id, state, hardware, fingerprint, key, serial, issuer, users, networks, hours, timezone, owner, location'],
    ['id,id\n', 'devices.csv:1:4: inventory: the column id is given twice'],
    ['state\n', 'devices.csv:1:1: inventory: expected a column id'],
    ['id,owner\na,"b', 'devices.csv:2:3: inventory: a text in quotes is not closed'],
    ['id,owner\na,"b"c\n', 'devices.csv:2:6: inventory: expected a comma or the end of the line behind a text in quotes'],
  ])('of CSV with a wrong form is refused: %j', async (text, issue) => expect(await read(text, 'devices.csv')).toContain(issue));

  it.each([
    ['- {id: a}\n- {id: a', 'devices.yaml'],
    ['devices: []', 'devices.yaml'],
    ['- &a {id: x}\n- *b', 'devices.yaml'],
    ['- { id: a, id: b }', 'devices.yaml'],
    ['anything', 'devices.txt'],
  ])('that is no list of devices is refused: %j', async (text, file) => expect(await read(text, file)).toContainEqual(expect.stringMatching(/^devices\.\w+:\d+:\d+: /)));

  it('that is wrong everywhere says so in at most 200 lines', async () => {
    const issues = await read(`id,state\n${Array.from({ length: 500 }, (_, index) => `d${index},gone\n`).join('')}`, 'devices.csv');
    expect(issues).toHaveLength(200);
    expect(issues.at(-1)).toContain('and 301 more issues');
  });

  it('is not text of another encoding', async () => {
    expect(await readInventory(Uint8Array.of(0x69, 0x64, 0x0a, 0xff, 0xfe), 'devices.csv', 'UTC')).toMatchObject({ kind: 'invalid', issues: [{ line: 2 }] });
  });
});

describe('CSV', () => {
  it('has quotes in quotes, and line ends within them', () => {
    const { rows } = readCsv('a,"b ""c""\nd",e\nf,g,h');
    expect(rows).toEqual([
      { fields: ['a', 'b "c"\nd', 'e'], positions: [{ line: 1, column: 1 }, { line: 1, column: 3 }, { line: 2, column: 4 }] },
      { fields: ['f', 'g', 'h'], positions: [{ line: 3, column: 1 }, { line: 3, column: 3 }, { line: 3, column: 5 }] },
    ]);
  });
});
