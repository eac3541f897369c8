import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { createRequestTally, type RequestTally } from './request-tally.ts';

/** The metrics of one thread; the scrape adds the threads together. Names and labels are the contract's. */
export interface ThreadMetrics {
  readonly registry: Registry;
  readonly handshakes: Counter<'listener' | 'result' | 'reason' | 'tls' | 'resumed'>;
  readonly handshakeDuration: Histogram;
  readonly connectionsOpen: Gauge<'listener' | 'protocol'>;
  readonly connectionsTerminated: Counter<'reason'>;
  readonly connectionsRefused: Counter<'listener' | 'limit'>;
  readonly requestsCut: Counter<'listener' | 'limit'>;
  readonly redirects: Counter<'listener' | 'status'>;
  readonly requests: RequestTally;
  readonly revocationChecks: Counter<'source' | 'result'>;
  /** Counts a record. */
  readonly auditRecord: () => void;
  /** Counts a connection that leaves the fast path. */
  readonly fastPathLeft: () => void;
  readonly witnessDisagreements: Counter<'verdict'>;
  readonly spans: Counter<'result'>;
}

/** Upper ends of the buckets of durations, in seconds. */
export const SECONDS: readonly number[] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** A registry of its own for each thread: counters are added up where they are scraped, never shared. */
export function createThreadMetrics(): ThreadMetrics {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    handshakes: new Counter({ name: 'wardgate_handshakes_total', help: 'TLS handshakes by outcome', labelNames: ['listener', 'result', 'reason', 'tls', 'resumed'], registers }),
    handshakeDuration: new Histogram({ name: 'wardgate_handshake_duration_seconds', help: 'From accepted connection to finished handshake', buckets: [...SECONDS], registers }),
    connectionsOpen: new Gauge({ name: 'wardgate_connections_open', help: 'Open client connections', labelNames: ['listener', 'protocol'], registers }),
    connectionsTerminated: new Counter({ name: 'wardgate_connections_terminated_total', help: 'Client connections ended by the gateway', labelNames: ['reason'], registers }),
    connectionsRefused: new Counter({ name: 'wardgate_connections_refused_total', help: 'Client connections closed because a limit was reached', labelNames: ['listener', 'limit'], registers }),
    requestsCut: new Counter({ name: 'wardgate_requests_cut_total', help: 'Requests refused or cut off because of a limit', labelNames: ['listener', 'limit'], registers }),
    redirects: new Counter({ name: 'wardgate_redirects_total', help: 'Plain HTTP requests answered', labelNames: ['listener', 'status'], registers }),
    requests: createRequestTally(registry, SECONDS),
    revocationChecks: new Counter({ name: 'wardgate_revocation_checks_total', help: 'Revocation statements used, by source', labelNames: ['source', 'result'], registers }),
    auditRecord: plainCounter(registry, { name: 'wardgate_audit_records_total', help: 'Audit records written' }),
    fastPathLeft: plainCounter(registry, { name: 'wardgate_fast_path_left_total', help: 'Connections that went on to the general HTTP/1.1 path' }),
    witnessDisagreements: new Counter({ name: 'wardgate_witness_disagreements_total', help: "Certificates on which our verdict and the TLS library's differ", labelNames: ['verdict'], registers }),
    spans: new Counter({ name: 'wardgate_spans_total', help: 'Spans for the collector, by what became of them', labelNames: ['result'], registers }),
  };
}

/** A counter without labels that is a number until it is asked for: one is counted with every request. */
function plainCounter(registry: Registry, naming: { readonly name: string; readonly help: string }): () => void {
  let counted = 0;
  new Counter({
    ...naming, registers: [registry],
    collect() {
      this.inc(counted);
      counted = 0;
    },
  });
  return () => {
    counted++;
  };
}

