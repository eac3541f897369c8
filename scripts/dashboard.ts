import { ThresholdsMode, type Dashboard, type Panel, type ThresholdsConfig } from '@grafana/schema';

/** One curve or number: what is asked of Prometheus, and what it is called. */
interface Query {
  readonly expr: string;
  readonly legend?: string;
}

interface Drawn {
  readonly title: string;
  /** What somebody who looks at it for the first time has to know. */
  readonly about: string;
  readonly queries: readonly Query[];
  readonly unit?: string;
  /** Columns of 24. */
  readonly width: number;
  readonly kind: 'stat' | 'timeseries' | 'table';
  /** Of a number: from where on it is a warning, and where it is bad; descending where less is worse. */
  readonly marks?: { readonly warn: number; readonly bad: number };
  readonly stacked?: true;
}

interface Row {
  readonly title: string;
  readonly height: number;
  readonly panels: readonly Drawn[];
}

const HERE = 'instance=~"$instance"';
const rate = (metric: string, by: string, more = ''): Query => ({ expr: `sum by (${by}) (rate(${metric}{${HERE}${more}}[$__rate_interval]))`, legend: by.split(', ').map((label) => `{{${label}}}`).join(' ') });
const quantile = (share: number, metric: string, by = ''): Query => ({
  expr: `histogram_quantile(${share}, sum by (${by === '' ? 'le' : `${by}, le`}) (rate(${metric}_bucket{${HERE}}[$__rate_interval])))`, legend: `p${share * 100}${by === '' ? '' : ` {{${by}}}`}`,
});
const gauge = (expr: string, legend = ''): Query => ({ expr, legend });
const number = (title: string, about: string, expr: string, marks: Drawn['marks'], unit = 'short'): Drawn => ({ title, about, queries: [gauge(expr)], unit, width: 3, kind: 'stat', ...(marks === undefined ? {} : { marks }) });
const curve = (title: string, about: string, queries: readonly Query[], unit: string, width = 8, stacked?: true): Drawn => ({ title, about, queries, unit, width, kind: 'timeseries', ...(stacked === undefined ? {} : { stacked }) });

const SECONDS_OF_DAY = 86_400;

