import { writeFileSync } from 'node:fs';
import { configJsonSchemaText } from '../src/config/json-schema.ts';

// Run after a change of src/config/schema.ts or what it is made of: node scripts/write-schema.ts
writeFileSync(new URL('../config/wardgate.schema.json', import.meta.url), configJsonSchemaText());
