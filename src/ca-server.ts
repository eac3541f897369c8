import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { crlFileOf, writeCrlFile } from './ca/crl-file.ts';
import { createEstDesk } from './ca/est/desk.ts';
import { faultsAside } from './ca/faults-aside.ts';
import type { Standing } from './ca/est/http.ts';
import { createCrlDesk } from './ca/publish/crl-desk.ts';
import { createPublication } from './ca/publish/http.ts';
import { createOcspDesk } from './ca/publish/ocsp-desk.ts';
import { LIVE } from './ca/life.ts';
import { OfficeError, type Office } from './ca/office.ts';
import { openGatewayCrls, type GatewayCrls } from './est-crls.ts';
import { bind, close, estServer, LIMITS, type Address, type EstPlace } from './est-server.ts';
import type { Log } from './log.ts';
import { readBundle } from './pki/bundle.ts';
import type { Certificate } from './pki/certificate.ts';
import { fingerprintsOf } from './pki/twin.ts';

export interface CaServerOptions {
  /** Opened with its passphrase; `stop` does not close it. */
  readonly office: Office;
  /** Plain HTTP: CRLs, OCSP, certificates. */
  readonly publish: Address;
  /** EST over TLS, for gateways. */
  readonly est?: EstOptions;
  /** A new CRL at least so often, ms; default a day. */
  readonly crlEvery?: number;
  /** How long an OCSP answer holds, ms; default an hour. */
  readonly ocspValidity?: number;
  readonly log: Log;
  /** ms since the epoch; default the clock. */
  readonly now?: () => number;
}

export interface EstOptions extends EstPlace {
  /** What may be left of a certificate's lifetime when it is renewed; default a third. */
  readonly window?: number;
}

export interface CaServer {
  readonly publish: Address;
  readonly est?: Address;
  stop(): Promise<void>;
}

const DAY = 86_400_000;
/** A revocation is on the CRL within this and the time that signing takes. */
const LOOK = 1000;
const RESPONDER_VALIDITY = 7 * DAY;
const LIVE_RATE = 200;
const PER_HOUR = 10;
const MOST_FAULTS = 20;

/**
 * Serves what a CA publishes, and EST to gateways, from a process that holds the issuing key so that no gateway has to. Rejects when something cannot be bound or
 * signed, and when the event log was changed; from then on what fails is logged and tried again, and what was signed goes on being served until it ends.
 */
