import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { GROUPS, namesOf, PROFILES, SUITES } from '../src/config/profiles.ts';
import type { TlsProfile } from '../src/config/schema.ts';
import { createDialling, dial } from '../src/forward/upstream/dial.ts';
import { profileDocs, scansIn } from '../scripts/profile-docs.ts';
import { wardgate } from './support/command.ts';
import { ask as request, configuration, startGateway, type TestGateway } from './support/gateway.ts';
import { ALERT, ALL_GROUPS, offer, readOffer, VERSION, type Offer } from './support/hello.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { hasProgram, negotiate, output, profileListeners, PROFILE_NAMES, sslscan, suitesOf } from './support/scans.ts';

const NAME = 'localhost';
const haveSslscan = hasProgram('sslscan');
if (!haveSslscan) console.log('skipped: the scans of the TLS profiles by sslscan need it (Debian: sslscan)');
let pki: TestPki;
let running: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  // Nothing is forwarded: what is scanned are handshakes.
  running = await startGateway(pki, 1, { threads: 1, listeners: profileListeners('root.pem') });
});

afterAll(() => running.stop());

const portOf = (profile: TlsProfile): number => running.gateway.listeners.find(({ name }) => name === profile)?.port ?? 0;
const ids = (profile: TlsProfile) => namesOf(PROFILES[profile].suites).map((name) => SUITES[name].id);
const groupIds = (profile: TlsProfile) => namesOf(PROFILES[profile].groups).map((name) => GROUPS[name]);
const has12 = (profile: TlsProfile): boolean => namesOf(PROFILES[profile].versions).includes('TLS 1.2');
const ask = (profile: TlsProfile, offered: Omit<Offer, 'serverName'>) => offer(portOf(profile), { ...offered, serverName: NAME });
const hybrid = (profile: TlsProfile): boolean => groupIds(profile).includes(GROUPS.X25519MLKEM768);

describe('the default', () => {
  it('is bcp195, with four suites and no other', () => {
    expect([...suitesOf('bcp195', 'TLS 1.3'), ...suitesOf('bcp195', 'TLS 1.2')]).toEqual([
      'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384',
    ]);
  });
});

describe.each(PROFILE_NAMES)('profile %s', (profile) => {
  it.skipIf(!haveSslscan)('is what sslscan lists, in its order, and nothing else', async () => {
    const scan = await sslscan(portOf(profile), NAME);
    expect(scan).toEqual({
      protocols: has12(profile) ? ['tls 1.2', 'tls 1.3'] : ['tls 1.3'],
      suites: { 'TLS 1.2': suitesOf(profile, 'TLS 1.2'), 'TLS 1.3': suitesOf(profile, 'TLS 1.3') },
      // Debian's sslscan does not know the hybrid group.
      groups: groupIds(profile).filter((id) => id !== GROUPS.X25519MLKEM768).map((id) => `0x${id.toString(16).padStart(4, '0')}`).sort(),
      compression: false,
      renegotiation: false,
    });
  });

  it('lets openssl s_client have each suite of its list', async () => {
    const wanted = [
      ...suitesOf(profile, 'TLS 1.3').map((suite) => ({ suite, args: ['-tls1_3', '-ciphersuites', suite] })),
      ...suitesOf(profile, 'TLS 1.2').map((suite) => ({ suite, args: ['-tls1_2', '-cipher', `${suite}:@SECLEVEL=0`] })),
    ];
    expect(await inTurn(wanted, async ({ args }) => (await negotiate(portOf(profile), NAME, args))?.suite)).toEqual(wanted.map(({ suite }) => suite));
  });

  it('lets openssl s_client have no suite beside it', async () => {
    const suites = [...suitesOf(profile, 'TLS 1.3'), ...suitesOf(profile, 'TLS 1.2')];
    const not = (names: readonly string[]) => names.filter((name) => !suites.includes(name)).join(':');
    const others13 = not(['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256', 'TLS_AES_128_CCM_SHA256', 'TLS_AES_128_CCM_8_SHA256']);
    const others12 = ['ALL:COMPLEMENTOFALL', ...suites.map((name) => `!${name}`), '@SECLEVEL=0'].join(':');
    expect(others13 === '' ? undefined : await negotiate(portOf(profile), NAME, ['-tls1_3', '-ciphersuites', others13])).toBeUndefined();
    expect(await negotiate(portOf(profile), NAME, ['-tls1_2', '-cipher', others12])).toBeUndefined();
  });

  it('takes each of its groups, and no other of the registry', async () => {
    const versions = [VERSION.tls13];
    const taken = await inTurn(ALL_GROUPS, async (group) => ((await ask(profile, { versions, suites: ids(profile), groups: [group] })).kind === 'chosen' ? [group] : []), 8);
    expect(taken.flat().sort()).toEqual([...groupIds(profile)].sort());
  });

  it('prefers its first group and its first suite, whatever the order of the client', async () => {
    const versions = [VERSION.tls12, VERSION.tls13];
    const answer = await ask(profile, { versions, suites: ids(profile).toReversed(), groups: hybrid(profile) ? groupIds(profile).toReversed() : groupIds(profile) });
    expect(answer).toEqual({ kind: 'chosen', version: VERSION.tls13, suite: ids(profile)[0], group: groupIds(profile)[0] });
  });

  it('answers TLS 1.1 with protocol_version', async () => {
    const answer = await ask(profile, { versions: [VERSION.tls11], suites: [0xc014, 0xc00a, 0x002f, ...ids(profile)], groups: groupIds(profile) });
    expect(answer).toEqual({ kind: 'alert', code: ALERT.protocolVersion });
    expect(await negotiate(portOf(profile), NAME, ['-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'])).toBeUndefined();
  });
});