const ROWS: readonly Row[] = [
  {
    title: 'At a glance', height: 4, panels: [
      number('Gateways', 'Instances that say of themselves that they are ready', `count(wardgate_threads_up{${HERE}} > 0 and wardgate_ready{${HERE}} == 1) or vector(0)`, { warn: 1.5, bad: 0.5 }),
      number('Endpoints away', 'Endpoints of upstreams that do not serve', `count(wardgate_upstream_up{${HERE}} == 0) or vector(0)`, { warn: 1, bad: 2 }),
      number('Alarms open', 'Alarms that nobody has acknowledged', `sum(wardgate_alarms_open{${HERE}}) or vector(0)`, { warn: 1, bad: 5 }),
      number('Emergencies to review', 'Grants for emergencies that nobody has reviewed', `max(wardgate_break_glass_unreviewed{${HERE}}) or vector(0)`, { warn: 1, bad: 10 }),
      number('Next certificate ends', 'Of all that the gateway shows and trusts', `min(wardgate_certificate_not_after_timestamp_seconds{${HERE}}) - time()`, { warn: 30 * SECONDS_OF_DAY, bad: 7 * SECONDS_OF_DAY }, 's'),
      number('Next CRL ends', 'Then its certificates are refused', `min(wardgate_crl_next_update_timestamp_seconds{${HERE}}) - time()`, { warn: SECONDS_OF_DAY, bad: 3_600 }, 's'),
      number('Oldest record on its way', 'Until it is safe with its sink; none is lost', `max(wardgate_sink_lag_seconds{${HERE}}) or vector(0)`, { warn: 60, bad: 300 }, 's'),
      number('Room taken', 'Open connections, of those that there may be', `sum(wardgate_connections_open{${HERE}}) / sum(wardgate_connections_ceiling{${HERE}})`, { warn: 0.6, bad: 0.8 }, 'percentunit'),
    ],
  },
  {
    title: 'Requests', height: 8, panels: [
      curve('By status', 'Answers a second', [rate('wardgate_requests_total', 'status')], 'reqps', 8, true),
      curve('Denied', 'Requests and connections, by reason', [rate('wardgate_denials_total', 'reason')], 'reqps', 8, true),
      curve('By route', 'Answers a second', [rate('wardgate_requests_total', 'route')], 'reqps'),
      curve('Time to the end of the answer', 'All routes; the slow side is the upstream more often than the gateway', [0.5, 0.95, 0.99].map((share) => quantile(share, 'wardgate_request_duration_seconds')), 's'),
      curve('Slowest route', 'p95 of each', [quantile(0.95, 'wardgate_request_duration_seconds', 'route')], 's'),
      curve('Cut for a limit', 'Requests refused or cut off', [rate('wardgate_requests_cut_total', 'limit')], 'reqps'),
      curve('Sent to https', 'What the plain port answered', [rate('wardgate_redirects_total', 'status')], 'reqps'),
    ],
  },
  {
    title: 'Connections', height: 8, panels: [
      curve('Open', 'By protocol', [gauge(`sum by (protocol) (wardgate_connections_open{${HERE}})`, '{{protocol}}')], 'short', 6, true),
      curve('Handshakes', 'By outcome', [rate('wardgate_handshakes_total', 'result')], 'ops', 6),
      curve('Handshakes not accepted', 'Why', [rate('wardgate_handshakes_total', 'reason', ', result!="accepted"')], 'ops', 6),
      curve('Resumed', 'Share of handshakes that took up a session of before', [gauge(`sum(rate(wardgate_handshakes_total{${HERE}, resumed="true"}[$__rate_interval])) / sum(rate(wardgate_handshakes_total{${HERE}, result="accepted"}[$__rate_interval]))`, 'resumed')], 'percentunit', 6),
      curve('Time of a handshake', 'From accepted connection to finished handshake', [0.5, 0.95, 0.99].map((share) => quantile(share, 'wardgate_handshake_duration_seconds')), 's', 6),
      curve('Turned away', 'There was no place', [rate('wardgate_connections_refused_total', 'limit')], 'ops', 6),
      curve('Ended by the gateway', 'Revoked, suspended, expired…', [rate('wardgate_connections_terminated_total', 'reason')], 'ops', 6),
      curve('Left the fast path', 'Connections of an unusual shape: served as well, at a higher cost', [gauge(`sum(rate(wardgate_fast_path_left_total{${HERE}}[$__rate_interval]))`, 'left')], 'ops', 6),
    ],
  },
  {
    title: 'Revocation and certificates', height: 8, panels: [
      curve('Checks', 'By source and result', [rate('wardgate_revocation_checks_total', 'source, result')], 'ops', 6),
      curve('CRL entries', 'By issuer', [gauge(`max by (issuer) (wardgate_crl_entries{${HERE}})`, '{{issuer}}')], 'short', 6),
      curve('Life left of CRLs', 'Saw teeth are good; a line that goes on falling is not', [gauge(`min by (issuer) (wardgate_crl_next_update_timestamp_seconds{${HERE}}) - time()`, '{{issuer}}')], 's', 6),
      curve('Deny list and OCSP answers', 'Held at the moment', [gauge(`max(wardgate_deny_list_entries{${HERE}})`, 'deny list'), gauge(`max(wardgate_ocsp_cache_entries{${HERE}})`, 'OCSP answers')], 'short', 6),
      { title: 'What ends when', about: 'Certificates that the gateway shows or trusts, the first to end first', queries: [gauge(`sort(min by (use, name) (wardgate_certificate_not_after_timestamp_seconds{${HERE}}) - time())`)], unit: 's', width: 18, kind: 'table' },
      curve('Read again', 'Changed certificates, keys and CAs', [gauge(`sum by (result) (increase(wardgate_certificate_reloads_total{${HERE}}[$__rate_interval]))`, '{{result}}')], 'short', 6),
      curve('Ending', 'Certificates and CRLs in each tier of warnings', [gauge(`max by (use, tier) (wardgate_certificates_ending{${HERE}}) > 0`, '{{use}} {{tier}}')], 'short', 6),
      curve('Warnings', 'Of what ends: those that a channel has not taken yet, and messages', [gauge(`max by (channel) (wardgate_expiry_warnings_pending{${HERE}})`, '{{channel}}'), rate('wardgate_expiry_deliveries_total', 'channel, result')], 'short', 6),
      curve('Own certificates', 'The state that each is in, and those that clients are shown', [gauge(`max by (listener, name, state) (wardgate_server_certificate_state{${HERE}}) > 0`, '{{listener}} {{name}} {{state}}'), gauge(`max by (listener, name) (wardgate_server_certificate_serving{${HERE}})`, '{{listener}} {{name}} serving')], 'short', 6),
      curve('Life left of stapled answers', 'OCSP answers of our own certificates; fetched anew ahead of their end', [gauge(`min by (listener, name) (wardgate_server_certificate_staple_until_timestamp_seconds{${HERE}}) - time()`, '{{listener}} {{name}}')], 's', 6),
    ],
  },
  {
    title: 'Upstreams', height: 8, panels: [
      curve('Serving', 'One: an address of the endpoint serves', [gauge(`min by (upstream, endpoint) (wardgate_upstream_up{${HERE}})`, '{{upstream}} {{endpoint}}')], 'short', 6),
      curve('Under way', 'Requests and streams', [gauge(`sum by (upstream) (wardgate_upstream_active{${HERE}})`, '{{upstream}}')], 'short', 6),
      curve('Attempts', 'What became of them', [rate('wardgate_upstream_requests_total', 'upstream, result')], 'reqps', 6),
      curve('Tried again, refused, ejected', 'Retries, requests over a limit, endpoints left out', [rate('wardgate_upstream_retries_total', 'upstream, result'), rate('wardgate_upstream_refusals_total', 'upstream, limit'), rate('wardgate_upstream_ejections_total', 'upstream, endpoint')], 'ops', 6),
      curve('Look-ups', 'Of the host names of endpoints', [rate('wardgate_upstream_lookups_total', 'upstream, result')], 'ops', 12),
      curve('Spans', 'For the collector, by what became of them', [rate('wardgate_spans_total', 'result')], 'ops', 12),
    ],
  },
  {
    title: 'Evidence', height: 8, panels: [
      curve('Records', 'Written a second', [gauge(`sum(rate(wardgate_audit_records_total{${HERE}}[$__rate_interval]))`, 'records')], 'ops', 6),
      curve('On their way', 'Age of the oldest record that is not safe with its sink', [gauge(`max by (sink) (wardgate_sink_lag_seconds{${HERE}})`, '{{sink}}')], 's', 6),
      curve('Handed over', 'By sink and what became of them', [rate('wardgate_sink_records_total', 'sink, result')], 'ops', 6),
      curve('Backups', 'Since the last one was made, and since the last one was tested', [gauge(`min by (run) (time() - (wardgate_backup_last_success_timestamp_seconds{${HERE}} > 0))`, '{{run}}'), gauge(`max by (run) (wardgate_backup_missed{${HERE}})`, '{{run}} overdue')], 's', 6),
      curve('Temporary certificates', 'That are to be replaced', [gauge(`max by (use) (wardgate_temporary_certificates{${HERE}})`, '{{use}}')], 'short', 6),
      curve('Not taken', 'Times that a sink did not take what it was handed', [rate('wardgate_sink_failures_total', 'sink')], 'ops', 6),
      curve('Waiting', 'Records that are not safe with their sink yet', [gauge(`max by (sink) (wardgate_sink_lag_records{${HERE}})`, '{{sink}}')], 'short', 8),
      curve('Taking', 'One: the sink took what it was last handed', [gauge(`min by (sink) (wardgate_sink_up{${HERE}})`, '{{sink}}')], 'short', 8),
      curve('Its thread started again', 'The one that hands records out', [gauge(`max by (instance) (wardgate_feed_restarts{${HERE}})`, '{{instance}}')], 'short', 8),
    ],
  },
  {
    title: 'People and devices', height: 8, panels: [
      curve('Second factors', 'Attempts by what became of them', [rate('wardgate_second_factors_total', 'factor, result')], 'ops', 6),
      curve('Alarms', 'Raised, by rule', [gauge(`sum by (rule) (increase(wardgate_alarms_total{${HERE}}[$__rate_interval]))`, '{{rule}}')], 'short', 6),
      curve('Emergencies', 'Grants that are open, and those to review', [gauge(`max(wardgate_break_glass_open{${HERE}})`, 'open'), gauge(`max(wardgate_break_glass_unreviewed{${HERE}})`, 'to review')], 'short', 6),
      curve('Devices', 'By state', [gauge(`max by (state) (wardgate_devices{${HERE}})`, '{{state}}')], 'short', 6),
      curve('Alarms on their way', 'Channels that have not been told yet', [gauge(`max by (channel) (wardgate_alarms_pending{${HERE}})`, '{{channel}}'), rate('wardgate_alarm_deliveries_total', 'channel, result')], 'short', 6),
      curve('From unfamiliar places', 'Requests of certificates where they had not been used', [rate('wardgate_unfamiliar_address_requests_total', 'route, role')], 'reqps', 6),
      curve('Events of webhooks', 'By what became of them', [rate('wardgate_webhook_events_total', 'webhook, result')], 'ops', 6),
      curve('Suspended', 'By order or for maintenance', [gauge(`max(wardgate_suspensions{${HERE}})`, 'suspended')], 'short', 6),
    ],
  },
  {
    title: 'The process', height: 8, panels: [
      curve('Memory', 'And the mark above which new connections are shed', [gauge(`wardgate_memory_resident_bytes{${HERE}}`, '{{instance}}'), gauge(`wardgate_memory_mark_bytes{${HERE}}`, '{{instance}} mark')], 'bytes', 8),
      curve('Without a file descriptor', 'Times that none was left', [gauge(`sum by (instance) (increase(wardgate_descriptor_shortages_total{${HERE}}[$__rate_interval]))`, '{{instance}}')], 'short', 8),
      curve('Disagreements with OpenSSL', 'Certificates that were judged otherwise', [rate('wardgate_witness_disagreements_total', 'verdict')], 'ops', 8),
      curve('Age of the configuration', 'Since it was last loaded with success', [gauge(`time() - wardgate_config_last_reload_success_timestamp_seconds{${HERE}}`, '{{instance}}')], 's', 24),
    ],
  },
];

