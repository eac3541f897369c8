import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { explain } from '../src/cli/explain.ts';
import { configuration, type TestGateway } from './support/gateway.ts';
import { testPki, writeLeaf, type Issued, type TestPki } from './support/pki.ts';
import { associationRequest, frame, pdu } from './support/senders.ts';
import { connectionRecords, gone, issueDevice, openStream, startStreamBackend, startStreamGateway, streamParts, type StreamBackend } from './support/stream-gateway.ts';

let pki: TestPki;
let backend: StreamBackend;
let lab: Issued;
let engine: Issued;

beforeAll(async () => {
  pki = await testPki();
  // Echoes: what comes back shows what has passed.
  backend = await startStreamBackend(pki, (socket) => socket.pipe(socket));
  [lab, engine] = await Promise.all([issueDevice(pki, 'lab-1'), issueDevice(pki, 'engine')]);
});

afterAll(() => backend.close());

/** Reads until as many octets have come, or the connection has ended. */
function hear(socket: TLSSocket, octets: number): Promise<Buffer> {
  return new Promise((done) => {
    const parts: Buffer[] = [];
    let length = 0;
    const finish = (): void => {
      socket.off('data', take);
      done(Buffer.concat(parts));
    };
    const take = (part: Buffer): void => {
      parts.push(part);
      length += part.length;
      if (length >= octets) finish();
    };
    socket.on('data', take);
    socket.on('error', () => undefined);
    socket.once('end', finish);
    socket.once('close', finish);
  });
}

async function say(socket: TLSSocket, octets: Buffer): Promise<Buffer> {
  const heard = hear(socket, octets.length);
  socket.write(octets);
  return heard;
}

const NONE = Buffer.alloc(0);
const LATEST = -1;

