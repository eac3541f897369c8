import { chownSync, linkSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { giveToOwner } from '../src/store/as-owner.ts';
import { openCustody } from '../src/store/custody.ts';
import { writeNoteFile } from '../src/store/note-file.ts';

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('attacks on what root does in a state directory are skipped: the tests do not run as root');

/** A state directory of the gateway's user, who was taken over, and a directory of the system's. */
let state: string;
let system: string;

beforeEach(() => {
  const base = mkdtempSync(join(tmpdir(), 'wardgate-owner-'));
  [state, system] = [join(base, 'state'), join(base, 'system')];
  for (const directory of [state, system]) mkdirSync(directory);
  writeFileSync(join(system, 'shadow'), 'root:x', { mode: 0o600 });
  for (const path of [base, state]) chownSync(path, NOBODY, NOBODY);
});

afterEach(() => rmSync(join(state, '..'), { recursive: true, force: true }));

describe.skipIf(!isRoot)('what root does in the state directory of a gateway that was taken over', () => {
  test('writes no note where a link leads, and gives away no directory of the system', () => {
    symlinkSync(system, join(state, 'backup'));
    expect(() => writeNoteFile(state, 'backup/create.json', { at: 'now' })).toThrow('EACCES');
    expect([readdirSync(system), statSync(system).uid]).toEqual([['shadow'], 0]);
  });

  test('opens no database through a link', () => {
    symlinkSync(join(system, 'cron'), join(state, 'custody.db'));
    expect(() => openCustody(state)).toThrow();
    expect(readdirSync(system)).toEqual(['shadow']);
  });

  test('gives to the owner what root wrote, but nothing that a link leads to or that has another name', () => {
    writeFileSync(join(state, 'own'), '');
    mkdirSync(join(state, 'deep'));
    writeFileSync(join(state, 'deep', 'own'), '');
    linkSync(join(system, 'shadow'), join(state, 'hard'));
    symlinkSync(join(system, 'shadow'), join(state, 'soft'));
    symlinkSync(system, join(state, 'away'));
    giveToOwner(state);
    expect(['own', 'deep', 'deep/own'].map((name) => lstatSync(join(state, name)).uid)).toEqual([NOBODY, NOBODY, NOBODY]);
    expect([statSync(join(system, 'shadow')).uid, statSync(system).uid]).toEqual([0, 0]);
  });

  test('leaves what it writes to the owner, and is root again afterwards', () => {
    writeNoteFile(state, 'backup/create.json', { at: 'now' });
    openCustody(state).close();
    expect(['backup', 'backup/create.json', 'custody.db'].map((name) => lstatSync(join(state, name)).uid)).toEqual([NOBODY, NOBODY, NOBODY]);
    expect([process.geteuid?.(), readFileSync(join(system, 'shadow'), 'utf8')]).toEqual([0, 'root:x']);
  });
});
