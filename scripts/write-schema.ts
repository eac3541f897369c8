import { writeFileSync } from 'node:fs';
import { openApiText } from '../src/admin/openapi.ts';
import { recordJsonSchemaText } from '../src/audit/forms/json-schema.ts';
import { configJsonSchemaText } from '../src/config/json-schema.ts';
import { dashboardText } from './dashboard.ts';

// Run after a change of src/config/schema.ts, of what it is made of, of the fields of records, of the calls of the admin API, or of scripts/dashboard.ts: node scripts/write-schema.ts
writeFileSync(new URL('../config/wardgate.schema.json', import.meta.url), configJsonSchemaText());
writeFileSync(new URL('../config/audit-record.schema.json', import.meta.url), recordJsonSchemaText());
writeFileSync(new URL('../config/admin-api.json', import.meta.url), openApiText());
writeFileSync(new URL('../deploy/grafana/wardgate.json', import.meta.url), dashboardText());
