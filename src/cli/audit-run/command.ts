import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { heldCertificates } from '../../admin/held-certificates.ts';
import { openEvidence } from '../../audit/evidence.ts';
import { readAnchor, verifyAudit } from '../../audit/verify.ts';
import { readSegment } from '../../audit/segment-file.ts';
import { keyName, readAuditKey, readPublicKey } from '../../audit/key.ts';
import { inOrder } from '../../config/load.ts';
import { loadSnapshot } from '../../config/snapshot.ts';
import { ConfigurationError } from '../../configuration.ts';
import { parseNameText } from '../../pki/name.ts';
import { prepareText } from '../../pki/preparation.ts';
import { readDenyList } from '../../store/deny-list.ts';
import { createDenyTable, denyKey, isDenied } from '../../store/deny-table.ts';
import { readGrants } from '../../store/grants.ts';
import { openAlarmsIn } from '../alarm.ts';
import { crlWarnings } from '../check.ts';
import { followed } from '../followed.ts';
import { moment } from '../record-options.ts';
import { usage } from '../usage.ts';
import { gather } from './gather.ts';
import { pageOf } from './page.ts';
import { reportOf } from './report.ts';
import type { Standing } from './standing.ts';
import { textOf } from './text.ts';

export interface RunCommand {
  readonly config: string;
  readonly from?: string;
  readonly to?: string;
  readonly json?: boolean;
  /** Where the page goes. */
  readonly page?: string;
  readonly anchor?: string;
  readonly key?: string;
}

/** Half a year. */
const PERIOD_MS = 183 * 86_400_000;

/**
 * `wardgate audit run`: the half-yearly audit, of what the configuration says, what the state directory holds and what the records show. Works
 * beside a running gateway, and changes nothing. Resolves with 0 when there are no findings, 1 when there are, 2 when it was called wrongly.
 */
export async function auditRun(options: RunCommand, print: (text: string) => void, progress: (text: string) => void): Promise<number> {
  const now = Date.now();
  const to = options.to === undefined ? now : moment('--to', options.to);
  const from = options.from === undefined ? to - PERIOD_MS : moment('--from', options.from);
  if (from >= to) return usage('--from: must be before --to');
  const loaded = await loadSnapshot(options.config, { now, lint: true });
  if (loaded.kind === 'invalid') throw new ConfigurationError(loaded.issues);
  const { snapshot, warnings } = loaded;
  const inDirectory = (path: string): string => resolve(snapshot.directory, path);
  const { config } = snapshot;
  const state = inDirectory(config.state);
  const directory = inDirectory(config.audit.directory);
  const anchor = options.anchor ?? (config.audit.anchor?.file === undefined ? undefined : inDirectory(config.audit.anchor.file));
  const key = options.key === undefined ? readAuditKey(state)?.publicPem : readFileSync(options.key, 'utf8');
  const evidence = openEvidence(directory);
  try {
    progress('following the chain of records');
    const verdict = verifyAudit({ evidence: followed(evidence, progress), ...(anchor === undefined || !existsSync(anchor) ? {} : { anchor: readAnchor(anchor) }), ...(key === undefined ? {} : { key }) });
    const gathered = gather(evidence, { from, to }, meter(octetsIn(directory, evidence.segments), progress));
    const standing: Standing = {
      now, gateway: { name: hostname(), configuration: snapshot.digest, ...(key === undefined ? {} : { key: keyName(readPublicKey(key)) }) }, verdict, anchored: anchor !== undefined || config.audit.anchor !== undefined, issues: inOrder([...warnings, ...await crlWarnings(snapshot, now)]), routes: config.routes,
      roles: [...new Set(config.roles.map(({ role }) => role))], material: heldCertificates(snapshot), isDenied: denialsIn(state), grants: readGrants(state), alarms: openAlarmsIn(state), retention: config.audit.retention,
    };
    const report = reportOf(gathered, standing, { from, to });
    if (options.page !== undefined) writeFileSync(options.page, pageOf(report), { mode: 0o600 });
    print(options.json === true ? JSON.stringify(report) : textOf(report));
    return report.good ? 0 : 1;
  } finally {
    evidence.close();
  }
}

function octetsIn(directory: string, segments: readonly string[]): number {
  return segments.reduce((sum, name) => sum + (readSegment(directory, name, ({ from, to }) => to - from) ?? 0), 0);
}

/** Says how far reading has come, at most once a second. */
function meter(whole: number, progress: (text: string) => void): (octets: number) => void {
  let next = Date.now() + 1_000;
  let lines = 0;
  return (octets) => {
    lines += 1;
    if (lines % 10_000 !== 0 || Date.now() < next) return;
    next = Date.now() + 1_000;
    progress(`reading records: ${Math.min(100, Math.floor((octets / Math.max(whole, 1)) * 100))} %`);
  };
}

function denialsIn(state: string): Standing['isDenied'] {
  const table = createDenyTable();
  readDenyList(state, table);
  return ({ fingerprint, serial, issuer, id }) => {
    const numbered = `${serial} ${parseNameText(issuer).normalized}`;
    const named = id === undefined ? undefined : prepareText(id);
    return (['fingerprint', 'fingerprint-hr', 'fingerprint-cmdb'] as const).some((kind) => isDenied(table, denyKey(kind, fingerprint)))
      || (['serial', 'serial-hr', 'serial-cmdb'] as const).some((kind) => isDenied(table, denyKey(kind, numbered)))
      || (named !== undefined && (['identity', 'departed', 'departed-hr', 'departed-cmdb'] as const).some((kind) => isDenied(table, denyKey(kind, named))));
  };
}
