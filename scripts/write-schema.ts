import { writeFileSync } from 'node:fs';
import { recordJsonSchemaText } from '../src/audit/forms/json-schema.ts';
import { configJsonSchemaText } from '../src/config/json-schema.ts';

// Run after a change of src/config/schema.ts, of what it is made of, or of the fields of records: node scripts/write-schema.ts
writeFileSync(new URL('../config/wardgate.schema.json', import.meta.url), configJsonSchemaText());
writeFileSync(new URL('../config/audit-record.schema.json', import.meta.url), recordJsonSchemaText());