describe('a listener that lists HL7 senders', () => {
  let gateway: TestGateway;
  let before: number;
  const senders = 'senders: { mllp: [ { id: "lab-*", application: LAB, facility: [NORTH, "{id}"] }, { id: engine, application: "*" } ] }, limits: { first_octets_time: 1s }';

  beforeAll(async () => {
    gateway = await startStreamGateway(pki, backend.port, { listener: senders });
  });

  beforeEach(() => {
    before = backend.accepted.length;
  });

  afterAll(() => gateway.stop());

  const latest = async (id: string): Promise<unknown> => (await connectionRecords(gateway)).findLast((record) => record['id'] === id);

  it('lets every message of an allowed sender pass, and says on record who spoke and how often', async () => {
    const socket = await openStream(pki, gateway, lab);
    for (const [facility, body] of [['NORTH', 'PID|1\r'], ['lab-1', 'PID|2\r'], ['NORTH', `OBX|1|ED|${'QUJD'.repeat(50_000)}\r`]] as const) {
      const message = frame('LAB', facility, body);
      expect((await say(socket, message)).equals(message)).toBe(true);
    }
    socket.end();
    await once(socket, 'close');
    await expect.poll(async () => (await connectionRecords(gateway)).filter((record) => record['id'] === 'lab-1')).toMatchObject([
      { result: 'permitted', sending_application: 'LAB', sending_facility: 'NORTH', upstream: 'peer', role: 'device' },
      { result: 'permitted', sending_application: 'LAB', sending_facility: 'lab-1' },
      { result: 'done', messages: 3 },
    ]);
    const ids = (await connectionRecords(gateway)).map((record) => record['request_id']);
    expect(new Set(ids).size).toBe(1);
  });

  it('closes on a first message of another sender, and the upstream hears nothing, not even a handshake', async () => {
    const socket = await openStream(pki, gateway, lab);
    expect(await say(socket, frame('EVIL', 'NORTH', 'PID|1\r'))).toEqual(NONE);
    expect(backend.accepted.length).toBe(before);
    await expect.poll(async () => (await connectionRecords(gateway)).at(LATEST)).toMatchObject({
      result: 'denied', reason: 'sender_denied', sending_application: 'EVIL', sending_facility: 'NORTH', detail: 'lab-1 may not speak with the sending application "EVIL"',
    });
  });

  it('closes when a client that has announced itself correctly speaks as another later, of whose message nothing passes', async () => {
    const socket = await openStream(pki, gateway, lab);
    const good = frame('LAB', 'NORTH', 'PID|1\r');
    await say(socket, good);
    const ends = Promise.all([gone(socket), gone(backend.accepted.at(LATEST) as TLSSocket)]);
    socket.write(Buffer.concat([good, frame('LAB', 'SOUTH', 'PID|2\r')]));
    await ends;
    expect(good.equals(backend.received(LATEST).subarray(0, good.length))).toBe(true);
    expect(backend.received(LATEST).includes('SOUTH')).toBe(false);
    await expect.poll(() => latest('lab-1')).toMatchObject({ result: 'denied', reason: 'sender_denied', sending_facility: 'SOUTH', messages: 2, bytes_out: good.length });
  });

  it('closes when a batch hides a message of another sender behind an allowed one', async () => {
    const socket = await openStream(pki, gateway, lab);
    socket.write(frame('LAB', 'NORTH', 'PID|1\rMSH|^~\\&|EVIL|NORTH|\rPID|2\r'));
    await gone(socket);
    await expect.poll(() => latest('lab-1')).toMatchObject({ result: 'denied', reason: 'sender_denied', sending_application: 'EVIL' });
    expect(backend.received(LATEST).includes('EVIL')).toBe(false);
  });

  it('closes when a message of another sender declares letters as its separators', async () => {
    const socket = await openStream(pki, gateway, lab);
    socket.write(frame('LAB', 'NORTH', 'PID|1\rMSH#ab#EVIL#NORTH#\rPID|2\r'));
    await gone(socket);
    await expect.poll(() => latest('lab-1')).toMatchObject({ result: 'denied', reason: 'bad_request', detail: 'MSH-1 and MSH-2 do not declare separators' });
    expect(backend.received(LATEST).includes('EVIL')).toBe(false);
  });

  it('lets text pass that names a hospital MSH, or the hormone', async () => {
    const socket = await openStream(pki, gateway, lab);
    const message = frame('LAB', 'NORTH', 'PV1|1|I|Toronto MSH|\rOBX|1|TX|||a-MSH: 20 pg/ml, in Unité MSH|\r');
    expect((await say(socket, message)).equals(message)).toBe(true);
    socket.destroy();
  });

  it.each(['\u0085', '\u2028', '\t'])('closes when a message of another sender hides behind %j, where some receivers split lines', async (hiding) => {
    const socket = await openStream(pki, gateway, lab);
    socket.write(frame('LAB', 'NORTH', `NTE|1||a${hiding}MSH|^~\\&|EVIL|NORTH|\rPID|2\r`));
    await gone(socket);
    await expect.poll(() => latest('lab-1')).toMatchObject({ result: 'denied', reason: 'bad_request', detail: expect.stringMatching(/header segment behind/) });
    expect(backend.received(LATEST).includes('EVIL')).toBe(false);
  });

  it('closes on what is no MLLP, with the upstream untouched', async () => {
    const socket = await openStream(pki, gateway, lab);
    expect(await say(socket, Buffer.from('GET / HTTP/1.1\r\n\r\n'))).toEqual(NONE);
    expect(backend.accepted.length).toBe(before);
    await expect.poll(async () => (await connectionRecords(gateway)).at(LATEST)).toMatchObject({ result: 'denied', reason: 'bad_request', detail: 'octets outside an MLLP frame' });
  });

  it('closes at once on a client that no entry is for', async () => {
    const socket = await openStream(pki, gateway, pki.device);
    expect(await hear(socket, 1)).toEqual(NONE);
    await expect.poll(async () => (await connectionRecords(gateway)).at(LATEST)).toMatchObject({ result: 'denied', reason: 'sender_denied', detail: 'no entry of the listener\'s senders is for kiosk-7.devices.hospital.test' });
  });

  it('closes on a client that begins to say who it is and does not finish in time', async () => {
    const socket = await openStream(pki, gateway, lab);
    socket.write('\x0bMSH|^~\\&|LA');
    const started = performance.now();
    expect(await hear(socket, 1)).toEqual(NONE);
    expect(performance.now() - started).toBeGreaterThan(900);
    await expect.poll(async () => (await connectionRecords(gateway)).at(LATEST)).toMatchObject({ result: 'denied', reason: 'bad_request', detail: 'the client did not say in time who it is' });
    expect(backend.accepted.length).toBe(before);
  });

  it('waits for a client that has nothing to say yet', async () => {
    const socket = await openStream(pki, gateway, engine);
    await new Promise((done) => setTimeout(done, 1_300));
    const message = frame('ADT', 'MAIN', 'PID|1\r');
    expect((await say(socket, message)).equals(message)).toBe(true);
    // And for the next message as long as it takes.
    await new Promise((done) => setTimeout(done, 1_300));
    expect((await say(socket, message)).equals(message)).toBe(true);
    socket.destroy();
  });

  it('records a client that leaves before it says anything', async () => {
    const visitor = await issueDevice(pki, 'lab-visitor');
    const socket = await openStream(pki, gateway, visitor);
    socket.end();
    await expect.poll(() => latest('lab-visitor')).toMatchObject({ result: 'failed', detail: 'the client left before it was let in' });
    socket.destroy();
  });

  it('a half closed in the middle of a message is passed on as it is', async () => {
    const socket = await openStream(pki, gateway, lab);
    const half = frame('LAB', 'NORTH', 'PID|1\r').subarray(0, -3);
    const heard = hear(socket, Infinity);
    socket.end(half);
    expect((await heard).equals(half)).toBe(true);
  });

  it('ends a stream whose entry a reload takes away, and lets the next message of others pass by the new list', async () => {
    const [removed, kept] = [await openStream(pki, gateway, lab), await openStream(pki, gateway, engine)];
    await say(removed, frame('LAB', 'NORTH', ''));
    await say(kept, frame('ADT', 'MAIN', ''));
    const closed = gone(removed);
    await gateway.configure(configuration(backend.port, streamParts(backend.port, { listener: 'senders: { mllp: [ { id: engine, application: ADT } ] }' })));
    await gateway.gateway.reload();
    await closed;
    await expect.poll(() => latest('lab-1')).toMatchObject({ result: 'denied', reason: 'sender_denied', detail: 'no entry of the listener\'s senders is for lab-1' });
    expect((await say(kept, frame('ADT', 'MAIN', ''))).length).toBeGreaterThan(0);
    expect(await say(kept, frame('ORM', 'MAIN', ''))).toEqual(NONE);
    await gateway.configure(configuration(backend.port, streamParts(backend.port, { listener: senders })));
    await gateway.gateway.reload();
  });
});