const COLUMNS = 24;

/** The dashboard that deploy/grafana holds. */
export function dashboard(): Dashboard {
  const panels: NonNullable<Dashboard['panels']> = [];
  let y = 0;
  for (const row of ROWS) {
    panels.push({ id: panels.length + 1, type: 'row', title: row.title, collapsed: false, gridPos: { h: 1, w: COLUMNS, x: 0, y }, panels: [] });
    y += 1;
    let x = 0;
    for (const drawn of row.panels) {
      if (x + drawn.width > COLUMNS) {
        x = 0;
        y += row.height;
      }
      panels.push(panelOf(drawn, panels.length + 1, { h: row.height, w: drawn.width, x, y }));
      x += drawn.width;
    }
    y += row.height;
  }
  return {
    uid: 'wardgate', title: 'Wardgate', tags: ['wardgate'], schemaVersion: 39, editable: true, graphTooltip: 1, refresh: '30s', time: { from: 'now-6h', to: 'now' }, timezone: 'browser',
    templating: {
      list: [
        { type: 'datasource', name: 'datasource', label: 'Prometheus', query: 'prometheus' },
        { type: 'query', name: 'instance', label: 'Instance', datasource: SOURCE, query: 'label_values(wardgate_threads_up, instance)', multi: true, includeAll: true, allValue: '.*', refresh: 2 },
      ],
    },
    panels,
  };
}

