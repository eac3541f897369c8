import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testPki } from '../support/pki.ts';
import { ANSWERS, type AnswerCase, type Seen } from './answers.ts';
import { readAnswers, readRequests, statusOf, valuesOf, type Message } from './reading.ts';
import { converse, leave, MODES, openStage, PATIENCE, plainAnswer, send, type AuditLine, type Conversation, type Pieces, type Stage, type UpstreamConnection } from './stage.ts';

/** What the upstream does to the one request that is the case. */
interface Scene {
  readonly attack: AnswerCase;
  readonly pieces: Pieces;
  connection: UpstreamConnection | undefined;
}

describe.each(MODES)('$name', ({ listenerExtra }) => {
  let stage: Stage;
  let scene: Scene | undefined;

  beforeAll(async () => {
    stage = await openStage(await testPki(), listenerExtra, {
      responseTime: '1s',
      answer(request, connection) {
        if (scene === undefined || !request.line.includes(' /echo/case ')) return void connection.socket.write(plainAnswer(request));
        scene.connection = connection;
        void play(scene, connection.socket);
      },
    });
  });

  afterAll(() => stage.stop());

  describe.each(Object.entries(ANSWERS))('%s', (_group, attacks) => {
    it.each(attacks.map((attack) => [attack.name, attack] as const))('%s', async (_name, attack) => {
      await perform(attack, 'in one piece');
      if (attack.octets.length < 1_500 && keepsItsTime(attack)) await perform(attack, 'octet by octet');
    });
  });

  async function perform(attack: AnswerCase, pieces: Pieces): Promise<void> {
    scene = { attack, pieces, connection: undefined };
    const before = stage.records().length;
    const socket = await stage.client();
    const talk = converse(socket, attack.method);
    socket.write(`${attack.method} /echo/case HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await talk.until(1);
    await misbehaveLater(scene);
    // Whatever is left over of the answer would be the beginning of the next.
    if (!talk.closed()) socket.write(`${attack.method} /echo/next HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await talk.until(2);
    await leave(socket);
    // Two in a row: the pool gives the connection that was used last first.
    const witnesses = [await stage.witness(), await stage.witness()];
    await expect.poll(() => stage.records().slice(before).some((record) => record['path'] === '/echo/case'), PATIENCE).toBe(true);
    const records = stage.records().slice(before).filter((record) => !witnesses.includes(String(record['request_id'])));
    checkClient(talk, attack, records);
    await checkConnection(scene);
  }
});

/**
 * Whether the octets of a case may take their time. What comes behind a whole answer must come with it: on its way while the
 * next request is, nobody can tell whether it answers that one.
 */
function keepsItsTime({ octets, seen, reusable }: AnswerCase): boolean {
  return typeof octets === 'string' && !seen.includes(504) && (reusable || seen.every((one) => typeof one !== 'object'));
}

async function play({ attack: { octets, end }, pieces }: Scene, socket: TLSSocket): Promise<void> {
  const first = typeof octets === 'string' ? octets : octets[0];
  if (first !== '') await send(socket, first, pieces);
  if (typeof octets === 'string') finish(socket, end);
}

function finish(socket: TLSSocket, end: AnswerCase['end']): void {
  if (end === 'closes') socket.end();
  // Node resets TCP connections only, and gives no other way to the one below.
  if (end === 'resets' && !socket.destroyed) (socket as TLSSocket & { readonly _parent: Socket })._parent.resetAndDestroy();
}

/** Sends the second part on the connection that is idle now, and waits until the gateway has seen it. */
async function misbehaveLater({ attack, connection }: Scene): Promise<void> {
  if (typeof attack.octets === 'string' || connection === undefined) return;
  if (attack.octets[1] !== '' && !connection.socket.destroyed) connection.socket.write(attack.octets[1], 'latin1');
  finish(connection.socket, attack.end);
  await expect.poll(() => connection.closed, { ...PATIENCE, message: 'a connection stays in the pool on which octets came that nobody asked for' }).toBe(true);
}

/** Holds the client to an answer of the case's that is allowed, and to its own next one. */
function checkClient(talk: Conversation, attack: AnswerCase, records: readonly AuditLine[]): void {
  const text = talk.text();
  const { messages, rest, detail } = readAnswers(text, () => attack.method, true);
  expect(messages.map((message) => message.framing)).not.toContain('close');
  expect(messages.map(statusOf).filter((status) => status < 200), 'interim answers').toEqual([]);
  const [first, next] = messages;
  const seen: Seen = first === undefined || rest !== 'nothing' && next === undefined && messages.length === 0 ? 'cut' : seenIn(first);
  expect(attack.seen, `${detail} ${JSON.stringify(records.map((record) => record['detail']))}`).toContainEqual(seen);
  if (seen !== 'cut') expect({ rest, detail }).toEqual({ rest: 'nothing', detail: '' });
  expect(text).not.toMatch(/forged|x-poison/i);
  const [own, later, ...others] = records;
  expect(others).toEqual([]);
  expect(own).toMatchObject({ path: '/echo/case', status: seen === 'cut' ? expect.any(Number) : statusOf(first as Message), result: seen === 'cut' || typeof seen === 'number' ? 'failed' : 'permitted' });
  if (first !== undefined) checkHead(first, own);
  if (next === undefined) return expect(later).toBeUndefined();
  expect({ path: later?.['path'], status: statusOf(next), asked: valuesOf(next, 'x-asked') }).toEqual({ path: '/echo/next', status: 200, asked: [later?.['request_id']] });
  checkHead(next, later);
}

function seenIn(message: Message): Seen {
  const status = statusOf(message);
  return valuesOf(message, 'content-type').includes('application/problem+json') ? status as 502 : { status, body: message.body };
}

function checkHead(message: Message, record: AuditLine | undefined): void {
  expect(valuesOf(message, 'x-request-id')).toEqual([record?.['request_id']]);
  expect(valuesOf(message, 'strict-transport-security')).toEqual(['max-age=31536000; includeSubDomains; preload']);
  const names = message.fields.map(([name]) => name.toLowerCase());
  for (const name of ['alt-svc', 'proxy-authenticate', 'proxy-connection', 'te', 'trailer', 'upgrade']) expect(names).not.toContain(name);
}

/** Holds the gateway to what may become of the connection on which the upstream misbehaved. */
async function checkConnection({ attack, connection }: Scene): Promise<void> {
  if (connection === undefined) throw new Error('the upstream was not asked');
  const requests = readRequests(connection.text).messages;
  const at = requests.findLastIndex((request) => request.line.includes(' /echo/case '));
  if (attack.reusable) return;
  await expect.poll(() => connection.closed, { ...PATIENCE, message: 'the connection stays open' }).toBe(true);
  expect(requests.slice(at + 1).map((request) => request.line)).toEqual([]);
}