describe('what sets the profiles apart', () => {
  it('modern answers TLS 1.2 with protocol_version', async () => {
    expect(await ask('modern', { versions: [VERSION.tls12], suites: ids('bcp195'), groups: groupIds('bcp195') })).toEqual({ kind: 'alert', code: ALERT.protocolVersion });
  });

  it('DHE of ihe-atna has 2048 bits', async () => {
    expect((await negotiate(portOf('ihe-atna'), NAME, ['-tls1_2', '-cipher', 'DHE-RSA-AES128-GCM-SHA256']))?.temporaryKey).toBe('DH, 2048 bits');
  });

  it('the hybrid group is what a client of today gets without asking', async () => {
    const groups = await inTurn(PROFILE_NAMES, async (profile) => groupOf(portOf(profile), undefined));
    expect(Object.fromEntries(PROFILE_NAMES.map((profile, index) => [profile, groups[index]]))).toEqual({
      bcp195: 'X25519MLKEM768', modern: 'X25519MLKEM768', 'ihe-atna': 'X25519MLKEM768', dicom: 'X25519MLKEM768', device: 'X25519',
    });
  });

  it('the hybrid group is asked for of a client that knows it and has sent another share', async () => {
    expect(await groupOf(portOf('bcp195'), '*X25519:X25519MLKEM768')).toBe('X25519MLKEM768');
    expect(await groupOf(portOf('bcp195'), 'X25519')).toBe('X25519');
  });

  it('a device gets the curve it has sent a share of, and begins no second time', async () => {
    expect(await groupOf(portOf('device'), '*P-256:X25519')).toBe('prime256v1');
    expect(await groupOf(portOf('device'), '*X25519:P-256')).toBe('X25519');
  });

  it('dicom, for all its security level, loads no certificate of ours that is too weak', async () => {
    const weak = ['weak.pem', 'weak.key'].map((name) => running.path(name));
    await output('openssl', ['req', '-x509', '-newkey', 'rsa:1024', '-nodes', '-subj', '/CN=localhost', '-days', '2', '-out', weak[0] ?? '', '-keyout', weak[1] ?? '']);
    const yaml = configuration(1, { listeners: profileListeners('root.pem').replaceAll('server-rsa', 'weak') });
    await writeFile(running.path('weak.yaml'), yaml);
    const { code, stdout } = await wardgate(['check', '-c', running.path('weak.yaml')]);
    expect(code).toBe(1);
    expect(stdout).toContain('listeners[3].tls.certificates[1].key: OpenSSL takes neither "weak.pem" nor its key: ee key too small');
  });

  it.each([['an RSA key of 1024 bits', { keyType: 'rsa1024' }], ['a signature over SHA-1', { signatureHash: 'sha1' }]] as const)('dicom, for all its security level, admits no client with %s', async (_what, weakness) => {
    const weak = await pki.issueClient({ subject: [['CN', 'Dr Weak'], ['OU', 'Doctors']], limits: 'off', ...weakness });
    const asked = (client: Issued) => request(pki, portOf('dicom'), '/records', { client, method: 'POST', ciphers: 'DEFAULT:@SECLEVEL=0' });
    expect([(await asked(weak)).status, (await asked(pki.doctor)).status]).toEqual([403, 404]);
    expect((await running.records()).filter(({ subject }) => String(subject).includes('Dr Weak'))).toContainEqual(expect.objectContaining({ reason: 'constraint_violated' }));
  });

  it('a check warns where no certificate fits the suites of a profile', async () => {
    const only = (kind: 'ec' | 'rsa', profile: TlsProfile) => configuration(1, { listeners: `
  - { name: one, address: "127.0.0.1:0", tls: { profile: ${profile}, certificates: [{ certificate: server-${kind}.pem, key: server-${kind}.key }] }, client_auth: { trust: [root.pem] } }` });
    const warned = await inTurn([['ec', 'ihe-atna'], ['rsa', 'device'], ['rsa', 'ihe-atna'], ['ec', 'device'], ['rsa', 'modern']] as const, async ([kind, profile]) => {
      await writeFile(running.path('one.yaml'), only(kind, profile));
      return /tls\.profile: warning: (.*)/.exec((await wardgate(['check', '-c', running.path('one.yaml')])).stdout)?.[1];
    }, 1);
    expect(warned).toEqual([
      'no certificate of this listener has an RSA key: none of the suites that ITI-19 names can be negotiated',
      'no certificate of this listener has an EC key: nobody can connect by TLS 1.2', undefined, undefined, undefined,
    ]);
  });
});