const SOURCE = { type: 'prometheus', uid: '${datasource}' };

function panelOf({ title, about, queries, unit, kind, marks, stacked }: Drawn, id: number, gridPos: NonNullable<Panel['gridPos']>): Panel {
  return {
    id, type: kind, title, description: about, datasource: SOURCE, gridPos,
    fieldConfig: {
      defaults: { ...(unit === undefined ? {} : { unit }), ...(marks === undefined ? {} : { thresholds: thresholds(marks) }), ...(kind === 'timeseries' ? { custom: { fillOpacity: stacked ? 30 : 8, lineWidth: 1, showPoints: 'never', stacking: { mode: stacked ? 'normal' : 'none' } }, min: 0 } : {}) },
      overrides: [],
    },
    ...(kind === 'stat' ? { options: { colorMode: 'background', graphMode: 'none', reduceOptions: { calcs: ['lastNotNull'] } } } : kind === 'timeseries' ? { options: { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } } } : {}),
    targets: queries.map(({ expr, legend = '' }, index) => ({ refId: String.fromCharCode(65 + index), datasource: SOURCE, expr, legendFormat: legend, ...(kind === 'table' ? { format: 'table', instant: true } : {}) })),
  };
}

function thresholds({ warn, bad }: NonNullable<Drawn['marks']>): ThresholdsConfig {
  const [low, high] = [Math.min(warn, bad), Math.max(warn, bad)];
  const [first, between, last] = warn < bad ? ['green', 'orange', 'red'] as const : ['red', 'orange', 'green'] as const;
  // Grafana's form of "from the beginning": JSON knows no infinity.
  const beginning = null as unknown as number;
  return { mode: ThresholdsMode.Absolute, steps: [{ color: first, value: beginning }, { color: between, value: low }, { color: last, value: high }] };
}

/** As it stands in the file. */
export function dashboardText(): string {
  return `${JSON.stringify(dashboard(), undefined, 2)}\n`;
}