/** The metrics of the process as a whole, kept by the main thread. */
export interface ProcessMetrics {
  readonly registry: Registry;
  readonly crlEntries: Gauge<'issuer'>;
  readonly crlNextUpdate: Gauge<'issuer'>;
  readonly ocspCacheEntries: Gauge;
  readonly certificateNotAfter: Gauge<'use' | 'name'>;
  readonly reloadSuccess: Gauge;
  readonly certificateReloads: Counter<'result'>;
  readonly backupLast: Gauge<'run'>;
  readonly backupMissed: Gauge<'run'>;
  readonly serverCertificateState: Gauge<'listener' | 'name' | 'state'>;
  readonly serverCertificateServing: Gauge<'listener' | 'name'>;
  readonly stapleUntil: Gauge<'listener' | 'name'>;
  readonly temporaryCertificates: Gauge<'use'>;
  readonly ready: Gauge;
  readonly threadsUp: Gauge;
  readonly denyListEntries: Gauge;
  readonly alarms: Counter<'rule'>;
  readonly webhookEvents: Counter<'webhook' | 'result'>;
  readonly devices: Gauge<'state'>;
  readonly suspensions: Gauge;
  readonly grantsOpen: Gauge;
  readonly grantsUnreviewed: Gauge;
  readonly connectionsCeiling: Gauge;
  readonly memoryResident: Gauge;
  readonly memoryMark: Gauge;
  readonly descriptorShortages: Counter;
  readonly secondFactors: Counter<'factor' | 'result'>;
  readonly tokenKeys: Gauge<'tokens'>;
  readonly tokenKeysFetched: Gauge<'tokens'>;
  readonly alarmsOpen: Gauge<'rule'>;
  readonly alarmsPending: Gauge<'channel'>;
  readonly alarmDeliveries: Counter<'channel' | 'result'>;
  readonly unfamiliar: Counter<'route' | 'role'>;
  readonly certificatesEnding: Gauge<'use' | 'tier'>;
  readonly expiryPending: Gauge<'channel'>;
  readonly expiryDeliveries: Counter<'channel' | 'result'>;
  readonly feedUp: Gauge;
  readonly feedRestarts: Gauge;
  readonly sinkLag: Gauge<'sink'>;
  readonly sinkLagSeconds: Gauge<'sink'>;
  readonly sinkUp: Gauge<'sink'>;
  readonly sinkRecords: Counter<'sink' | 'result'>;
  readonly sinkFailures: Counter<'sink'>;
  readonly upstreamUp: Gauge<'upstream' | 'endpoint'>;
  readonly upstreamActive: Gauge<'upstream'>;
  readonly upstreamRequests: Counter<'upstream' | 'endpoint' | 'result'>;
  readonly upstreamEjections: Counter<'upstream' | 'endpoint'>;
  readonly upstreamRetries: Counter<'upstream' | 'result'>;
  readonly upstreamRefusals: Counter<'upstream' | 'limit'>;
  readonly upstreamLookups: Counter<'upstream' | 'endpoint' | 'result'>;
}

