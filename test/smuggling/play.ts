import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testPki } from '../support/pki.ts';
import { UpstreamOracle } from './oracle.ts';
import { readAnswers, statusOf, valuesOf, type Message } from './reading.ts';
import type { RequestCase } from './requests.ts';
import { converse, leave, MODES, openStage, PATIENCE, plainAnswer, send, type AuditLine, type Pieces, type Stage, type Upstream, type UpstreamConnection } from './stage.ts';

/** Answers what it has read whole, and `/early` as soon as it has the head. */
function lenientUpstream(): Upstream {
  const answered = new Set<string>();
  const answerOnce = (message: Pick<Message, 'line' | 'fields'>, connection: UpstreamConnection): void => {
    const [id = ''] = valuesOf(message, 'x-request-id');
    if (answered.has(id)) return;
    answered.add(id);
    connection.socket.write(plainAnswer(message));
  };
  return {
    answer: answerOnce,
    octets(connection) {
      const at = connection.text.indexOf('POST /echo/early ', connection.read);
      const id = at === -1 ? undefined : /\r\nx-request-id: (.*)\r\n[^]*?\r\n\r\n/i.exec(connection.text.slice(at))?.[1];
      if (id !== undefined) answerOnce({ line: 'POST', fields: [['x-request-id', id]] }, connection);
    },
  };
}

/** Tests of attacks, grouped by what they play on: on each path of the gateway, in one piece and octet by octet. */
export function describeAttacks(groups: Readonly<Record<string, readonly RequestCase[]>>): void {
  describe.each(MODES)('$name', ({ listenerExtra }) => {
    let player: Player;

    beforeAll(async () => {
      player = await openPlayer(listenerExtra);
    });

    afterAll(() => player.end());

    describe.each(Object.entries(groups))('%s', (_group, attacks) => {
      it.each(attacks.map((attack) => [attack.name, attack] as const))('%s', async (_name, attack) => {
        await player.play(attack, 'in one piece');
        if (attack.octets.length < 1_500) await player.play(attack, 'octet by octet');
      });
    });
  });
}

interface Player {
  /** Plays an attack, and holds everybody to it: the client, the upstream, the records and another client. */
  play(attack: RequestCase, pieces: Pieces): Promise<void>;
  end(): Promise<void>;
}

async function openPlayer(listenerExtra: string): Promise<Player> {
  const pki = await testPki();
  const stage = await openStage(pki, listenerExtra, lenientUpstream());
  const oracle = new UpstreamOracle(pki);
  let accountedFor = 0;
  return {
    async play(attack, pieces) {
      const before = stage.records().length;
      const text = await attackAs(stage, attack, pieces);
      const fewest = Math.min(...attack.expected.map((outcome) => outcome.length));
      await expect.poll(() => stage.records().length - before, PATIENCE).toBeGreaterThanOrEqual(fewest);
      const witness = await stage.witness();
      const all = stage.records().slice(before);
      const own = all.filter((record) => record['request_id'] !== witness);
      const reached = (await oracle.check(stage.connections, all)).filter((message) => valuesOf(message, 'x-request-id')[0] !== witness);
      const statuses = checkAnswers(text, attack, own, reached);
      const outcomes = attack.expected.map((outcome) => `${outcome.filter((one) => one !== 'gone').join(' ')} in ${outcome.length} records`);
      expect(outcomes, JSON.stringify(own.map((record) => [record['result'], record['status'], record['detail']]))).toContain(`${statuses.join(' ')} in ${own.length} records`);
      if (attack.body !== undefined) expect(reached[0]?.body).toBe(attack.body);
      accountedFor += all.length;
    },
    async end() {
      // Nothing came late.
      expect(stage.records()).toHaveLength(accountedFor);
      await stage.stop();
    },
  };
}

/** Sends an attack, waits for what may be answered, leaves, and returns everything that came. */
async function attackAs(stage: Stage, { octets, method, expected }: RequestCase, pieces: Pieces): Promise<string> {
  const socket = await stage.client();
  const talk = converse(socket, method);
  const [first, second] = typeof octets === 'string' ? [octets] : octets;
  await send(socket, first, pieces);
  if (second !== undefined) {
    await talk.anything();
    await send(socket, second, pieces);
  }
  await talk.until(Math.max(...expected.map((outcome) => outcome.filter((one) => one !== 'gone').length)));
  await leave(socket);
  return talk.text();
}

/** Holds the client to its own answers, in their order, each with its own record; returns their statuses. */
function checkAnswers(text: string, attack: RequestCase, records: readonly AuditLine[], reached: readonly Message[]): readonly number[] {
  const recordOf = (id: string): AuditLine | undefined => records.find((record) => record['request_id'] === id);
  const { messages, rest, detail } = readAnswers(text, (message) => attack.method ?? String(recordOf(valuesOf(message, 'x-request-id')[0] ?? '')?.['method'] ?? 'GET'), true);
  expect({ rest, detail }).toEqual({ rest: 'nothing', detail: '' });
  const answers = messages.filter((message) => statusOf(message) >= 200);
  expect(messages.filter((message) => statusOf(message) < 200).map(statusOf).filter((status) => status !== 100)).toEqual([]);
  if (!/expect/i.test(String(attack.octets))) expect(messages).toHaveLength(answers.length);
  for (const answer of answers) {
    const [id = '', ...others] = valuesOf(answer, 'x-request-id');
    const status = statusOf(answer);
    expect(others).toEqual([]);
    expect(recordOf(id)?.['status'], 'the status on record').toBe(status);
    expect(valuesOf(answer, 'strict-transport-security')).toHaveLength(1);
    if (status === 200) {
      expect(valuesOf(answer, 'x-asked')).toEqual([id]);
      expect(reached.map((message) => valuesOf(message, 'x-request-id')[0])).toContain(id);
    }
    if (answer.framing !== 'none') expect(status === 200 ? answer.body : (JSON.parse(answer.body) as { request_id: string }).request_id).toBe(status === 200 ? `id=${id}` : id);
  }
  expect(new Set(answers.map((answer) => valuesOf(answer, 'x-request-id')[0])).size).toBe(answers.length);
  return answers.map(statusOf);
}
