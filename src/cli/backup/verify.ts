import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parseDocument } from 'yaml';
import { readAuditKey } from '../../audit/key.ts';
import { pieces } from '../../backup/read-file.ts';
import { planRestore } from '../../backup/plan.ts';
import { restore } from '../../backup/restore.ts';
import { noteRun } from '../../backup/runs.ts';
import { survey, type Survey } from '../../backup/survey.ts';
import { isCaDirectory, openOffice } from '../../ca/office.ts';
import { fileReferences } from '../../config/file-references.ts';
import { printable } from '../../config/issue.ts';
import { createDenyTable } from '../../store/deny-table.ts';
import { readDenyList } from '../../store/deny-list.ts';
import { readGrants } from '../../store/grants.ts';
import { readToldDevices } from '../../store/told-devices.ts';
import { check } from '../check.ts';
import { counted } from '../counted.ts';
import { close, onRecord, openFile, placesOf, timeText, unlocked, type BackupFile, type OpenOptions } from './ground.ts';

export interface VerifyOptions extends OpenOptions {
  readonly config: string;
  readonly json?: boolean;
  /** Where it is unpacked for the test. */
  readonly in?: string;
  /** The path is a directory, whose newest backup is meant. */
  readonly latest?: boolean;
  readonly who: string;
}

/** `wardgate backup verify`: restores into a directory of its own, looks at what came out, and leaves nothing. Exit 1 when it would not do. */
export async function verify(given: string, options: VerifyOptions, print: (text: string) => void): Promise<number> {
  const began = performance.now();
  const path = options.latest === true ? newestIn(given) : given;
  const file = openFile(path);
  const root = mkdtempSync(join(resolve(options.in ?? tmpdir()), 'wardgate-restore-test-'));
  try {
    const { found, faults, warnings, ms } = await trial(file, path, root, options);
    const places = placesOf(options.config);
    const good = faults.length === 0;
    const { made } = found.manifest;
    const recorded = await onRecord(places, options.who, `tested the backup of ${made} with SHA-256 ${file.sha256}: ${good ? `it restores, in ${timeText(ms)}` : `it does not restore: ${faults[0]}`}`);
    if (good && places !== undefined && found.manifest.configuration === resolve(options.config)) noteRun(places.state, 'verify', { at: new Date().toISOString(), sha256: file.sha256, ms });
    if (options.json === true) print(JSON.stringify({ file: path, good, made, sha256: file.sha256, files: found.entries.filter(({ kind }) => kind === 'file').length, faults, warnings, recorded, ms, total_ms: Math.round(performance.now() - began) }));
    else {
      print([
        ...faults, ...warnings.map((warning) => `warning: ${warning}`),
        `${path}: ${good ? `restores: ${counted(found.entries.filter(({ kind }) => kind === 'file').length, 'file')} of ${made}, restored and checked in ${timeText(ms)}` : `made ${made}, does NOT restore`}`, ...(recorded ? [] : ['this is not on record: there is no audit where it was done']),
      ].map(printable).join('\n'));
    }
    return good ? 0 : 1;
  } finally {
    rmSync(root, { recursive: true, force: true });
    close(file);
  }
}

interface Trial {
  readonly found: Survey;
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
  /** From the unlocked backup to the last look. */
  readonly ms: number;
}

async function trial(file: BackupFile, path: string, root: string, options: OpenOptions): Promise<Trial> {
  const backup = await unlocked(file, path, options);
  const began = performance.now();
  const found = survey(backup.chunks());
  const plan = planRestore(found, root, 'test');
  restore(backup, plan);
  const wrong = found.entries.filter(({ name, kind, sha256, size, mode }) => kind === 'file' && (digestOf(join(root, name), size) !== sha256 || (statSync(join(root, name)).mode & 0o7777) !== mode));
  // Databases are opened here, and change by that.
  const databases = found.entries.flatMap(({ name }) => databaseFault(join(root, name), `/${name}`));
  const state = stateFaults(plan.state);
  relocate(plan.configuration, root);
  const { faults, warnings } = await checked(plan.configuration, root);
  return { found, faults: [...wrong.map(({ name }) => `/${name}: came out as something else`), ...databases, ...state, ...faults], warnings, ms: Math.round(performance.now() - began) };
}

/** The newest by the time in its name, which `create --directory` gives. */
function newestIn(directory: string): string {
  const newest = readdirSync(directory).filter((name) => name.endsWith('.wgb')).map((name) => ({ path: join(directory, name), at: statSync(join(directory, name)).mtimeMs })).sort((one, other) => other.at - one.at)[0];
  if (newest === undefined) throw new Error(`${directory}: there is no backup (*.wgb)`);
  return newest.path;
}

function digestOf(path: string, size: number): string {
  const hash = createHash('sha256');
  for (const piece of pieces(path, size)) hash.update(piece);
  return hash.digest('hex');
}

function databaseFault(path: string, shown: string): readonly string[] {
  if (!path.endsWith('.db') || !existsSync(path)) return [];
  try {
    const database = new DatabaseSync(path);
    try {
      const [verdict] = Object.values(database.prepare('PRAGMA integrity_check').get() ?? {});
      return verdict === 'ok' ? [] : [`${shown}: ${verdict}`];
    } finally {
      database.close();
    }
  } catch (error) {
    return [`${shown}: ${(error as Error).message}`];
  }
}

/** Whatever would stop a start. */
function stateFaults(state: string): readonly string[] {
  const ca = join(state, 'ca');
  const looks: (() => unknown)[] = [...(isCaDirectory(ca) ? [() => refuseBroken(ca)] : []), () => readDenyList(state, createDenyTable()), () => readToldDevices(state), () => readGrants(state), () => readAuditKey(state)];
  return looks.flatMap((look) => {
    try {
      look();
      return [];
    } catch (error) {
      return [(error as Error).message];
    }
  });
}

function refuseBroken(ca: string): void {
  const office = openOffice({ directory: ca });
  try {
    const [first] = office.faults();
    if (first !== undefined) throw new Error(`the CA: ${first}`);
  } finally {
    office.close();
  }
}

/** Files that the configuration names from the root of the file system lie below `root` now; a PIN's file is named within the name of its key, and stays. */
function relocate(configuration: string, root: string): void {
  const document = parseDocument(readFileSync(configuration, 'utf8'));
  const absolute = fileReferences(document.toJS()).filter(({ use, name }) => use !== 'token-pin' && name.startsWith('/'));
  if (absolute.length === 0) return;
  for (const { path, name } of absolute) document.setIn(path, join(root, name));
  writeFileSync(configuration, document.toString());
}

async function checked(configuration: string, root: string): Promise<{ readonly faults: readonly string[]; readonly warnings: readonly string[] }> {
  let text = '';
  await check({ config: configuration, json: true }, { write: (more) => (text += more) });
  const { errors, warnings } = JSON.parse(text) as Record<'errors' | 'warnings', readonly { readonly path: string; readonly message: string }[]>;
  const shown = ({ path, message }: { readonly path: string; readonly message: string }): string => `configuration: ${path}: ${message}`.replaceAll(root, '');
  return { faults: errors.map(shown), warnings: warnings.map(shown) };
}
