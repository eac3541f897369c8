import { readFile } from 'node:fs/promises';
import type { Standing } from './ca/est/http.ts';
import { gatewayTrust } from './est-server.ts';
import type { Log } from './log.ts';
import type { Certificate } from './pki/certificate.ts';
import type { CrlAuthorities } from './revocation/crl-load.ts';
import { openCrlFloor } from './revocation/crl-floor.ts';
import { isVerified, newestOfEach, othersOf, type CrlHandle } from './revocation/crl-handle.ts';
import { crlStatement } from './revocation/crl-statement.ts';
import { digestOf, readCrls } from './revocation/crl-store.ts';
import { download } from './revocation/download.ts';
import { openKept } from './revocation/kept.ts';
import { refuseUrl } from './revocation/named-urls.ts';
import { openOutbound } from './revocation/outbound.ts';
import { watchFiles } from './revocation/watch.ts';

export interface GatewayCrls {
  /** What the lists say now of a gateway on its path, the leaf first: good when a list in force covers the leaf, and none names one of the others. */
  judge(path: readonly Certificate[]): Standing;
  close(): void;
}

export interface GatewayCrlsOptions {
  /** Files, DER or PEM, and http(s) URLs. */
  readonly sources: readonly string[];
  /** PEM: anchors and issuers of the gateways' certificates; whoever signs a list is one of them, or below. */
  readonly trust: string;
  /** Where the numbers of the lists are kept, so that none is replaced by an older one over a restart. Absent: nowhere. */
  readonly directory?: string;
  readonly log: Log;
  /** ms since the epoch */
  readonly now: () => number;
}

const SKEW = 60_000;
const EVERY = 600_000;
const AGAIN = 30_000;
const FETCH_DEADLINE = 30_000;
const MOST_OCTETS = 64 * 1024 * 1024;
const NOT_TAKEN = 'a CRL about gateways could not be taken; what was taken before holds until it ends';

/**
 * The CRLs of the CAs that certify gateways, taken again when a file has changed and every ten minutes from URLs. A list is replaced by no older one, and one that
 * has ended speaks for nobody any more. Rejects when a file is no list that a CA of the gateways has signed; a URL that gives none is tried again, and until then no gateway is believed.
 */
export async function openGatewayCrls({ sources, trust: pem, directory, log, now }: GatewayCrlsOptions): Promise<GatewayCrls> {
  const { anchors, intermediates } = gatewayTrust(pem);
  const trust: CrlAuthorities = { anchors: anchors.map(({ der }) => der), intermediates: intermediates.map(({ der }) => der) };
  const outbound = openOutbound({ connectTimeout: 5000 });
  const closing = new AbortController();
  const floor = directory === undefined ? undefined : await openCrlFloor(openKept({ directory, maxFiles: 1, maxOctets: 0, failed: (error) => log.error({ error: error.message }, 'the numbers of the CRLs about gateways cannot be kept for the next start') }));
  const held = new Map<string, readonly CrlHandle[]>();
  const timers = new Map<string, NodeJS.Timeout>();
  const authoritiesDigest = digestOf([trust]);
  let handles: readonly CrlHandle[] = [];
  let turn: Promise<unknown> = Promise.resolve();

  async function take(source: string, bytes: Uint8Array): Promise<void> {
    const read = await readCrls({ files: [{ file: source, bytes }], realms: [trust], now: now() }, { handles, authoritiesDigest });
    const own = read.handles.filter(isVerified);
    if (own.length === 0 || read.problems.length > 0) throw new Error(read.problems.map(({ detail }) => detail).join('; ') || 'no CRL in it');
    const { current, older } = floor?.sift(own, now()) ?? { current: own, older: [] };
    for (const { detail } of older) log.error({ source, error: detail }, NOT_TAKEN);
    if (current.length === 0) return;
    held.set(source, [...current, ...othersOf(held.get(source) ?? [], current)]);
    handles = newestOfEach([...held.values()].flat());
    await floor?.raise(current, now());
  }

  /** One at a time: what is older is told by what is there. */
  function inTurn(work: () => Promise<void>): Promise<void> {
    const done = turn.then(work);
    turn = done.catch(() => undefined);
    return done;
  }

  const takeFile = (file: string): Promise<void> => inTurn(async () => take(file, await readFile(file)));

  async function fetchAgain(url: string): Promise<void> {
    let next = EVERY;
    try {
      const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(FETCH_DEADLINE)]);
      const fetched = await download(url, { dispatcher: outbound.configured, signal, maxOctets: MOST_OCTETS, refuse: (to) => refuseUrl(to, true) });
      if (fetched.kind !== 'fresh') throw new Error(fetched.kind === 'failed' ? fetched.detail : 'nothing new, to a request without conditions');
      await inTurn(() => take(url, fetched.bytes));
    } catch (error) {
      if (closing.signal.aborted) return;
      log.error({ source: url, error: (error as Error).message }, NOT_TAKEN);
      next = AGAIN;
    }
    if (!closing.signal.aborted) timers.set(url, setTimeout(() => void fetchAgain(url), next));
  }

  const files = sources.filter((source) => !/^https?:/i.test(source));
  const readAt = now();
  try {
    for (const file of files) await takeFile(file).catch((error: Error) => { throw new Error(`${file}: ${error.message}`, { cause: error }); });
  } catch (error) {
    outbound.close();
    throw error;
  }
  await Promise.all(sources.filter((source) => !files.includes(source)).map(fetchAgain));
  const watching = files.map((file) => watchFiles({ files: () => [file], readAt, changed: () => void takeFile(file).catch((error: Error) => {
    log.error({ source: file, error: error.message }, NOT_TAKEN);
  }) }));

  return {
    judge(path) {
      const anchor = path.at(-1);
      for (const [at, certificate] of path.entries()) {
        const issuer = path[at + 1];
        if (issuer === undefined || anchor === undefined) break;
        const said = crlStatement(handles, certificate, issuer, now(), { skew: SKEW, anchor, check: 'leaf' });
        if (said.kind === 'revoked') return { kind: 'refused', status: 403, detail: `the certificate of this gateway, or of its CA, was revoked: ${said.detail}` };
        // Fail closed: what nobody has said lately may have been said meanwhile.
        if (said.kind === 'unavailable' && at === 0) return { kind: 'refused', status: 503, detail: `whether the certificate of this gateway was revoked is not known: ${said.detail}` };
      }
      return { kind: 'good' };
    },
    close() {
      closing.abort();
      for (const timer of timers.values()) clearTimeout(timer);
      for (const one of watching) one.close();
      outbound.close();
    },
  };
}
