import { randomInt } from 'node:crypto';
import type { RevocationConfig } from '../config/schema.ts';
import type { Certificate } from '../pki/certificate.ts';
import type { DistributionPoint } from '../pki/extensions.ts';
import { download } from './download.ts';
import type { Download } from './download.ts';
import { printableUrl, refuseUrl } from './named-urls.ts';
import type { Outbound } from './outbound.ts';

/** A URL that a CRL is fetched from. Times are milliseconds since the epoch. */
export interface CrlSource {
  readonly url: string;
  /** Who chose it: the configuration, or a certificate once its path had validated. */
  readonly kind: 'url' | 'distribution_point';
  readonly since: number;
  /** DER of the issuers, by SHA-256, of the certificates that name it: they may be known from handshakes alone. */
  readonly issuers: Map<string, Uint8Array>;
  etag?: string;
  lastModified?: string;
  succeededAt?: number;
  failure?: { readonly at: number; readonly detail: string };
  /** In a row. */
  failures: number;
  attempts: number;
  /** Of the CRL in use from here, the earliest if there are several. */
  validity?: { readonly thisUpdate: number; readonly nextUpdate: number };
}

/** What became of downloaded bytes once they were read. */
export type Installed =
  | {
      readonly kind: 'installed';
      readonly validity: { readonly thisUpdate: number; readonly nextUpdate: number };
      /** What it may be asked for again by. */
      readonly etag: string | undefined;
      readonly lastModified: string | undefined;
    }
  | { readonly kind: 'refused'; readonly detail: string };

export interface CrlSourcesOptions {
  readonly outbound: Outbound;
  readonly config: RevocationConfig;
  readonly now: () => number;
  /** Reads, verifies and publishes what was downloaded. Must not reject. */
  readonly install: (source: CrlSource, fresh: Download & { kind: 'fresh' }) => Promise<Installed>;
  /** A certificate's URL that has given nothing for long is given up. */
  readonly forgotten: (source: CrlSource) => void;
  /** Called after each attempt. */
  readonly attempted: (source: CrlSource) => void;
}

export interface CrlSources {
  /** Takes up a source as it was before the restart. */
  restore(source: CrlSource): void;
  /** Begins to fetch: the configured URLs and what was restored. */
  start(): void;
  /**
   * Fetches what the distribution points of a validated certificate name, unless it is at hand. Resolves when it is here, has
   * failed, or `crl.timeout` is over; never rejects.
   */
  follow(certificate: Certificate, issuer: Certificate): Promise<void>;
  list(): readonly CrlSource[];
  close(): void;
}

const FETCH_MS = 60_000;
/** After a failure nobody waits for the same URL again before this. */
const RETRY_MS = 5_000;
const MIN_WAIT_MS = 1_000;
/** URLs that certificates choose, in all. */
const MAX_NAMED = 256;
const MAX_POINTS = 8;
const MAX_ISSUERS = 16;
const GIVE_UP_MS = 7 * 86_400_000;

