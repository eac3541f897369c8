import { writeFileSync } from 'node:fs';
import { configurationDocs } from './configuration-docs.ts';

// Run after a change of src/config/schema.ts or what it is made of: node scripts/write-docs.ts
writeFileSync(new URL('../docs/configuration.md', import.meta.url), configurationDocs());
