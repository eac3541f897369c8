// What the console's browser gets is no TypeScript: it is served as it lies here.
cpSync(new URL('../src/admin/console/assets', import.meta.url), new URL('../dist/admin/console/assets', import.meta.url), { recursive: true });
// The bin must be runnable as it lies in the package: tsc does not set modes.
import { chmodSync, cpSync } from 'node:fs';

chmodSync(new URL('../dist/main.js', import.meta.url), 0o755);