describe('a listener that lists DICOM senders', () => {
  let gateway: TestGateway;
  let before: number;
  const REJECTED = (reason: number): Buffer => Buffer.from([3, 0, 0, 0, 0, 4, 0, 1, 1, reason]);

  beforeAll(async () => {
    gateway = await startStreamGateway(pki, backend.port, { listener: 'senders: { dicom: [ { id: lab-1, calling: [CT1, "{id}"], called: PACS } ] }, limits: { first_octets_time: 1s }' });
  });

  beforeEach(() => {
    before = backend.accepted.length;
  });

  afterAll(() => gateway.stop());

  it('lets an association of allowed AE titles pass, and says on record who spoke', async () => {
    const socket = await openStream(pki, gateway, lab);
    const octets = Buffer.concat([associationRequest('CT1', 'PACS'), pdu(4, Buffer.alloc(200_000, 7)), pdu(5, Buffer.alloc(4))]);
    expect((await say(socket, octets)).equals(octets)).toBe(true);
    socket.end();
    await once(socket, 'close');
    await expect.poll(async () => (await connectionRecords(gateway)).map((record) => [record['result'], record['calling_ae_title'], record['called_ae_title']])).toEqual([['permitted', 'CT1', 'PACS'], ['done', 'CT1', 'PACS']]);
  });

  it.each([['calling', 'CT2', 'PACS', 3], ['called', 'CT1', 'OTHER', 7]] as const)('rejects another %s AE title in DICOM\'s own words', async (_which, calling, called, reason) => {
    const socket = await openStream(pki, gateway, lab);
    const heard = hear(socket, Infinity);
    socket.write(associationRequest(calling, called));
    expect(await heard).toEqual(REJECTED(reason));
    expect(backend.accepted.length).toBe(before);
    await expect.poll(async () => (await connectionRecords(gateway)).at(LATEST)).toMatchObject({ result: 'denied', reason: 'sender_denied', calling_ae_title: calling, called_ae_title: called });
    const closed = once(socket, 'close');
    socket.end();
    await closed;
  });

  it('ends the connection of a rejected requester that does not', async () => {
    const socket = await openStream(pki, gateway, lab);
    const closed = once(socket, 'close');
    const failed = new Promise((done) => socket.once('error', done));
    socket.resume();
    socket.write(associationRequest('CT2', 'PACS'));
    const chatter = setInterval(() => socket.write(pdu(4, Buffer.alloc(10_000))), 50);
    await Promise.race([closed, failed]);
    clearInterval(chatter);
  });

  it('ends a connection that asks for a second association, which does not pass', async () => {
    const socket = await openStream(pki, gateway, lab);
    const first = associationRequest('CT1', 'PACS');
    await say(socket, first);
    expect(await say(socket, associationRequest('CT2', 'PACS'))).toEqual(NONE);
    await expect.poll(async () => (await connectionRecords(gateway)).at(LATEST)).toMatchObject({ result: 'denied', reason: 'bad_request', detail: 'a second A-ASSOCIATE-RQ on the connection', bytes_in: first.length * 2 });
    expect(backend.received(LATEST).equals(first)).toBe(true);
  });

  it('ends a connection that does not ask for an association in time', async () => {
    const socket = await openStream(pki, gateway, lab);
    expect(await hear(socket, 1)).toEqual(NONE);
    await expect.poll(async () => (await connectionRecords(gateway)).at(LATEST)).toMatchObject({ result: 'denied', reason: 'bad_request', detail: 'the client did not say in time who it is' });
  });

  it('tells a requester to come again when the upstream is away', async () => {
    const away = await startStreamGateway(pki, 1, { listener: 'senders: { dicom: [ { id: lab-1, calling: CT1 } ] }' });
    const socket = await openStream(pki, away, lab);
    const heard = hear(socket, Infinity);
    socket.write(associationRequest('CT1', 'PACS'));
    expect(await heard).toEqual(Buffer.from([3, 0, 0, 0, 0, 4, 0, 2, 3, 1]));
    await expect.poll(() => connectionRecords(away)).toMatchObject([{ result: 'failed', reason: 'upstream_unavailable', calling_ae_title: 'CT1' }]);
    socket.destroy();
    await away.stop();
  });
});