describe('towards an upstream', () => {
  it.each(PROFILE_NAMES)('%s offers what it allows, the short tags aside, with a share of the first group', async (profile) => {
    const hello = await helloOf(profile);
    const expected = namesOf(PROFILES[profile].suites).filter((name) => !name.includes('CCM_8')).map((name) => SUITES[name].id as number);
    expect(hello.suites.filter((suite) => suite !== 0x00ff)).toEqual(expected);
    expect(hello.groups).toEqual(groupIds(profile));
    expect(hello.versions).toEqual(has12(profile) ? [VERSION.tls13, VERSION.tls12] : [VERSION.tls13]);
    expect(hello.shares[0]).toBe(groupIds(profile)[0]);
  });

  it('without a profile the hybrid group is offered with a share, and suites of AES-128 too', async () => {
    const hello = await helloOf(undefined);
    expect(hello.shares).toContain(GROUPS.X25519MLKEM768);
    expect(hello.suites).toContain(0xc02f);
  });
});

describe('wardgate profile', () => {
  it('lists the profiles, each with its standard', async () => {
    const { code, stdout } = await wardgate(['profile']);
    expect(code).toBe(0);
    for (const profile of PROFILE_NAMES) expect(stdout).toContain(`${profile.padEnd(10)}${PROFILES[profile].summary}\n`);
    expect(JSON.parse((await wardgate(['profile', '--json'])).stdout)).toHaveLength(PROFILE_NAMES.length);
  });

  it.each(PROFILE_NAMES)('%s prints every suite, group and signature with a reason and its text', async (profile) => {
    const { stdout } = await wardgate(['profile', profile]);
    const { suites, groups, signatures, versions } = PROFILES[profile];
    const clauses = [...versions, ...suites, ...groups, ...signatures];
    expect(clauses.flatMap(({ names }) => [...names]).filter((name) => !stdout.includes(name))).toEqual([]);
    const flat = stdout.replace(/\s+/g, ' ');
    expect(clauses.filter(({ why, source }) => !flat.includes(`${why} [${source}]`))).toEqual([]);
  });

  it('prints as JSON what a scan can be compared with', async () => {
    const facts = JSON.parse((await wardgate(['profile', 'device', '--json'])).stdout) as { suites: { openssl: string; why: string; source: string }[]; groups: { name: string; id: string }[] };
    expect(facts.suites.map(({ openssl }) => openssl)).toEqual([...suitesOf('device', 'TLS 1.3'), ...suitesOf('device', 'TLS 1.2')]);
    expect(facts.groups).toMatchObject([{ name: 'P-256', id: '0x0017' }, { name: 'X25519', id: '0x001d' }]);
  });

  it('exits 2 for a profile that there is not, and names those that there are', async () => {
    const { code, stderr } = await wardgate(['profile', 'pci']);
    expect([code, stderr]).toEqual([2, 'wardgate: there is no profile "pci"; there are bcp195, modern, ihe-atna, dicom, device\n']);
  });
});

test('docs/profiles.md is what the profiles say (node scripts/write-docs.ts makes it anew)', () => {
  const text = readFileSync(join(import.meta.dirname, '..', 'docs/profiles.md'), 'utf8');
  expect(text).toBe(profileDocs(scansIn(text)));
});

/** What an upstream under a profile, or none, is offered. */
async function helloOf(profile: TlsProfile | undefined): Promise<ReturnType<typeof readOffer>> {
  const server = createServer();
  const heard = new Promise<ReturnType<typeof readOffer>>((done) => {
    server.once('connection', (socket) => {
      let octets: Buffer = Buffer.alloc(0);
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => {
        octets = Buffer.concat([octets, chunk]);
        if (octets.length < 5 + octets.readUInt16BE(3)) return;
        done(readOffer(octets));
        socket.destroy();
      });
    });
  });
  const port = await new Promise<number>((done) => server.listen(0, '127.0.0.1', () => done((server.address() as { port: number }).port)));
  const dialling = createDialling({ tls: profile === undefined ? {} : { profile } } as never, { trust: [pki.root.certificate] } as never);
  const socket = dial(dialling.options('records.internal', port, '127.0.0.1'));
  socket.on('error', () => undefined);
  const hello = await heard;
  socket.destroy();
  server.close();
  return hello;
}

/** The group that Node's own client, which knows the hybrid one, comes to. */
function groupOf(port: number, groups: string | undefined): Promise<string | undefined> {
  return new Promise((done, failed) => {
    const socket: TLSSocket = connect({ port, host: '127.0.0.1', servername: NAME, ca: [pki.root.certificate, pki.issuing.certificate], ...(groups === undefined ? {} : { ecdhCurve: groups }) }, () => {
      done((socket.getEphemeralKeyInfo() as { name?: string } | null)?.name);
      socket.destroy();
    });
    socket.on('error', failed);
  });
}

/** The results in order, a few at a time: each is a process or a connection of its own. */
async function inTurn<Item, Result>(items: readonly Item[], work: (item: Item) => Promise<Result>, width = 4): Promise<Result[]> {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += width) results.push(...await Promise.all(items.slice(at, at + width).map(work)));
  return results;
}
