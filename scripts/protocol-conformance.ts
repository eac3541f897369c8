import { readFileSync, writeFileSync } from 'node:fs';
import { startBackend } from '../test/support/backend.ts';
import { startGateway } from '../test/support/gateway.ts';
import { caseName, HTTP2_CASES, HTTP2_DEVIATIONS, playHttp2 } from '../test/support/http2-cases.ts';
import { testPki } from '../test/support/pki.ts';
import { WEBSOCKET_CASES, webSocketCaseName } from '../test/support/websocket-cases.ts';
import { AS_EXPECTED, caseTable, deviationTable, replaceMarked, type PlayedCase } from '../test/support/protocol-tables.ts';

// Plays the protocol suites through a gateway and writes their tables in docs/conformance.md anew: `node scripts/protocol-conformance.ts`.

const DOCUMENT = new URL('../docs/conformance.md', import.meta.url);

async function playAll(): Promise<PlayedCase[]> {
  const pki = await testPki();
  const backend = await startBackend(pki, (request, response, body) => {
    if (request.url !== '/echo/hold') response.end(body.length > 0 ? body : 'hello');
  });
  const gateway = await startGateway(pki, backend.port);
  const played: PlayedCase[] = [];
  for (const test of HTTP2_CASES) played.push({ name: caseName(test), allowed: test.allowed, shown: await playHttp2(test, pki, gateway.port) });
  await gateway.stop();
  await backend.close();
  return played;
}

const document = replaceMarked(readFileSync(DOCUMENT, 'utf8'), 'http2', caseTable(await playAll()));
const withDeviations = replaceMarked(document, 'http2-deviations', deviationTable(HTTP2_DEVIATIONS));
// None of these may differ: the test that plays them fails otherwise.
const webSocket = WEBSOCKET_CASES.map((test) => ({ name: webSocketCaseName(test), allowed: [AS_EXPECTED], shown: AS_EXPECTED }));
writeFileSync(DOCUMENT, replaceMarked(withDeviations, 'websocket', caseTable(webSocket)));
