/** Something that somebody should do something about. The console says it in the reader's language; `name` and `detail` are data. */
export interface Problem {
  readonly severity: 'bad' | 'warn';
  readonly code: ProblemCode;
  /** Which view has more of it. */
  readonly view: 'now' | 'certificates' | 'revocation' | 'upstreams' | 'audit' | 'alarms' | 'reviews';
  readonly name?: string;
  readonly detail?: string;
  readonly count?: number;
  /** ISO 8601: since when, or until when. */
  readonly at?: string;
}

export type ProblemCode =
  | 'reload_failed' | 'certificates_unread' | 'pressure' | 'audit_failing' | 'sink_failing' | 'feed_down' | 'upstream_down' | 'endpoint_down' | 'crl_expired' | 'crl_problem' | 'source_failing' | 'responder_failing'
  | 'certificate_expired' | 'certificate_expiring' | 'alarms_open' | 'emergencies_open' | 'reviews_due' | 'suspended' | 'draining' | 'replicas_apart' | 'token_keys' | 'backup_missed' | 'temporary' | 'server_certificate';

/** What is looked at. */
export interface Looked {
  readonly status: StatusPart;
  readonly certificates: readonly { readonly use: string; readonly notAfter: number }[];
  /** ms since the epoch */
  readonly now: number;
}

/** What of the gateway's status may be wrong. */
export interface StatusPart {
  readonly config: { readonly loaded_at: string; readonly last_error?: string };
  readonly certificates: { readonly failing?: { readonly since: string; readonly detail: string }; readonly servers: readonly { readonly listener: string; readonly certificate: string; readonly detail?: string }[] };
  readonly backups: readonly { readonly run: string; readonly missed: boolean; readonly due?: string }[];
  readonly temporary: readonly { readonly use: string; readonly name: string; readonly not_after: string }[];
  readonly pressure: readonly string[];
  readonly crls: {
    readonly report: readonly { readonly issuer: string; readonly source: string; readonly nextUpdate: number }[];
    readonly problems: readonly { readonly source: string; readonly detail: string }[];
    readonly sources: readonly { readonly source: string; readonly last_success?: string; readonly last_error?: { readonly at?: string; readonly detail: string } }[];
  };
  readonly ocsp: { readonly responders: readonly { readonly responder: string; readonly last_success?: string; readonly last_error?: { readonly at: string; readonly detail: string } }[] };
  readonly suspensions: readonly unknown[];
  readonly draining: readonly { readonly listener?: string }[];
  readonly break_glass: { readonly open: number; readonly unreviewed: number };
  readonly alarms?: { readonly open: number };
  readonly upstreams: readonly { readonly upstream: string; readonly endpoints: readonly { readonly endpoint: string; readonly up: boolean }[] }[];
  readonly tokens: readonly { readonly tokens: string; readonly failure?: string }[];
  readonly store?: { readonly connected: boolean; readonly error?: string };
  readonly audit: { readonly failing: readonly string[]; readonly feed?: { readonly up: boolean; readonly consumers: readonly { readonly name: string; readonly failing?: string }[] } };
}

const DAY_MS = 86_400_000;
const SOON_MS = 30 * DAY_MS;
const URGENT_MS = 7 * DAY_MS;

