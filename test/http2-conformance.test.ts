import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { caseName, HTTP2_CASES, HTTP2_DEVIATIONS, playHttp2 } from './support/http2-cases.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { caseTable, deviationTable, marked } from './support/protocol-tables.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
const shown = new Map<string, string>();
const deviating = new Set(HTTP2_DEVIATIONS.flatMap(({ cases }) => cases));
const document = readFileSync(new URL('../docs/conformance.md', import.meta.url), 'utf8');

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response, body) => {
    if (request.url !== '/echo/hold') response.end(body.length > 0 ? body : 'hello');
  });
  gateway = await startGateway(pki, backend.port);
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

describe('RFC 9113 and RFC 7541, case by case', () => {
  it.each(HTTP2_CASES.map((test) => [caseName(test), test] as const))('%s', async (name, test) => {
    const result = await playHttp2(test, pki, gateway.port);
    shown.set(name, result);
    if (deviating.has(name)) expect(test.allowed).not.toContain(result);
    else expect(test.allowed).toContain(result);
  });

  it('stand in the document as they are played', () => {
    expect(marked(document, 'http2')).toBe(caseTable(HTTP2_CASES.map((test) => ({ name: caseName(test), allowed: test.allowed, shown: shown.get(caseName(test)) ?? '' }))));
    expect(marked(document, 'http2-deviations')).toBe(deviationTable(HTTP2_DEVIATIONS));
  });

  it('show the upstream nothing of fields that cannot be fields', () => {
    const names = backend.seen.flatMap(({ headers }) => Object.keys(headers));
    expect(names.filter((name) => !/^[a-z0-9-]+$/.test(name))).toEqual([]);
    const values = backend.seen.flatMap(({ headers }) => [headers['x-test'] ?? '']);
    expect(values.filter((value) => value !== '' && value !== '\u00e4')).toEqual([]);
  });
});