describe('a listener that comes to list senders', () => {
  it('ends streams that began without naming one', async () => {
    const gateway = await startStreamGateway(pki, backend.port);
    const socket = await openStream(pki, gateway, lab);
    await say(socket, Buffer.from('anything'));
    const closed = gone(socket);
    await gateway.configure(configuration(backend.port, streamParts(backend.port, { listener: 'senders: { mllp: [ { id: lab-1, application: LAB } ] }' })));
    await gateway.gateway.reload();
    await closed;
    await expect.poll(async () => (await connectionRecords(gateway)).at(LATEST)).toMatchObject({ result: 'denied', reason: 'sender_denied' });
    await gateway.stop();
  });
});

describe('wardgate explain', () => {
  it('says whom a client may speak as, and judges what it would say', async () => {
    const gateway = await startStreamGateway(pki, backend.port, { listener: 'senders: { mllp: [ { id: "lab-*", application: LAB, facility: [NORTH, "{id}"] } ] }' });
    await Promise.all(writeLeaf(gateway.path('lab'), lab));
    const run = async (more: { sender?: string; json?: boolean } = {}) => {
      let text = '';
      const code = await explain({ config: gateway.path('wardgate.yaml'), cert: gateway.path('lab.pem'), address: '127.0.0.1', ...more }, (line) => (text += line));
      return { code, text };
    };
    expect((await run()).text).toMatch(/lab-1 may speak with the sending application LAB, the sending facility NORTH or lab-1\nadmitted$/);
    expect(await run({ sender: 'LAB|lab-1' })).toMatchObject({ code: 0, text: expect.stringMatching(/permitted$/) });
    const refused = await run({ sender: 'LAB|SOUTH', json: true });
    expect(refused.code).toBe(3);
    expect(JSON.parse(refused.text)).toMatchObject({ result: 'denied', reason: 'sender_denied' });
    await gateway.stop();
  });
});
