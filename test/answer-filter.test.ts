import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { filterAnswer, type AnswerFilter, type Filtered } from '../src/forward/answer-filter.ts';
import type { UpstreamAnswer } from '../src/forward/message.ts';

function answer(body: Readable | Buffer, more: Partial<UpstreamAnswer> = {}): UpstreamAnswer {
  return { kind: 'answer', status: 200, fields: ['x', 'y'], length: undefined, body, whole: () => true, late: () => false, trailers: () => ['t', '1'], ...more };
}

/** Lets everything pass, in capitals, until it meets `!`. */
const capitals = (): AnswerFilter => ({
  begin: ({ fields, length }) => ({ kind: 'head', fields: [...fields, 'capitals', 'yes'], length }),
  read(octets) {
    const text = Buffer.from(octets).toString();
    return text.includes('!') ? { kind: 'objection', reason: 'patient_mismatch', detail: text } : { kind: 'octets', octets: [Buffer.from(text.toUpperCase())] };
  },
  end: () => ({ kind: 'octets', octets: [Buffer.from('.')] }),
});

/** Keeps all of it and turns it round. */
const backwards = (): AnswerFilter => {
  const kept: Uint8Array[] = [];
  return {
    begin: ({ fields }) => ({ kind: 'head', fields, length: undefined }),
    read(octets) {
      kept.push(octets);
      return { kind: 'octets', octets: [] };
    },
    end: () => ({ kind: 'octets', octets: [Buffer.concat(kept).reverse()] }),
  };
};

const LARGE = 'x'.repeat(300_000);

async function text(filtered: Filtered): Promise<string> {
  if (filtered.kind !== 'answer') throw new Error(filtered.detail);
  const parts: Buffer[] = [];
  for await (const part of filtered.answer.body as Readable) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

describe('an answer behind filters', () => {
  it.each([['a stream', Readable.from([Buffer.from('ab'), Buffer.from('cd')])], ['octets that are all there', Buffer.from('abcd')]])('is what they make of it, one after the other: %s', async (_, body) => {
    const filtered = await filterAnswer(answer(body), [capitals(), backwards()]);
    expect(filtered).toMatchObject({ kind: 'answer', answer: { status: 200, fields: ['x', 'y', 'capitals', 'yes'], length: undefined } });
    expect(await text(filtered)).toBe('.DCBA');
    if (filtered.kind === 'answer') expect([filtered.answer.whole(), filtered.answer.trailers(), filtered.objection()]).toEqual([true, [], undefined]);
  });

  it('without content is let through to its end', async () => {
    expect(await text(await filterAnswer(answer(Readable.from([])), [capitals()]))).toBe('.');
  });

  it.each([[[capitals()]], [[capitals(), backwards()]], [[backwards(), capitals()]]])('is an objection where one of them has one before the first octets leave', async (filters) => {
    expect(await filterAnswer(answer(Readable.from([Buffer.from('ab'), Buffer.from('c!')])), filters)).toMatchObject({ kind: 'objection', reason: 'patient_mismatch' });
  });

  it('is cut where one of them has an objection later, and tells which', async () => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const pieces = (async function* pieces() {
      yield Buffer.from(LARGE);
      await begun;
      yield Buffer.from('!');
    }());
    const filtered = await filterAnswer(answer(Readable.from(pieces)), [capitals()]);
    begin();
    expect(filtered.kind).toBe('answer');
    await expect(text(filtered)).rejects.toThrow('not for this client');
    if (filtered.kind === 'answer') expect([filtered.answer.whole(), filtered.objection()]).toEqual([false, { kind: 'objection', reason: 'patient_mismatch', detail: '!' }]);
  });

  it('is held back as a whole by a filter that keeps it, so that an objection before that is never late', async () => {
    expect(await filterAnswer(answer(Readable.from([Buffer.from(LARGE), Buffer.from(LARGE), Buffer.from('!')])), [capitals(), backwards()])).toMatchObject({ kind: 'objection', detail: '!' });
  });

  it('ends with its upstream: at its beginning as a failure, later as a cut', async () => {
    const dying = (after: string, when = Promise.resolve()): Readable => Readable.from((async function* pieces() {
      yield Buffer.from(after);
      await when;
      throw new Error('gone');
    }()));
    const { promise: passed, resolve: die } = Promise.withResolvers<void>();
    expect(await filterAnswer(answer(dying('a')), [capitals()])).toMatchObject({ kind: 'failed', code: 'upstream_unavailable' });
    expect(await filterAnswer(answer(dying('a'), { late: () => true }), [capitals()])).toMatchObject({ kind: 'failed', code: 'upstream_timeout' });
    const begun = await filterAnswer(answer(dying(LARGE, passed)), [capitals()]);
    die();
    await expect(text(begun)).rejects.toThrow();
    if (begun.kind === 'answer') expect([begun.answer.whole(), begun.objection()]).toEqual([false, undefined]);
  });

  it('is not whole where its upstream\'s was not', async () => {
    expect(await filterAnswer(answer(Readable.from([Buffer.from('a')]), { whole: () => false }), [capitals()])).toMatchObject({ kind: 'failed' });
  });

  it('ends with a fault of a filter, closed', async () => {
    const faulty: AnswerFilter = { ...capitals(), read: () => { throw new Error('fault'); } };
    expect(await filterAnswer(answer(Readable.from([Buffer.from('a')])), [faulty])).toMatchObject({ kind: 'failed' });
  });

  it('lets go of its upstream when nobody reads it any more', async () => {
    const source = Readable.from([Buffer.from(LARGE), Buffer.from(LARGE)]);
    const filtered = await filterAnswer(answer(source), [capitals()]);
    if (filtered.kind === 'answer') (filtered.answer.body as Readable).destroy();
    await expect.poll(() => source.destroyed).toBe(true);
  });
});
