import { once } from 'node:events';
import { cpSync } from 'node:fs';
import { createServer, get } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openOffice, type Office } from '../src/ca/office.ts';
import { integer, octetString, oid, sequence } from '../src/ca/der.ts';
import { createCrlDesk } from '../src/ca/publish/crl-desk.ts';
import { createOcspDesk } from '../src/ca/publish/ocsp-desk.ts';
import type { PublishSource } from '../src/ca/publish/source.ts';
import { startCaServer, type CaServer, type CaServerOptions } from '../src/ca-server.ts';
import { openGatewayCrls } from '../src/est-crls.ts';
import { LIMITS, limitByAddress } from '../src/est-server.ts';
import { SILENT } from '../src/log.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { twinOf } from '../src/pki/twin.ts';
import { buildOcspRequest, judgeOcspResponse } from '../src/pki/ocsp.ts';
import { parseOcspRequest } from '../src/pki/ocsp-request.ts';
import { testCa, type TestCa } from './support/ca.ts';
import { wardgate } from './support/command.ts';
import { issueCrl, testPki, type TestPki } from './support/pki.ts';

const DAY = 86_400_000;
let ca: TestCa;
let server: CaServer;
const certificateOf = (name: string) => parseCertificate(ca.first.get(name)?.entry.der as Buffer);
const issuing = () => parseCertificate(ca.office.issuer().der);

beforeAll(async () => {
  ca = await testCa(['Kiosk 1', 'Kiosk 2', 'Kiosk 3', 'Kiosk 4']);
  server = await startCaServer({ office: ca.office, publish: { host: '127.0.0.1', port: 0 }, log: SILENT });
});
afterAll(async () => {
  await server.stop();
  ca.remove();
});

const deskOf = (source: PublishSource, now: () => number, liveRate = 1_000_000) => createOcspDesk({ source, now, validity: 3_600_000, responderValidity: 7 * DAY, liveRate });
const asking = (name: string) => buildOcspRequest(certificateOf(name), issuing());
const judged = (der: Uint8Array, name: string, now: number) => judgeOcspResponse(der, { certificate: certificateOf(name), issuer: issuing(), now, skew: 60_000, maxAge: 7_200_000 });

