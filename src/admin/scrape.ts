import { AggregatorRegistry } from 'prom-client';
import type { AlarmsStanding } from '../audit/alarms/open.ts';
import type { ChannelReport } from '../audit/expiry/digests.ts';
import type { ConsumerReport } from '../audit/feed.ts';
import type { Snapshot } from '../config/snapshot.ts';
import type { UpstreamReport } from '../forward/upstream/watch.ts';
import type { RevocationReport } from '../revocation/refresher.ts';
import { heldCertificates } from './held-certificates.ts';
import type { ProcessMetrics } from './metrics.ts';

/** What is measured only when somebody asks for it. */
export interface Measured {
  /** Whether /readyz says so. */
  readonly ready: boolean;
  readonly threads: number;
  readonly denyListEntries: number;
  readonly suspensions: number;
  readonly grants: { readonly open: number; readonly unreviewed: number };
  readonly revocation: RevocationReport;
  /** By state. */
  readonly devices: ReadonlyMap<string, number>;
  readonly snapshot: Snapshot;
  /** How server certificates stand. */
  readonly servers: readonly { readonly listener: string; readonly certificate: string; readonly state: string; readonly serving: boolean; readonly ocsp?: { readonly shown_until?: string } }[];
  readonly upstreams: readonly UpstreamReport[];
  /** The keys of issuers of tokens, by the issuer's name. */
  readonly tokens: readonly { readonly tokens: string; readonly keys: number; readonly fetched_at?: string }[];
  /** How records are on their way to those who get them; absent where nobody does. */
  readonly feed: { readonly up: boolean; readonly restarts: number; readonly consumers: readonly ConsumerReport[] } | undefined;
  /** Absent where alarms are not configured. */
  readonly alarms: AlarmsStanding | undefined;
  /** How much ends soon, and how channels are told of it. */
  readonly ending: { readonly ending: readonly { readonly use: string; readonly tier: string; readonly count: number }[]; readonly channels: readonly ChannelReport[] };
}

/** Brings the metrics of the process up to date. */
export function measure(metrics: ProcessMetrics, { ready, threads, denyListEntries, suspensions, grants, revocation, devices, snapshot, servers, upstreams, tokens, feed, alarms, ending }: Measured): void {
  metrics.ready.set(ready ? 1 : 0);
  metrics.threadsUp.set(threads);
  metrics.denyListEntries.set(denyListEntries);
  metrics.suspensions.set(suspensions);
  metrics.grantsOpen.set(grants.open);
  metrics.grantsUnreviewed.set(grants.unreviewed);
  metrics.devices.reset();
  for (const [state, count] of devices) metrics.devices.set({ state }, count);
  measureCrls(metrics, revocation);
  metrics.ocspCacheEntries.set(revocation.ocspAnswers);
  measureCertificates(metrics, snapshot);
  measureServers(metrics, servers);
  measureUpstreams(metrics, upstreams);
  measureIssuers(metrics, tokens);
  measureFeed(metrics, feed);
  measureAlarms(metrics, alarms);
  measureEnding(metrics, ending);
}

function measureEnding({ certificatesEnding, expiryPending, expiryDeliveries }: ProcessMetrics, { ending, channels }: Measured['ending']): void {
  for (const metric of [certificatesEnding, expiryPending, expiryDeliveries]) metric.reset();
  for (const { use, tier, count } of ending) certificatesEnding.set({ use, tier }, count);
  for (const { name: channel, pending, delivered, failed } of channels) {
    expiryPending.set({ channel }, pending);
    expiryDeliveries.inc({ channel, result: 'delivered' }, delivered);
    expiryDeliveries.inc({ channel, result: 'failed' }, failed);
  }
}

function measureAlarms({ alarmsOpen, alarmsPending, alarmDeliveries, unfamiliar }: ProcessMetrics, alarms: Measured['alarms']): void {
  for (const metric of [alarmsOpen, alarmsPending, alarmDeliveries, unfamiliar]) metric.reset();
  for (const [rule, open] of Object.entries(alarms?.open ?? {})) alarmsOpen.set({ rule }, open);
  for (const { name: channel, pending, delivered, failed } of alarms?.channels ?? []) {
    alarmsPending.set({ channel }, pending);
    alarmDeliveries.inc({ channel, result: 'delivered' }, delivered);
    alarmDeliveries.inc({ channel, result: 'failed' }, failed);
  }
  for (const { route, role, requests } of alarms?.unfamiliar ?? []) unfamiliar.inc({ route, role }, requests);
}

function measureFeed({ feedUp, feedRestarts, sinkLag, sinkLagSeconds, sinkUp, sinkRecords, sinkFailures }: ProcessMetrics, feed: Measured['feed']): void {
  for (const metric of [sinkLag, sinkLagSeconds, sinkUp, sinkRecords, sinkFailures]) metric.reset();
  feedUp.set(feed?.up === false ? 0 : 1);
  feedRestarts.set(feed?.restarts ?? 0);
  for (const { name: sink, lag, delivered, repeated, failures, dead_letters: deadLetters, failing } of feed?.consumers ?? []) {
    sinkLag.set({ sink }, lag.records);
    sinkLagSeconds.set({ sink }, lag.seconds);
    sinkUp.set({ sink }, failing === undefined ? 1 : 0);
    sinkRecords.inc({ sink, result: 'delivered' }, delivered - deadLetters);
    sinkRecords.inc({ sink, result: 'repeated' }, repeated);
    sinkRecords.inc({ sink, result: 'dead_letter' }, deadLetters);
    sinkFailures.inc({ sink }, failures);
  }
}