/** Keeps CRLs from URLs fresh: one request at a time for each, ahead of nextUpdate, with back-off where there is none to be had. */
export function createCrlSources(options: CrlSourcesOptions): CrlSources {
  const { config, now, outbound } = options;
  const sources = new Map<string, CrlSource>();
  const running = new Map<string, Promise<void>>();
  const timers = new Map<string, NodeJS.Timeout>();
  const closing = new AbortController();

  function attempt(source: CrlSource): Promise<void> {
    const known = running.get(source.url);
    if (known !== undefined) return known;
    clearTimeout(timers.get(source.url));
    const exchange = fetchOnce(source).finally(() => {
      running.delete(source.url);
      if (closing.signal.aborted) return;
      options.attempted(source);
      schedule(source);
    });
    running.set(source.url, exchange);
    return exchange;
  }

  async function fetchOnce(source: CrlSource): Promise<void> {
    const refuse = refusal(source);
    const refused = refuse(source.url);
    const got: Download = refused !== undefined ? { kind: 'failed', detail: refused } : await download(source.url, {
      dispatcher: source.kind === 'url' ? outbound.configured : outbound.named,
      signal: AbortSignal.any([AbortSignal.timeout(FETCH_MS), closing.signal]),
      maxOctets: config.crl.max_size, refuse, ...conditions(source),
    });
    const outcome = got.kind === 'fresh' && !closing.signal.aborted ? await options.install(source, got) : got;
    if (outcome.kind === 'installed') {
      source.validity = outcome.validity;
      setValidators(source, outcome);
    }
    if (outcome.kind === 'installed' || outcome.kind === 'unchanged') {
      source.succeededAt = now();
      delete source.failure;
    } else {
      source.failure = { at: now(), detail: outcome.kind === 'fresh' ? 'the gateway stops' : outcome.detail };
    }
    source.attempts += 1;
    source.failures = source.failure === undefined && isCurrent(source) ? 0 : source.failures + 1;
  }

  function refusal({ kind }: CrlSource): (url: string) => string | undefined {
    return kind === 'url' ? () => undefined : (url) => refuseUrl(url, config.allow_local);
  }

  // With what has expired we want another copy, whatever the server thinks of ours.
  function conditions(source: CrlSource): Pick<CrlSource, 'etag' | 'lastModified'> {
    const { etag, lastModified } = source;
    if (!isCurrent(source)) return {};
    return { ...(etag === undefined ? {} : { etag }), ...(lastModified === undefined ? {} : { lastModified }) };
  }

  function isCurrent({ validity }: CrlSource): boolean {
    return validity !== undefined && now() < validity.nextUpdate;
  }

  function schedule(source: CrlSource): void {
    if (source.kind === 'distribution_point' && now() > Math.max(source.since, source.succeededAt ?? 0) + GIVE_UP_MS) return forget(source);
    const { refresh } = config.crl;
    // Half of what remains, time and again: several attempts before the CRL ends.
    const ahead = source.validity === undefined ? refresh : (source.validity.nextUpdate - now()) / 2;
    const wait = source.failures === 0 ? Math.min(refresh, ahead) : Math.min(refresh, RETRY_MS * 2 ** Math.min(source.failures - 1, 20));
    // Gateways that were started together must not all ask together ever after.
    const jittered = Math.max(MIN_WAIT_MS, wait * randomInt(80, 101) / 100);
    const timer = setTimeout(() => void attempt(source), jittered);
    timer.unref();
    timers.set(source.url, timer);
  }

  function forget(source: CrlSource): void {
    sources.delete(source.url);
    clearTimeout(timers.get(source.url));
    timers.delete(source.url);
    options.forgotten(source);
  }

  async function follow(certificate: Certificate, issuer: Certificate): Promise<void> {
    // A configured URL that has not been tried yet may hold the answer. Nobody waits for one that has failed.
    const first = [...sources.values()].filter(({ kind, attempts, url }) => kind === 'url' && attempts === 0 && running.has(url)).map(attempt);
    const points = config.crl.from_certificate ? [...certificate.crlDistributionPoints, ...certificate.freshestCrl] : [];
    await within(config.crl.timeout, Promise.all([...first, ...points.slice(0, MAX_POINTS).map((point) => followPoint(point, issuer))]));
  }

  /** The names of one point lead to the same CRL (RFC 5280 section 4.2.1.13): the first that gives it is enough. */
  async function followPoint(point: DistributionPoint, issuer: Certificate): Promise<void> {
    for (const url of urlsOf(point)) {
      const source = sources.get(url) ?? admit(url);
      if (source === undefined) continue;
      if (source.issuers.size < MAX_ISSUERS) source.issuers.set(issuer.sha256, issuer.der);
      if (!isCurrent(source) && (source.failure === undefined || now() >= source.failure.at + RETRY_MS)) await attempt(source);
      if (isCurrent(source)) return;
    }
  }

  function namedSources(): readonly CrlSource[] {
    return [...sources.values()].filter(({ kind }) => kind === 'distribution_point');
  }

  function admit(url: string): CrlSource | undefined {
    // What is refused is not remembered: it costs nothing to refuse it again.
    if (refuseUrl(url, config.allow_local) !== undefined) return undefined;
    const named = namedSources();
    if (named.length >= MAX_NAMED) {
      const useless = named.find(({ validity, url: other }) => validity === undefined && !running.has(other));
      if (useless === undefined) return undefined;
      forget(useless);
    }
    const source: CrlSource = { url, kind: 'distribution_point', since: now(), issuers: new Map(), failures: 0, attempts: 0 };
    sources.set(url, source);
    return source;
  }

  for (const url of config.crl.urls) sources.set(url, { url, kind: 'url', since: now(), issuers: new Map(), failures: 0, attempts: 0 });

  return {
    restore(source) {
      const configured = sources.get(source.url);
      const named = config.crl.from_certificate && source.kind === 'distribution_point' && refuseUrl(source.url, config.allow_local) === undefined && namedSources().length < MAX_NAMED;
      if (configured === undefined && !named) return options.forgotten(source);
      sources.set(source.url, { ...source, kind: configured?.kind ?? 'distribution_point', attempts: 0, failures: 0 });
    },
    start() {
      for (const source of sources.values()) void attempt(source);
    },
    follow,
    list: () => [...sources.values()],
    close() {
      closing.abort(new Error('the gateway stops'));
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}

/** The HTTP names of a distribution point; `ldap:` ones, as AD CS writes, are not followed. */
function urlsOf({ name }: DistributionPoint): readonly string[] {
  if (name?.kind !== 'full') return [];
  return name.names.flatMap((one) => (one.kind === 'uri' && /^https?:/i.test(one.value) && printableUrl(one.value) === one.value ? [one.value] : []));
}

function setValidators(source: CrlSource, { etag, lastModified }: Extract<Installed, { kind: 'installed' }>): void {
  delete source.etag;
  delete source.lastModified;
  if (etag !== undefined) source.etag = etag;
  if (lastModified !== undefined) source.lastModified = lastModified;
}

async function within(milliseconds: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([work, new Promise((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  })]);
  clearTimeout(timer);
}