export function createProcessMetrics(): ProcessMetrics {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    crlEntries: new Gauge({ name: 'wardgate_crl_entries', help: 'Entries of the CRL in force', labelNames: ['issuer'], registers }),
    crlNextUpdate: new Gauge({ name: 'wardgate_crl_next_update_timestamp_seconds', help: 'When the CRL in force ends', labelNames: ['issuer'], registers }),
    ocspCacheEntries: new Gauge({ name: 'wardgate_ocsp_cache_entries', help: 'OCSP answers held', registers }),
    certificateNotAfter: new Gauge({ name: 'wardgate_certificate_not_after_timestamp_seconds', help: 'When a certificate the gateway uses ends', labelNames: ['use', 'name'], registers }),
    reloadSuccess: new Gauge({ name: 'wardgate_config_last_reload_success_timestamp_seconds', help: 'When a configuration was last loaded with success', registers }),
    temporaryCertificates: new Gauge({ name: 'wardgate_temporary_certificates', help: 'Temporary certificates that are to be replaced', labelNames: ['use'], registers }),
    backupLast: new Gauge({ name: 'wardgate_backup_last_success_timestamp_seconds', help: 'When a backup was last made or tested with success; 0: never', labelNames: ['run'], registers }),
    backupMissed: new Gauge({ name: 'wardgate_backup_missed', help: 'Whether a backup or a restore test is overdue', labelNames: ['run'], registers }),
    certificateReloads: new Counter({ name: 'wardgate_certificate_reloads_total', help: 'Times that changed certificates, keys and CAs were read again, by what became of it', labelNames: ['result'], registers }),
    serverCertificateState: new Gauge({ name: 'wardgate_server_certificate_state', help: 'How a certificate of a listener stands: 1 for its state', labelNames: ['listener', 'name', 'state'], registers }),
    serverCertificateServing: new Gauge({ name: 'wardgate_server_certificate_serving', help: 'Whether a certificate of a listener is shown to clients, or stands by', labelNames: ['listener', 'name'], registers }),
    stapleUntil: new Gauge({ name: 'wardgate_server_certificate_staple_until_timestamp_seconds', help: 'Until when there is an OCSP answer to show with a certificate', labelNames: ['listener', 'name'], registers }),
    ready: new Gauge({ name: 'wardgate_ready', help: 'Whether /readyz says that the gateway can serve and record', registers }),
    threadsUp: new Gauge({ name: 'wardgate_threads_up', help: 'Data-plane threads that serve', registers }),
    connectionsCeiling: new Gauge({ name: 'wardgate_connections_ceiling', help: 'Client connections that the gateway may have at the moment', registers }),
    memoryResident: new Gauge({ name: 'wardgate_memory_resident_bytes', help: 'Resident memory of the process', registers }),
    memoryMark: new Gauge({ name: 'wardgate_memory_mark_bytes', help: 'Resident memory above which new connections are shed', registers }),
    descriptorShortages: new Counter({ name: 'wardgate_descriptor_shortages_total', help: 'Times that the process was found without a free file descriptor', registers }),
    alarms: new Counter({ name: 'wardgate_alarms_total', help: 'What somebody should look at', labelNames: ['rule'], registers }),
    webhookEvents: new Counter({ name: 'wardgate_webhook_events_total', help: 'Events that webhooks brought, by what became of them', labelNames: ['webhook', 'result'], registers }),
    devices: new Gauge({ name: 'wardgate_devices', help: 'Registered devices', labelNames: ['state'], registers }),
    denyListEntries: new Gauge({ name: 'wardgate_deny_list_entries', help: 'Entries of the deny list', registers }),
    secondFactors: new Counter({ name: 'wardgate_second_factors_total', help: 'Attempts at second factors, by what became of them', labelNames: ['factor', 'result'], registers }),
    grantsOpen: new Gauge({ name: 'wardgate_break_glass_open', help: 'Grants for emergencies that are open', registers }),
    grantsUnreviewed: new Gauge({ name: 'wardgate_break_glass_unreviewed', help: 'Grants for emergencies that nobody has reviewed', registers }),
    suspensions: new Gauge({ name: 'wardgate_suspensions', help: 'What is suspended, by order or for maintenance', registers }),
    tokenKeys: new Gauge({ name: 'wardgate_token_keys', help: 'Keys of an issuer of tokens', labelNames: ['tokens'], registers }),
    tokenKeysFetched: new Gauge({ name: 'wardgate_token_keys_fetched_timestamp_seconds', help: 'When the keys of an issuer of tokens were last fetched with success', labelNames: ['tokens'], registers }),
    alarmsOpen: new Gauge({ name: 'wardgate_alarms_open', help: 'Alarms that nobody has acknowledged', labelNames: ['rule'], registers }),
    alarmsPending: new Gauge({ name: 'wardgate_alarms_pending', help: 'Alarms that a channel has not been told of yet', labelNames: ['channel'], registers }),
    alarmDeliveries: new Counter({ name: 'wardgate_alarm_deliveries_total', help: 'Deliveries to channels of alarms, by what became of them', labelNames: ['channel', 'result'], registers }),
    unfamiliar: new Counter({ name: 'wardgate_unfamiliar_address_requests_total', help: 'Requests of certificates at places where they had not been used', labelNames: ['route', 'role'], registers }),
    certificatesEnding: new Gauge({ name: 'wardgate_certificates_ending', help: 'Certificates and CRLs in a tier of warnings, by what they are used for', labelNames: ['use', 'tier'], registers }),
    expiryPending: new Gauge({ name: 'wardgate_expiry_warnings_pending', help: 'Warnings that a channel has not taken yet', labelNames: ['channel'], registers }),
    expiryDeliveries: new Counter({ name: 'wardgate_expiry_deliveries_total', help: 'Messages of warnings, by what became of them', labelNames: ['channel', 'result'], registers }),
    feedUp: new Gauge({ name: 'wardgate_feed_up', help: 'Whether the thread that hands records to sinks and alarms runs', registers }),
    feedRestarts: new Gauge({ name: 'wardgate_feed_restarts', help: 'Times that thread had to be started again', registers }),
    sinkLag: new Gauge({ name: 'wardgate_sink_lag_records', help: 'Records that are not safe with a sink yet', labelNames: ['sink'], registers }),
    sinkLagSeconds: new Gauge({ name: 'wardgate_sink_lag_seconds', help: 'Age of the oldest record that is not safe with a sink yet', labelNames: ['sink'], registers }),
    sinkUp: new Gauge({ name: 'wardgate_sink_up', help: 'Whether a sink took what it was last handed', labelNames: ['sink'], registers }),
    sinkRecords: new Counter({ name: 'wardgate_sink_records_total', help: 'Records handed to a sink, by what became of them', labelNames: ['sink', 'result'], registers }),
    sinkFailures: new Counter({ name: 'wardgate_sink_failures_total', help: 'Times that a sink did not take what it was handed', labelNames: ['sink'], registers }),
    upstreamUp: new Gauge({ name: 'wardgate_upstream_up', help: 'Whether an endpoint serves', labelNames: ['upstream', 'endpoint'], registers }),
    upstreamActive: new Gauge({ name: 'wardgate_upstream_active', help: 'Requests and streams under way', labelNames: ['upstream'], registers }),
    upstreamRequests: new Counter({ name: 'wardgate_upstream_requests_total', help: 'Attempts at endpoints, by what became of them', labelNames: ['upstream', 'endpoint', 'result'], registers }),
    upstreamEjections: new Counter({ name: 'wardgate_upstream_ejections_total', help: 'Times an endpoint was left out for its failures', labelNames: ['upstream', 'endpoint'], registers }),
    upstreamRetries: new Counter({ name: 'wardgate_upstream_retries_total', help: 'Requests tried again, and those that the budget did not allow', labelNames: ['upstream', 'result'], registers }),
    upstreamRefusals: new Counter({ name: 'wardgate_upstream_refusals_total', help: 'Requests refused because of a limit', labelNames: ['upstream', 'limit'], registers }),
    upstreamLookups: new Counter({ name: 'wardgate_upstream_lookups_total', help: 'Look-ups of host names', labelNames: ['upstream', 'endpoint', 'result'], registers }),
  };
}
