import type { GatewayStatus } from '../../gateway.ts';
import { counted } from '../counted.ts';
import { bad, doubt, good, spanText, type Finding } from './finding.ts';

const HOUR_MS = 3_600_000;

/** What the running gateway says of itself: how fresh what it judges by is, and whom it cannot reach. */
export function lookInside(status: GatewayStatus, now: number): readonly Finding[] {
  return [gatewayFinding(status, now), ...certificateFindings(status), ...revocationFindings(status, now), ...upstreamFindings(status), ...storeFindings(status), ...evidenceFindings(status), ...peopleFindings(status)];
}

function gatewayFinding({ pid, threads, connections, config, pressure }: GatewayStatus, now: number): Finding {
  const about = 'gateway';
  if (pressure.length > 0) return bad(about, `runs short: ${pressure.join('; ')}`, 'new connections are turned away: see who connects so often, raise the limit, or add a node');
  if (config.last_error !== undefined) return doubt(about, `the last reload failed, and the configuration of ${config.loaded_at} serves on: ${config.last_error}`, 'correct the file (wardgate check) and reload');
  return good(about, `pid ${pid}, ${threads} threads, ${connections} connections, configuration loaded ${spanText(now - Date.parse(config.loaded_at))} ago`);
}

function certificateFindings({ certificates }: GatewayStatus): Finding[] {
  const unread = certificates.failing === undefined ? [] : [bad('certificates', `changed files are not taken since ${certificates.failing.since}: ${certificates.failing.detail}`, 'put a certificate and key there that belong together; wardgate check names the line')];
  // From outside an expired one is seen, and a revoked one is not: the deny list and CRLs are known here alone.
  const unusable = certificates.servers.flatMap(({ listener, certificate, state, detail, serving }) => {
    if (state === 'usable') return [];
    const why = `${certificate} is not usable (${state})${detail === undefined ? '' : `: ${detail}`}`;
    return [serving ? bad(`listener ${listener}`, `${why}, and serves, as no other is better`, 'replace it: in force without a restart; a second certificate of another CA would have taken over (docs/certificates.md)')
      : doubt(`listener ${listener}`, `${why}; another serves in its place`, 'replace it, so that there is a stand-by again')];
  });
  return [...unread, ...unusable];
}

function revocationFindings({ crls, ocsp }: GatewayStatus, now: number): Finding[] {
  const held = crls.report.map(({ issuer, entries, nextUpdate }) => {
    const about = `CRL of ${issuer}`;
    if (nextUpdate <= now) return bad(about, `ended ${spanText(now - nextUpdate)} ago: its certificates are refused`, 'have it published anew; wardgate status names where it comes from');
    const text = `${entries} entries, ends in ${spanText(nextUpdate - now)}`;
    return nextUpdate - now < HOUR_MS ? doubt(about, text, 'has its CA stopped publishing? Then its certificates are refused') : good(about, text);
  });
  const unusable = crls.problems.map(({ source, detail }) => bad(`CRL ${source}`, detail, 'is its CA in client_auth (trust, intermediates)? Otherwise correct revocation.crl, or have it published anew'));
  // Of a list that came and cannot be used that is said, once.
  const said = new Set(crls.problems.map(({ source }) => source));
  const sources = crls.sources.flatMap(({ source, last_error: error }) => (error === undefined || said.has(source) ? [] : [doubt(`CRL ${source}`, `was not fetched: ${error.detail}`, 'can this machine reach it? What was held stays in force until it ends')]));
  const responders = ocsp.responders.map(({ responder, last_success: success, last_error: error }) => {
    const failing = error !== undefined && (success === undefined || error.at > success);
    return failing ? bad(`responder ${responder}`, `fails since ${error.at}: ${error.detail}`, 'can this machine reach it? See revocation.unavailable for what that means meanwhile') : good(`responder ${responder}`, success === undefined ? 'has not been asked yet' : `last answered ${success}`);
  });
  return [...held, ...unusable, ...sources, ...responders];
}

function upstreamFindings({ upstreams }: GatewayStatus): Finding[] {
  return upstreams.flatMap(({ upstream, endpoints }) => endpoints.map(({ endpoint, up, addresses, lookups }) => {
    const about = upstreamText(upstream, endpoint);
    const nameless = lookups?.error === undefined ? undefined : `its name was not found: ${lookups.error}`;
    if (up) return nameless === undefined ? good(about, 'serves') : doubt(about, `${nameless}; it serves at the addresses that were found before`, 'correct DNS');
    const details = addresses.flatMap(({ address, state, detail }) => (detail === undefined ? [] : [`${address} ${state}: ${detail}`]));
    if (nameless !== undefined) return bad(about, [nameless, ...details].join('; '), NAMELESS);
    return bad(about, `does not serve: ${details.join('; ') || 'no address of it answers'}`, 'look at the server behind it, and at its certificate');
  }));
}

/** What to do about a host name that leads nowhere. */
export const NAMELESS = 'correct the name in the configuration, or DNS';

export function upstreamText(upstream: string, endpoint: string): string {
  return `upstream ${upstream}, ${endpoint}`;
}

function storeFindings({ store }: GatewayStatus): Finding[] {
  if (store === undefined) return [];
  return [store.connected ? good('store', 'connected') : bad('store', `away: ${store.error ?? 'not connected'}`, 'start Redis or Valkey; what other nodes deny is not heard of meanwhile')];
}

function evidenceFindings({ audit: { failing, feed, directory } }: GatewayStatus): Finding[] {
  return [
    failing.length > 0 ? bad('audit', `cannot be written: ${failing.join('; ')}`, `see the disk and the rights of ${directory}: what needs a record is not served`) : good('audit', `is written to ${directory}`),
    ...(feed?.up === false ? [bad('sinks', 'the thread that hands records out does not run', 'the log says why; records are kept')] : []),
    ...(feed?.consumers ?? []).map(({ name, lag, failing: why }) => (why === undefined ? good(`sink ${name}`, `${lag.records} records behind`) : bad(`sink ${name}`, `takes nothing: ${why}; ${lag.records} records wait`, 'none is lost: look at the receiver'))),
  ];
}

function peopleFindings({ alarms, break_glass: { open, unreviewed }, suspensions, maintenance }: GatewayStatus): Finding[] {
  return [
    ...(alarms === undefined ? [] : [alarms.open > 0 ? doubt('alarms', `${alarms.open} wait for somebody`, 'wardgate alarm list, then acknowledge each with what was found') : good('alarms', 'none is open')]),
    ...(unreviewed > open ? [doubt('emergencies', `${counted(unreviewed - open, 'grant')} to be reviewed`, 'wardgate break-glass list, then review each')] : []),
    ...(suspensions.length > 0 ? [doubt('suspensions', `${suspensions.length} are in force`, 'wardgate status lists them; wardgate resume ends one')] : []),
    ...(maintenance.length > 0 ? [doubt('maintenance', `${maintenance.map(({ route, until }) => `route ${route} until ${until}`).join(', ')}`, 'ends by itself')] : []),
  ];
}