/** What is wrong at the moment, the worst first. */
export function problemsOf({ status, certificates, now }: Looked): readonly Problem[] {
  const found: Problem[] = [
    ...status.audit.failing.map((detail): Problem => ({ severity: 'bad', code: 'audit_failing', view: 'audit', detail })),
    ...upstreamProblems(status),
    ...certificateProblems(certificates, now),
    ...revocationProblems(status, now),
    ...(status.config.last_error === undefined ? [] : [{ severity: 'bad', code: 'reload_failed', view: 'now', detail: status.config.last_error } as const]),
    ...(status.certificates.failing === undefined ? [] : [{ severity: 'bad', code: 'certificates_unread', view: 'certificates', detail: status.certificates.failing.detail, at: status.certificates.failing.since } as const]),
    ...status.pressure.map((detail): Problem => ({ severity: 'bad', code: 'pressure', view: 'now', detail })),
    ...((status.alarms?.open ?? 0) > 0 ? [{ severity: 'bad', code: 'alarms_open', view: 'alarms', count: status.alarms?.open ?? 0 } as const] : []),
    ...(status.store?.connected === false ? [{ severity: 'bad', code: 'replicas_apart', view: 'now', ...(status.store.error === undefined ? {} : { detail: status.store.error }) } as const] : []),
    ...(status.audit.feed?.up === false ? [{ severity: 'bad', code: 'feed_down', view: 'audit' } as const] : []),
    ...(status.audit.feed?.consumers ?? []).flatMap(({ name, failing }): Problem[] => (failing === undefined ? [] : [{ severity: 'warn', code: 'sink_failing', view: 'audit', name, detail: failing }])),
    ...status.tokens.flatMap(({ tokens, failure }): Problem[] => (failure === undefined ? [] : [{ severity: 'warn', code: 'token_keys', view: 'revocation', name: tokens, detail: failure }])),
    ...status.certificates.servers.flatMap(({ listener, certificate, detail }): Problem[] => (detail === undefined ? [] : [{ severity: 'warn', code: 'server_certificate', view: 'certificates', name: `${certificate} (${listener})`, detail }])),
    ...status.backups.filter(({ missed }) => missed).map(({ run, due }): Problem => ({ severity: 'warn', code: 'backup_missed', view: 'now', name: run, ...(due === undefined ? {} : { at: due }) })),
    ...status.temporary.map(({ name, not_after: at }): Problem => ({ severity: 'warn', code: 'temporary', view: 'certificates', name, at })),
    ...(status.break_glass.open > 0 ? [{ severity: 'warn', code: 'emergencies_open', view: 'reviews', count: status.break_glass.open } as const] : []),
    // None is reviewed while it is open.
    ...(status.break_glass.unreviewed > status.break_glass.open ? [{ severity: 'warn', code: 'reviews_due', view: 'reviews', count: status.break_glass.unreviewed - status.break_glass.open } as const] : []),
    ...status.draining.map(({ listener }): Problem => ({ severity: 'warn', code: 'draining', view: 'now', ...(listener === undefined ? {} : { name: listener }) })),
    ...(status.suspensions.length > 0 ? [{ severity: 'warn', code: 'suspended', view: 'now', count: status.suspensions.length } as const] : []),
  ];
  return [...found.filter(({ severity }) => severity === 'bad'), ...found.filter(({ severity }) => severity === 'warn')];
}

function upstreamProblems({ upstreams }: StatusPart): Problem[] {
  return upstreams.flatMap(({ upstream, endpoints }): Problem[] => {
    const down = endpoints.filter(({ up }) => !up);
    if (down.length === 0) return [];
    if (down.length === endpoints.length) return [{ severity: 'bad', code: 'upstream_down', view: 'upstreams', name: upstream }];
    return down.map(({ endpoint }) => ({ severity: 'warn', code: 'endpoint_down', view: 'upstreams', name: endpoint, detail: upstream }));
  });
}

function certificateProblems(certificates: Looked['certificates'], now: number): Problem[] {
  return certificates.filter(({ notAfter }) => notAfter < now + SOON_MS).map(({ use, notAfter }) => ({
    severity: notAfter < now + URGENT_MS ? 'bad' : 'warn', code: notAfter <= now ? 'certificate_expired' : 'certificate_expiring', view: 'certificates', name: use, at: new Date(notAfter).toISOString(),
  }));
}

function revocationProblems({ crls, ocsp }: StatusPart, now: number): Problem[] {
  const failed = ({ last_success: good, last_error: bad }: { readonly last_success?: string; readonly last_error?: { readonly at?: string; readonly detail: string } }): string | undefined =>
    (bad !== undefined && (bad.at === undefined || good === undefined || bad.at > good) ? bad.detail : undefined);
  return [
    ...crls.report.filter(({ nextUpdate }) => nextUpdate <= now).map(({ issuer, nextUpdate }): Problem => ({ severity: 'bad', code: 'crl_expired', view: 'revocation', name: issuer, at: new Date(nextUpdate).toISOString() })),
    ...crls.problems.map(({ source, detail }): Problem => ({ severity: 'bad', code: 'crl_problem', view: 'revocation', name: source, detail })),
    ...crls.sources.flatMap((source): Problem[] => {
      const detail = failed(source);
      return detail === undefined || crls.problems.some((problem) => problem.source === source.source) ? [] : [{ severity: 'warn', code: 'source_failing', view: 'revocation', name: source.source, detail }];
    }),
    ...ocsp.responders.flatMap((responder): Problem[] => {
      const detail = failed(responder);
      return detail === undefined ? [] : [{ severity: 'warn', code: 'responder_failing', view: 'revocation', name: responder.responder, detail }];
    }),
  ];
}