describe('the responder', () => {
  test('keeps no answer to a CertID that is written in a way of its own: parameters of the hash are free, and would fill the memory', async () => {
    const desk = deskOf(ca.office, Date.now);
    await desk.refresh();
    const [plain] = parseOcspRequest(asking('Kiosk 1')).certIds;
    for (let count = 0; count < 3; count += 1) {
      const certId = sequence(sequence(oid('1.3.14.3.2.26'), octetString(Buffer.alloc(4000, count))), octetString(Buffer.from(plain?.issuerNameHash as Uint8Array)), octetString(Buffer.from(plain?.issuerKeyHash as Uint8Array)), integer(plain?.serial as string));
      const request = sequence(sequence(sequence(sequence(certId))));
      expect((await desk.answer(request)).kind).toBe('signed');
      expect((await desk.answer(request)).kind).toBe('signed');
    }
    expect((await desk.answer(asking('Kiosk 1'))).kind).toBe('kept');
  });

  test('does not keep "good" when the certificate was revoked while that was being signed', async () => {
    const { serial } = certificateOf('Kiosk 2');
    let asked = 0;
    const source: PublishSource = { ...ca.office, statuses: () => [], status: (one, generation) => {
      if (one === serial && (asked += 1) === 2) ca.office.revoke(serial, { who: 'operator', reason: 'keyCompromise', why: 'stolen' });
      return ca.office.status(one, generation);
    } };
    const desk = deskOf(source, Date.now);
    await desk.refresh();
    expect(judged((await desk.answer(asking('Kiosk 2'))).der, 'Kiosk 2', Date.now()).kind).toBe('good');
    expect(judged((await desk.answer(asking('Kiosk 2'))).der, 'Kiosk 2', Date.now()).kind).toBe('revoked');
  });

  test('answers of today when the clock was ahead, and was set back', async () => {
    let now = Date.now() + 20 * DAY;
    const desk = deskOf(ca.office, () => now, 5);
    await desk.refresh();
    now -= 20 * DAY;
    expect(judged((await desk.answer(asking('Kiosk 4'))).der, 'Kiosk 4', now).kind).toBe('good');
    expect(await desk.refresh()).toBeGreaterThan(0);
    const { der, kind } = await desk.answer(asking('Kiosk 1'));
    expect([kind, judged(der, 'Kiosk 1', now).kind]).toEqual(['kept', 'good']);
    const nonce = buildOcspRequest(certificateOf('Kiosk 1'), issuing(), Buffer.alloc(16, 1));
    expect((await desk.answer(nonce)).kind).toBe('signed');
  });

  test('and the CRL desk go on for the issuing CA when the key of one before is gone', async () => {
    const before = { generation: 0, state: 'retired' as const, certificate: ca.office.issuer().certificate };
    const gone = (): never => {
      throw new Error('issuing-0.key: is missing');
    };
    const source: PublishSource = { ...ca.office, issuers: () => [before, ...ca.office.issuers()], issuer: (one) => (one === 0 ? gone() : ca.office.issuer(one)), crl: async (one) => (one === 0 ? gone() : ca.office.crl(one)) };
    const [ocsp, crl] = [deskOf(source, Date.now), createCrlDesk({ source, now: Date.now, every: DAY })];
    await expect(crl.refresh()).rejects.toThrow('is missing');
    await expect(ocsp.refresh()).rejects.toThrow('is missing');
    const first = crl.current(1)?.number ?? 0;
    expect(judged((await ocsp.answer(asking('Kiosk 3'))).der, 'Kiosk 3', Date.now()).kind).toBe('good');
    ca.office.revoke(certificateOf('Kiosk 3').serial, { who: 'operator', reason: 'keyCompromise', why: 'stolen' });
    await Promise.allSettled([crl.refresh(), ocsp.refresh()]);
    // The server of these tests looks after its lists meanwhile: it may have taken a number in between.
    expect(crl.current(1)?.number).toBeGreaterThan(first);
    expect(crl.current(1)?.der.includes(Buffer.from(certificateOf('Kiosk 3').serial, 'hex'))).toBe(true);
    expect(judged((await ocsp.answer(asking('Kiosk 3'))).der, 'Kiosk 3', Date.now()).kind).toBe('revoked');
  });

  test('answers others while one address holds every connection that it may have', async () => {
    const { port } = server.publish;
    const held: Socket[] = [];
    let ended = 0;
    try {
      for (let count = 0; count < 1100; count += 1) held.push(connect({ host: '127.0.0.1', port, localAddress: '127.0.0.2' }).on('error', () => undefined).on('close', () => (ended += 1)));
      await expect.poll(() => ended, { timeout: 10_000 }).toBeGreaterThanOrEqual(1100 - 256);
      const status = await new Promise((done, failed) => get({ host: '127.0.0.1', port, path: '/issuing.crl', agent: false }, (response) => done(response.resume().statusCode)).on('error', failed));
      expect(status).toBe(200);
      // Those that say nothing are ended when their time is over, and not when Node comes to look, half a minute later.
      expect(LIMITS.connectionsCheckingInterval).toBeLessThanOrEqual(1000);
    } finally {
      for (const socket of held) socket.destroy();
    }
  });
});

test('one client of IPv6, which has a /64 of addresses, gets no more connections than an address of IPv4', () => {
  const limit = limitByAddress();
  let ended = 0;
  const from = (remoteAddress: string): void => limit({ remoteAddress, destroy: () => (ended += 1), once: () => undefined } as unknown as Socket);
  for (let host = 1; host <= 300; host += 1) from(`2001:db8:0:7::${host.toString(16)}`);
  expect(ended).toBe(300 - 256);
  from('2001:db8:0:8::1');
  from('::ffff:192.0.2.1');
  from('192.0.2.1');
  expect(ended).toBe(300 - 256);
});

test('EST believes no gateway whose certificate its own CA has taken back: it would be every device at once', async () => {
  const [gateway, place] = [ca.first.get('Kiosk 4'), ca.first.get('localhost')];
  if (gateway === undefined || place === undefined) throw new Error('nothing was made');
  const own = await startCaServer({
    office: ca.office, publish: { host: '127.0.0.1', port: 0 }, log: SILENT,
    est: { address: { host: '127.0.0.1', port: 0 }, certificate: place.entry.chain, key: place.key, trust: `${ca.office.root}${ca.office.issuer().certificate}`, gateways: ['kiosk-4.devices.hospital.test'] },
  });
  const confirmed = (cert = gateway.entry.chain): Promise<number | undefined> => new Promise((done, failed) => {
    httpsRequest({ host: '127.0.0.1', port: own.est?.port, servername: 'localhost', path: '/.well-known/est/confirm', method: 'POST', agent: false, ca: ca.office.root, cert, key: gateway.key, headers: { 'client-cert': `:${Buffer.from(certificateOf('Kiosk 1').der).toString('base64')}:` } }, (response) => done(response.resume().statusCode)).on('error', failed).end();
  });
  // The thief gives it the other form of its signature (r, n - s), which is on no book.
  const twin = `-----BEGIN CERTIFICATE-----\n${twinOf(certificateOf('Kiosk 4'))?.toString('base64').match(/.{1,64}/g)?.join('\n')}\n-----END CERTIFICATE-----\n${ca.office.issuer().certificate}`;
  try {
    expect([await confirmed(), await confirmed(twin)]).toEqual([204, 204]);
    ca.office.revoke(gateway.entry.serial, { who: 'operator', reason: 'keyCompromise', why: 'the gateway was broken into' });
    expect([await confirmed(), await confirmed(twin)]).toEqual([403, 403]);
  } finally {
    await own.stop();
  }
});

