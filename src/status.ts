import { resolve } from 'node:path';
import type { DrainReport } from './admin/calls/incident.ts';
import type { DispatchReport } from './dispatch.ts';
import type { ExpirySummary } from './expiry.ts';
import type { UpstreamReport } from './forward/upstream/watch.ts';
import type { Transfer } from './identity/people.ts';
import type { KeyReport } from './issuer-keys.ts';
import type { BackupReport } from './backup-watch.ts';
import type { MaterialReport } from './material-reload.ts';
import type { RevocationReport } from './revocation/refresher.ts';
import type { ServerCertificateReport } from './server-certificates.ts';
import type { DenyEntry } from './store/deny-list.ts';
import type { AlarmsStanding } from './audit/alarms/open.ts';
import type { GrantCounts } from './break-glass.ts';
import type { SuspensionEntry } from './store/suspensions.ts';
import type { MaintenanceReport } from './suspensions.ts';
import type { ReplicaState } from './store/replicas.ts';
import type { TemporaryReport } from './temporary-watch.ts';
import type { ThreadStatus } from './thread-protocol.ts';

/** Where a listener is bound. */
export interface BoundListener {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

export interface GatewayStatus {
  readonly pid: number;
  readonly config: { readonly file: string; readonly digest: string; readonly loaded_at: string; readonly last_error?: string };
  /** When backups were last made and tested, and whether one is overdue. */
  readonly backups: readonly BackupReport[];
  /** How certificates, keys and CAs stand to their files, and which server certificates serve. */
  readonly certificates: MaterialReport & { readonly servers: readonly ServerCertificateReport[] };
  /** Temporary certificates that are to be replaced. */
  readonly temporary: readonly TemporaryReport[];
  /** Notes that could not be read just now, and why: what they hold is missing above. */
  readonly unread: readonly string[];
  readonly threads: number;
  readonly epoch: number;
  readonly connections: number;
  /** What the process runs short of; empty when nothing. */
  readonly pressure: readonly string[];
  readonly listeners: readonly BoundListener[];
  readonly crls: Pick<RevocationReport, 'report' | 'problems' | 'sources'>;
  readonly ocsp: { readonly cached: number; readonly responders: RevocationReport['responders'] };
  readonly deny_list: readonly DenyEntry[];
  /** Who has come to other roles than those of their certificates. */
  readonly transfers: readonly Transfer[];
  /** What is suspended by order, and by its schedule. */
  readonly suspensions: readonly SuspensionEntry[];
  /** What was told to take nothing new. */
  readonly draining: DrainReport['draining'];
  readonly maintenance: readonly MaintenanceReport[];
  /** Grants for emergencies. */
  readonly break_glass: GrantCounts;
  /** Present when alarms are configured: those that nobody has acknowledged, and how channels are told. */
  readonly alarms?: { readonly open: number; readonly by_rule: AlarmsStanding['open']; readonly channels: AlarmsStanding['channels'] };
  /** How much ends soon, by use and tier; and how channels are told. */
  readonly ending: ExpirySummary;
  readonly upstreams: readonly UpstreamReport[];
  /** The keys of issuers of tokens. */
  readonly tokens: readonly KeyReport[];
  /** Present when the gateway shares its deny list with others. */
  readonly store?: ReplicaState;
  readonly audit: { readonly directory: string; readonly failing: readonly string[]; /** Present when sinks or alarms are configured. */ readonly feed?: DispatchReport };
}

/** What a status is made of. */
export interface StatusParts extends Pick<GatewayStatus, 'epoch' | 'pressure' | 'listeners' | 'transfers' | 'suspensions' | 'draining' | 'maintenance' | 'ending' | 'upstreams' | 'tokens' | 'certificates' | 'backups' | 'temporary' | 'unread'> {
  readonly breakGlass: GrantCounts;
  readonly file: string;
  readonly digest: string;
  /** Milliseconds. */
  readonly loadedAt: number;
  readonly lastError: string | undefined;
  readonly perThread: readonly ThreadStatus[];
  readonly revocation: RevocationReport;
  readonly denyList: readonly DenyEntry[];
  readonly store: ReplicaState | undefined;
  readonly auditDirectory: string;
  /** Of the main thread's own writer. */
  readonly auditFailure: string | undefined;
  readonly feed: DispatchReport | undefined;
  readonly alarms: AlarmsStanding | undefined;
}

/** How a gateway stands, as it is told to its operator. */
export function statusOf({ file, digest, loadedAt, lastError, perThread, revocation, denyList, store, auditDirectory, auditFailure, feed, alarms, ...same }: StatusParts): GatewayStatus {
  const { report, problems, sources, ocspAnswers, responders } = revocation;
  return {
    pid: process.pid,
    config: { file: resolve(file), digest, loaded_at: new Date(loadedAt).toISOString(), ...(lastError === undefined ? {} : { last_error: lastError }) },
    certificates: same.certificates,
    backups: same.backups,
    temporary: same.temporary,
    unread: same.unread,
    threads: perThread.length,
    epoch: same.epoch,
    connections: perThread.reduce((sum, thread) => sum + thread.connections, 0),
    pressure: same.pressure,
    listeners: same.listeners,
    crls: { report, problems, sources },
    ocsp: { cached: ocspAnswers, responders },
    deny_list: denyList,
    transfers: same.transfers,
    suspensions: same.suspensions,
    draining: same.draining,
    maintenance: same.maintenance,
    break_glass: same.breakGlass,
    ...(alarms === undefined ? {} : { alarms: { open: Object.values(alarms.open).reduce((sum, one) => sum + one, 0), by_rule: alarms.open, channels: alarms.channels } }),
    ending: { ...same.ending, ending: same.ending.ending.filter(({ count }) => count > 0) },
    upstreams: same.upstreams,
    tokens: same.tokens,
    ...(store === undefined ? {} : { store }),
    audit: { directory: auditDirectory, failing: auditFailures(perThread, auditFailure), ...(feed === undefined ? {} : { feed }) },
  };
}

/** What is noted in files. Where one cannot be read, for want of a descriptor perhaps, all else is still told. */
export function readNotes(backups: () => readonly BackupReport[], temporaries: () => readonly TemporaryReport[]): Pick<GatewayStatus, 'backups' | 'temporary' | 'unread'> {
  const unread: string[] = [];
  const read = <Report>(what: string, report: () => readonly Report[]): readonly Report[] => {
    try {
      return report();
    } catch (error) {
      unread.push(`${what}: ${(error as Error).message}`);
      return [];
    }
  };
  return { backups: read('backups', backups), temporary: read('temporary certificates', temporaries), unread };
}

/** Why records cannot be written, of each thread and of the main one; empty where they can be. */
export function auditFailures(perThread: readonly Pick<ThreadStatus, 'auditFailure'>[], own: string | undefined): readonly string[] {
  return [...perThread.map(({ auditFailure }) => auditFailure), own].filter((failure) => failure !== undefined);
}
