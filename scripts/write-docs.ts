import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { configurationDocs } from './configuration-docs.ts';
import { profileDocs, scansIn } from './profile-docs.ts';

// Run after a change of src/config/schema.ts or what it is made of, or of src/config/profiles.ts: node scripts/write-docs.ts
writeFileSync(new URL('../docs/configuration.md', import.meta.url), configurationDocs());

const profiles = new URL('../docs/profiles.md', import.meta.url);
writeFileSync(profiles, profileDocs(existsSync(profiles) ? scansIn(readFileSync(profiles, 'utf8')) : ''));