export async function startCaServer(options: CaServerOptions): Promise<CaServer> {
  const { office, log, now = () => Date.now() } = options;
  const crl = createCrlDesk({ source: office, now, every: options.crlEvery ?? DAY });
  const ocsp = createOcspDesk({ source: office, now, validity: options.ocspValidity ?? 3_600_000, responderValidity: RESPONDER_VALIDITY, liveRate: LIVE_RATE });
  const written = new Map<string, number>();
  // A gateway beside the CA reads the file: without this it would still hold the list of the first day when that has ended.
  const keepLists = (): void => {
    const issuers = office.issuers();
    for (const { generation } of issuers) {
      const list = crl.current(generation);
      const file = crlFileOf(office.directory, generation, issuers);
      if (list === undefined || written.get(file) === list.number) continue;
      writeCrlFile(file, list.der);
      written.set(file, list.number);
    }
  };
  const look = async (): Promise<void> => {
    // One after the other, and each whatever became of the other: a list that cannot be signed must not keep answers good that are not.
    const lists = await crl.refresh().catch((error: Error) => error);
    const answers = await ocsp.refresh();
    const unwritten = faultOf(keepLists);
    if (lists instanceof Error) throw lists;
    if (lists + answers > 0) log.info({ crls: lists, ocsp_answers: answers }, 'signed');
    if (unwritten !== undefined) throw unwritten;
  };
  // Of a log that was changed nobody knows what it had revoked: what was signed before stands until it ends, and nothing new is.
  const broken = office.logFault();
  if (broken !== undefined) throw new OfficeError('tampered', `nothing is published: ${broken}`);
  const tell = (faults: readonly string[]): void => {
    if (faults.length > 0) log.error({ faults: faults.slice(0, MOST_FAULTS) }, 'the CA is not as it was written; see wardgate ca verify');
  };
  const stopping = new AbortController();
  let telling: Promise<void> = Promise.resolve();
  tell(office.faults());
  await look();
  let seen = office.revision();
  let toldAt = now();
  const lookAgain = async (): Promise<void> => {
    const revision = office.revision();
    if (revision < seen) log.error({ events: revision, before: seen }, 'the event log of the CA was cut off, or put back to an older one; what it had revoked goes on being published as revoked');
    if (revision < seen || now() >= toldAt + DAY) {
      toldAt = now();
      telling = faultsAside(office.directory, stopping.signal).then(tell, (error: Error) => {
        if (!stopping.signal.aborted) log.error({ error: error.message }, 'whether the CA is as it was written cannot be seen');
      });
    }
    seen = revision;
    await look();
  };

  const publication = createPublication({ source: office, crl, ocsp, now, at: office.policy.publish, rootCrl: () => fileOf(join(office.directory, 'root.crl')) });
  const servers: Server[] = [];
  let crls: GatewayCrls | undefined;
  const bindEst = async (est: EstOptions): Promise<Address> => {
    crls = est.crls === undefined ? undefined : await openGatewayCrls({ sources: est.crls, trust: est.trust, directory: join(office.directory, 'est-crls'), log, now });
    // A gateway's certificate of this very CA hangs on its issuing CAs: who trusts the root has not to name these as well.
    const intermediates = office.issuers().flatMap(({ certificate }) => (certificate === undefined ? [] : readBundle(Buffer.from(certificate), 2)));
    const server = estServer({ ...est, intermediates }, createEstDesk({ source: office, now, window: est.window ?? 1 / 3, perHour: PER_HOUR }), log, now, (path) => ownStanding(office, path) ?? crls?.judge(path) ?? { kind: 'good' });
    servers.push(server);
    return bind(server, est.address);
  };
  try {
    const published = createServer(LIMITS, publication);
    servers.push(published);
    const publishedAt = await bind(published, options.publish);
    const estAt = options.est === undefined ? undefined : await bindEst(options.est);
    const stopLooking = every(LOOK, lookAgain, log);
    return {
      publish: publishedAt, ...(estAt === undefined ? {} : { est: estAt }),
      async stop() {
        crls?.close();
        stopping.abort();
        await Promise.all([stopLooking().then(() => telling), ...servers.map(close)]);
      },
    };
  } catch (error) {
    crls?.close();
    await Promise.all(servers.map(close));
    throw error;
  }
}

/** What the CA's own books say of a gateway, whose stolen key would be every device at once; undefined of another CA's. */
function ownStanding(office: Office, [leaf]: readonly Certificate[]): Standing | undefined {
  if (leaf === undefined) return undefined;
  try {
    const entry = office.entry(leaf.serial);
    // In either form that its holder can give it: a thief would choose the one that is on no book.
    if (!fingerprintsOf(leaf).includes(entry.sha256)) return undefined;
    return LIVE.has(entry.state) ? { kind: 'good' } : { kind: 'refused', status: 403, detail: `the certificate of this gateway is ${entry.state}` };
  } catch (error) {
    if (error instanceof OfficeError) return undefined;
    throw error;
  }
}

function faultOf(work: () => void): Error | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** Runs `work` again and again, never twice at a time; what it throws is logged once until it changes. Returns how to end it. */
function every(ms: number, work: () => Promise<void>, log: Log): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  let busy = false;
  let said = '';
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    running = work().then(() => {
      said = '';
    }, (error: Error) => {
      if (error.message !== said) log.error({ error: error.message }, 'cannot sign what is published; what was signed is served until it ends');
      said = error.message;
    }).finally(() => {
      busy = false;
    });
  }, ms);
  return () => {
    clearInterval(timer);
    return running;
  };
}

function fileOf(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