function measureIssuers({ tokenKeys, tokenKeysFetched }: ProcessMetrics, reports: Measured['tokens']): void {
  tokenKeys.reset();
  tokenKeysFetched.reset();
  for (const { tokens, keys, fetched_at: fetchedAt } of reports) {
    tokenKeys.set({ tokens }, keys);
    if (fetchedAt !== undefined) tokenKeysFetched.set({ tokens }, Date.parse(fetchedAt) / 1000);
  }
}

/** The Prometheus text of the process and of its threads together; `perThread` is what each thread's registry says of itself. */
export async function expose(metrics: ProcessMetrics, perThread: readonly object[]): Promise<string> {
  return AggregatorRegistry.aggregate([...perThread, await metrics.registry.getMetricsAsJSON()]).metrics();
}

function measureCrls(metrics: ProcessMetrics, { report }: RevocationReport): void {
  metrics.crlEntries.reset();
  metrics.crlNextUpdate.reset();
  // An issuer may have several: partitions, a delta. Together they end when the first of them does.
  for (const [issuer, crls] of Map.groupBy(report, (crl) => crl.issuer)) {
    metrics.crlEntries.set({ issuer }, crls.reduce((sum, crl) => sum + crl.entries, 0));
    metrics.crlNextUpdate.set({ issuer }, Math.min(...crls.map((crl) => crl.nextUpdate)) / 1000);
  }
}

/** Of a listener's certificates each has its own name; of CAs and of what is shown to other servers, those of one subject have the end of the first. */
export function measureCertificates(metrics: Pick<ProcessMetrics, 'certificateNotAfter'>, snapshot: Snapshot): void {
  metrics.certificateNotAfter.reset();
  for (const [name, material] of Object.entries(snapshot.listeners)) {
    const named = new Set<string>();
    for (const certificate of material.certificates) {
      const first = `${name}:${certificate.names[0] ?? certificate.file}:${certificate.keyType}`;
      // One that stands by for another has an end of its own.
      metrics.certificateNotAfter.set({ use: 'server', name: named.has(first) ? `${first}:${certificate.file}` : first }, certificate.notAfter / 1000);
      named.add(first);
    }
  }
  // The first to end is set last.
  for (const { kind, owner, subject, notAfter } of heldCertificates(snapshot).toReversed()) {
    if (kind !== 'server') metrics.certificateNotAfter.set({ use: kind, name: `${owner}: ${subject}` }, notAfter / 1000);
  }
}

function measureServers({ serverCertificateState, serverCertificateServing, stapleUntil }: ProcessMetrics, servers: Measured['servers']): void {
  for (const metric of [serverCertificateState, serverCertificateServing, stapleUntil]) metric.reset();
  for (const { listener, certificate: name, state, serving, ocsp } of servers) {
    serverCertificateState.set({ listener, name, state }, 1);
    serverCertificateServing.set({ listener, name }, serving ? 1 : 0);
    if (ocsp?.shown_until !== undefined) stapleUntil.set({ listener, name }, Date.parse(ocsp.shown_until) / 1000);
  }
}

/** Counted in shared memory by the threads, so that they cost a request nothing but an addition. */
function measureUpstreams(metrics: ProcessMetrics, reports: readonly UpstreamReport[]): void {
  const { upstreamUp, upstreamActive, upstreamRequests, upstreamEjections, upstreamRetries, upstreamRefusals, upstreamLookups } = metrics;
  for (const metric of [upstreamUp, upstreamActive, upstreamRequests, upstreamEjections, upstreamRetries, upstreamRefusals, upstreamLookups]) metric.reset();
  for (const { upstream, active, counts, endpoints } of reports) {
    upstreamActive.set({ upstream }, active);
    upstreamRetries.inc({ upstream, result: 'made' }, counts.retried);
    upstreamRetries.inc({ upstream, result: 'refused' }, counts.retry_refused);
    upstreamRefusals.inc({ upstream, limit: 'requests' }, counts.requests_refused);
    upstreamRefusals.inc({ upstream, limit: 'connections' }, counts.connections_refused);
    for (const { endpoint, up, counts: { ejected, ...results }, lookups } of endpoints) {
      upstreamUp.set({ upstream, endpoint }, up ? 1 : 0);
      upstreamEjections.inc({ upstream, endpoint }, ejected);
      for (const [result, times] of Object.entries(results)) upstreamRequests.inc({ upstream, endpoint, result }, times);
      for (const result of ['found', 'failed'] as const) if (lookups !== undefined) upstreamLookups.inc({ upstream, endpoint, result }, lookups[result]);
    }
  }
}
