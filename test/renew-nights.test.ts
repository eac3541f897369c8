import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { renewCommand, type Night, type RenewOptions } from '../src/cli/renew/command.ts';
import { issueCertificate, testPki } from './support/pki.ts';

const DAY = 86_400_000;
const folder = mkdtempSync(join(tmpdir(), 'wardgate-nights-'));
const notBefore = new Date(2026, 10, 1, 12).getTime();
let options: RenewOptions;

beforeAll(async () => {
  const pki = await testPki();
  const kiosk = await issueCertificate(pki.issuing, { subject: [['CN', 'Kiosk 7']], notBefore, notAfter: notBefore + 90 * DAY });
  writeFileSync(join(folder, 'kiosk.pem'), kiosk.chain);
  writeFileSync(join(folder, 'kiosk.key'), kiosk.key, { mode: 0o600 });
  writeFileSync(join(folder, 'root.pem'), pki.root.certificate);
  // Nobody listens there.
  options = { est: 'https://127.0.0.1:1', cert: join(folder, 'kiosk.pem'), key: join(folder, 'kiosk.key'), trust: join(folder, 'root.pem'), window: '03:00-05:00', overlap: '12h', state: join(folder, 'state.json') };
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

/** A night in which waiting takes no time. */
function night(start: number, end = Infinity): Night & { readonly waits: readonly number[] } {
  let now = start;
  const waits: number[] = [];
  const stop = new AbortController();
  return {
    waits, signal: stop.signal, now: () => now, random: () => 0.5,
    async until(at) {
      waits.push(at);
      now = Math.max(now, at);
      if (now > end) stop.abort();
    },
  };
}

const day = (number: number, hour: number): number => new Date(2026, 10, 1 + number, hour).getTime();
const state = (): Record<string, string> => JSON.parse(readFileSync(options.state as string, 'utf8')) as Record<string, string>;

test('a night that begins at three waits for the device\'s turn, tries again with longer pauses, and ends with the window', async () => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const living = night(day(70, 3));
  expect(await renewCommand(options, () => undefined, living)).toBe(1);
  const [turn = 0, ...tries] = living.waits;
  expect(turn).toBeGreaterThan(day(70, 3));
  expect(tries.length).toBeGreaterThan(3);
  expect(tries[0]).toBeGreaterThanOrEqual(turn + 60_000);
  expect(living.waits.every((at) => at < day(70, 5))).toBe(true);
  const pauses = tries.slice(1).map((at, index) => at - (tries[index] as number));
  expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
  expect(state()).toMatchObject({ result: 'failed', at: 'cacerts', urgent: new Date(notBefore + 82.5 * DAY).toISOString() });
});

test('by day a device that is due waits for the night, and one for which it is urgent does not', async () => {
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const noon = night(day(70, 12));
  expect(await renewCommand(options, () => undefined, noon)).toBe(0);
  expect(noon.waits).toEqual([]);
  const urgent = night(day(85, 12));
  expect(await renewCommand(options, () => undefined, urgent)).toBe(1);
  expect(urgent.waits.length).toBeGreaterThan(2);
  expect(said.mock.calls.map(([text]) => String(text)).at(-1)).toMatch(/^wardgate: not renewed \(cacerts\): .*URGENT: the certificate ends 20/);
});

test('one that stays looks once a day while nothing is due, and tries in every window from then on', async () => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const lines: string[] = [];
  const living = night(day(50, 12), day(63, 12));
  expect(await renewCommand({ ...options, every: true }, (text) => lines.push(text), living)).toBe(0);
  expect(lines[0]).toMatch(/not due before 20/);
  expect(lines.filter((line) => line.includes('not due')).length).toBeGreaterThanOrEqual(9);
  const due = living.waits.filter((at) => at > notBefore + 61 * DAY);
  expect(new Set(due.map((at) => new Date(at).toDateString())).size).toBeGreaterThanOrEqual(2);
  expect(due.every((at) => [3, 4].includes(new Date(at).getHours()))).toBe(true);
});