describe('EST, of gateways whose certificates another CA has given', () => {
  let pki: TestPki;
  let clock = 0;
  beforeAll(async () => {
    pki = await testPki();
  });

  async function serving(crls: readonly string[], work: (confirmed: () => Promise<number | undefined>) => Promise<void>): Promise<void> {
    const place = ca.first.get('localhost');
    if (place === undefined) throw new Error('nothing was made');
    const own = await startCaServer({
      office: ca.office, publish: { host: '127.0.0.1', port: 0 }, log: SILENT, now: () => Date.now() + clock,
      est: { address: { host: '127.0.0.1', port: 0 }, certificate: place.entry.chain, key: place.key, trust: pki.backendCa.certificate, gateways: ['gateway.internal'], crls },
    });
    try {
      await work(() => new Promise((done, failed) => {
        httpsRequest({ host: '127.0.0.1', port: own.est?.port, servername: 'localhost', path: '/.well-known/est/confirm', method: 'POST', agent: false, ca: ca.office.root, cert: pki.gatewayClient.chain, key: pki.gatewayClient.key, headers: { 'client-cert': `:${Buffer.from(certificateOf('Kiosk 1').der).toString('base64')}:` } }, (response) => done(response.resume().statusCode)).on('error', failed).end();
      }));
    } finally {
      clock = 0;
      await own.stop();
    }
  }

  test('hears from its CRL that one was taken back, and believes none once the list has ended', async () => {
    const list = (number: number, revoked: readonly { readonly serial: string }[]) => issueCrl(pki.backendCa, { number, revoked, nextUpdate: Date.now() + 3_600_000 });
    const file = await ca.write('backend.crl', await list(2, []));
    await serving([file], async (confirmed) => {
      expect(await confirmed()).toBe(204);
      clock = 2 * 3_600_000;
      expect(await confirmed()).toBe(503);
      clock = 0;
      await ca.write('backend.crl', await list(3, [{ serial: pki.gatewayClient.serialHex }]));
      await expect.poll(confirmed).toBe(403);
      // An older list takes nothing back.
      await ca.write('backend.crl', await list(2, []));
      await ca.write('backend.crl', await list(4, [{ serial: pki.gatewayClient.serialHex }]));
      expect(await confirmed()).toBe(403);
    });
    // Nor does it over a restart, as long as the newer one is in force: it says of nobody that he is good.
    await ca.write('backend.crl', await list(2, []));
    await serving([file], async (confirmed) => expect(await confirmed()).toBe(503));
    await expect(serving([await ca.write('no.crl', 'none')], () => Promise.resolve())).rejects.toThrow(/no\.crl: .*neither DER nor a PEM block/);
  });

  test('forgets no list for another CA\'s that somebody laid in its place', async () => {
    const file = await ca.write('laid.crl', await issueCrl(pki.backendCa, { revoked: [{ serial: pki.gatewayClient.serialHex }] }));
    const crls = await openGatewayCrls({ sources: [file], trust: pki.backendCa.certificate + pki.issuing.certificate, log: SILENT, now: Date.now });
    const said = (...path: readonly { readonly der: Buffer }[]) => crls.judge(path.map(({ der }) => parseCertificate(der)));
    expect(said(pki.gatewayClient, pki.backendCa)).toMatchObject({ status: 403 });
    await ca.write('laid.crl', await issueCrl(pki.issuing));
    await expect.poll(() => said(pki.doctor, pki.issuing)).toEqual({ kind: 'good' });
    expect(said(pki.gatewayClient, pki.backendCa)).toMatchObject({ status: 403 });
    crls.close();
  });

  test('believes none while the place of the list gives nothing, and does not keep the CA from publishing for that', async () => {
    let body: Uint8Array = Buffer.from('<html>down</html>');
    const place = createServer((_request, response) => response.end(body)).listen(0, '127.0.0.1');
    await once(place, 'listening');
    const url = `http://127.0.0.1:${(place.address() as AddressInfo).port}/backend.crl`;
    await serving([url], async (confirmed) => expect(await confirmed()).toBe(503));
    body = await issueCrl(pki.backendCa, { number: 5 });
    await serving([url], async (confirmed) => expect(await confirmed()).toBe(204));
    place.close();
  });
});

