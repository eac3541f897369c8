import { defineConfig } from 'vitest/config';

const results = process.env['TEST_RESULTS'];

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // Every test file runs gateways with threads of their own: more files at once than cores only makes them wait.
    maxWorkers: 2,
    // .ci/run counts from a file.
    reporters: ['default', ...(results === undefined ? [] : [['json', { outputFile: results }] as const])],
  },
});
