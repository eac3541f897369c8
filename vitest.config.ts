import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import type { Reporter } from 'vitest/node';
import { threadsFromOneFile } from './test/support/thread-bundle.ts';

const results = process.env['TEST_RESULTS'];

// Most of what a test of the gateway costs is that each of its threads reads all of the source anew: it reads one file, compiled before (module.enableCompileCache).
process.env['NODE_COMPILE_CACHE'] ??= fileURLToPath(new URL('node_modules/.cache/node', import.meta.url));

/** What speaks HTTP/1.1 to the gateway: run once more with the fast path switched off. */
const HTTP1 = [
  'test/forwarding.test.ts', 'test/upgrade.test.ts', 'test/attacks-messages.test.ts', 'test/attacks-upgrades.test.ts', 'test/sessions.test.ts',
  'test/upstream-failures.test.ts', 'test/upstream-requests.test.ts', 'test/upstream-streams.test.ts',
  'test/limits-requests.test.ts', 'test/responses.test.ts', 'test/patient-routes.test.ts', 'test/live-effect-answers.test.ts', 'test/forwarded.test.ts',
];

export default defineConfig({
  plugins: [await threadsFromOneFile()],
  test: {
    // Tests wait for what happens, not for a time: on a machine that is busy otherwise that takes longer.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    // A file with gateways waits for as long as it computes, so that two cores keep three of them going; each starts threads of its own.
    maxWorkers: 3,
    // .ci/run counts from a file.
    reporters: results === undefined ? ['default'] : ['default', ['json', { outputFile: results }], toldOutside(`${results}.outside`)],
    projects: [
      { extends: true, test: { name: 'all', include: ['test/**/*.test.ts'] } },
      { extends: true, test: { name: 'general path', include: HTTP1, env: { WARDGATE_TEST_FAST_PATH: 'off' } } },
    ],
  },
});

/** Writes in which files something was thrown outside of any test ('' where that is not known): the JSON has nothing of it, and counts the file as passed. */
function toldOutside(file: string): Reporter {
  return { onTestRunEnd: (_modules, errors) => writeFileSync(file, JSON.stringify(errors.map(({ VITEST_TEST_PATH: path }): unknown => path ?? ''))) };
}