describe('a revocation that somebody takes out', () => {
  let office: Office;
  let database: DatabaseSync;
  let serial: string;
  const told: Record<string, unknown>[] = [];
  const starting = (parts: Partial<CaServerOptions> = {}) => startCaServer({ office, publish: { host: '127.0.0.1', port: 0 }, log: { ...SILENT, error: (facts: unknown) => void told.push(facts as Record<string, unknown>) } as typeof SILENT, ...parts });
  const listed = async (one: Office): Promise<boolean> => (await one.crl()).der.includes(integer(serial));

  beforeAll(() => {
    const directory = ca.path('robbed');
    cpSync(ca.directory, directory, { recursive: true });
    const open = (): Office => openOffice({ directory, passphrase: ca.passphrase });
    office = open();
    ({ serial } = certificateOf('Kiosk 3'));
    if (office.entry(serial).revoked === undefined) office.revoke(serial, { who: 'operator', reason: 'keyCompromise', why: 'stolen' });
    office.close();
    office = open();
    database = new DatabaseSync(join(directory, 'ca.db'));
    database.exec('DROP TRIGGER event_kept; DROP TRIGGER event_stays; PRAGMA foreign_keys = OFF');
  });
  afterAll(() => {
    database.close();
    office.close();
  });

  test('of the database is published all the same, by what the event log says, and told', async () => {
    database.prepare('UPDATE certificate SET revoked_at = NULL, reason = NULL WHERE serial = ?').run(serial);
    database.prepare("UPDATE request SET state = 'confirmed' WHERE id = ?").run(office.entry(serial).request);
    expect([office.status(serial).kind, office.entry(serial).state, await listed(office)]).toEqual(['revoked', 'revoked', true]);
    expect(() => office.renew(serial, { applicant: { name: 'Kiosk 3' } })).toThrow(/it is revoked/);
    const found = { faults: expect.arrayContaining([`${serial}: was revoked, and the database does not say so`]) };
    // Again a day later, by a thread of its own: of 30,000 events it takes 5 s, and somebody asks the responder meanwhile.
    let late = 0;
    const faults = vi.fn(office.faults);
    const server = await starting({ office: { ...office, faults }, now: () => Date.now() + late });
    expect(told.splice(0)).toEqual([found]);
    late = 86_400_000;
    await expect.poll(() => told).toEqual([found]);
    expect(faults).toHaveBeenCalledTimes(1);
    await server.stop();
    database.prepare('DELETE FROM certificate WHERE serial = ?').run(serial);
    expect([office.status(serial).kind, await listed(office)]).toEqual(['revoked', true]);
  });

  test('of the log as well stays one for the process that has served it, and is told', async () => {
    const server = await starting();
    try {
      const events = database.prepare('SELECT * FROM event').all();
      database.exec('DELETE FROM event WHERE seq > 3');
      await expect.poll(() => told.at(-2)).toMatchObject({ events: expect.any(Number), before: expect.any(Number) });
      expect([office.status(serial).kind, await listed(office)]).toEqual(['revoked', true]);
      database.exec('DELETE FROM event');
      for (const event of events) database.prepare(`INSERT INTO event (${Object.keys(event).join()}) VALUES (${Object.keys(event).map(() => '?').join()})`).run(...Object.values(event));
    } finally {
      await server.stop();
    }
  });

  test('of the log is told at the next start, which publishes nothing then: what was signed before stands until it ends', async () => {
    database.exec(`DELETE FROM event WHERE json_extract(line, '$.serial') = '${serial}' AND json_extract(line, '$.step') = 'revoke'`);
    await expect(starting()).rejects.toThrow(/^nothing is published: event \d+: missing/);
    expect(await wardgate(['ca', 'crl', '--dir', office.directory, '--passphrase-file', await ca.write('robbed.pass', ca.passphrase)])).toMatchObject({ code: 1, stderr: expect.stringContaining('no CRL is signed: event') });
  });
});
