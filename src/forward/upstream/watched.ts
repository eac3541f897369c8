import { randomInt } from 'node:crypto';
import { isIP } from 'node:net';
import type { EndpointConfig, UpstreamConfig } from '../../config/schema.ts';
import type { UpstreamMaterial } from '../../config/snapshot.ts';
import { createDialling, type Dialling } from './dial.ts';
import { lookAt } from './health.ts';
import { ejectionRules } from './pool.ts';
import { LOCAL_HEADER } from './proxy-header.ts';
import { createLookUp, type LookUp } from './resolve.ts';
import {
  activeOn, activeOnAll, clearSlot, copySlot, countsOf, countsOfAll, createTable, noteBadLook, setDown, settle, SLOTS, standing,
  type EjectionRules, type EndpointCount, type Standing, type UpstreamCount, type UpstreamTable,
} from './table.ts';
import type { AddressFault, Target, ThreadFaults, UpstreamShare } from './upstream.ts';

export interface UpstreamReport {
  readonly upstream: string;
  readonly active: number;
  readonly counts: Readonly<Record<UpstreamCount, number>>;
  readonly endpoints: readonly EndpointReport[];
}

export interface EndpointReport {
  /** As it is configured. */
  readonly endpoint: string;
  /** Whether one of its addresses serves. */
  readonly up: boolean;
  readonly addresses: readonly AddressReport[];
  readonly counts: Readonly<Record<EndpointCount, number>>;
  /** Of host names: look-ups so far, and the last error while there is one. */
  readonly lookups?: { readonly found: number; readonly failed: number; readonly error?: string };
}

export interface AddressReport extends Standing {
  readonly address: string;
  /** What the last health check found wrong. */
  readonly detail?: string;
  /** Why a request failed there last, ISO 8601 when. */
  readonly last_error?: { readonly at: string; readonly detail: string };
}

export interface WatchedOptions {
  readonly threads: number;
  /** Tells every thread what an upstream's names have become; resolves when they use it. */
  readonly publish: (share: UpstreamShare) => Promise<void>;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  readonly clock: () => number;
}

/** How long a start or a reload waits for names: what is found later is used from then on. */
const FIRST_LOOKUP_MS = 2_000;

/** An address in use: its slot, and what health checks say of it. */
interface Address extends Target {
  /** Bad looks in a row, good ones while it is down. */
  run: number;
  down: boolean;
  looked: boolean;
  detail: string | undefined;
  check: NodeJS.Timeout | undefined;
  told: Standing['state'];
}

/** The addresses of one endpoint: its own, or what its host name last stood for. */
interface Named {
  readonly config: EndpointConfig;
  readonly index: number;
  readonly literal: boolean;
  addresses: readonly string[];
  foundAt: number;
  found: number;
  failed: number;
  error: string | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** One upstream as the main thread watches over it: its table, the addresses behind its names, and its health checks. */
export class Watched {
  readonly table: UpstreamTable;
  readonly #id: number;
  readonly #name: string;
  readonly #config: UpstreamConfig;
  readonly #identity: string;
  readonly #options: WatchedOptions;
  readonly #dialling: Dialling;
  readonly #lookUp: LookUp;
  readonly #rules: EjectionRules;
  readonly #named: readonly Named[];
  readonly #addresses = new Map<`${number} ${string}`, Address>();
  /** Slots whose address is gone and that threads may still use. */
  readonly #leaving = new Set<number>();
  readonly #first: Promise<unknown>;
  #publishing: Promise<void> = Promise.resolve();
  /** Whether addresses have changed since the threads were told. */
  #untold = false;
  /** Whether it was said that there are too many addresses. */
  #crowded = false;
  #started = false;
  #closed = false;

  constructor(id: number, name: string, config: UpstreamConfig, material: UpstreamMaterial, options: WatchedOptions, before: Watched | undefined) {
    this.#id = id;
    this.#name = name;
    this.#config = config;
    this.#identity = identityOf(config, material);
    this.#options = options;
    this.#dialling = createDialling(config, material);
    this.#lookUp = createLookUp(config.resolve);
    this.#rules = ejectionRules(config);
    this.table = createTable(options.threads, config.endpoints.length);
    this.#named = config.endpoints.map((endpoint, index) => {
      const literal = isIP(endpoint.host) !== 0;
      const known = before?.addressesOf(endpoint.host) ?? [];
      return { config: endpoint, index, literal, addresses: literal ? [endpoint.host] : known, foundAt: performance.now(), found: 0, failed: 0, error: undefined, timer: undefined };
    });
    this.#arrange(before);
    this.#first = Promise.all(this.#named.filter(({ literal }) => !literal).map((named) => this.#resolve(named)));
  }

  isFor(config: UpstreamConfig, material: UpstreamMaterial): boolean {
    return this.#identity === identityOf(config, material);
  }

  /** Resolves when every name has been looked up once, or has had time enough. */
  async ready(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([this.#first, new Promise((resolve) => {
      timer = setTimeout(resolve, FIRST_LOOKUP_MS);
    })]);
    clearTimeout(timer);
  }

  start(): void {
    if (this.#started || this.#closed) return;
    this.#started = true;
    for (const named of this.#named) if (!named.literal) this.#resolveLater(named);
    if (this.#untold) this.#publish();
    for (const address of this.#addresses.values()) this.#lookLater(address, 0);
  }

  close(): void {
    this.#closed = true;
    for (const named of this.#named) clearTimeout(named.timer);
    for (const address of this.#addresses.values()) clearTimeout(address.check);
  }

  share(): UpstreamShare {
    this.#untold = false;
    const problem = this.#named.find(({ addresses, error }) => addresses.length === 0 && error !== undefined)?.error;
    const targets = [...this.#addresses.values()].map(({ slot, endpoint, address }) => ({ slot, endpoint, address }));
    return { id: this.#id, buffer: this.table.buffer, targets, ...(problem === undefined ? {} : { problem }) };
  }

  addressesOf(host: string): readonly string[] {
    return this.#named.find(({ config }) => config.host === host)?.addresses ?? [];
  }

  addressAt(host: string, port: number, address: string): Address | undefined {
    const named = this.#named.find(({ config }) => config.host === host && config.port === port);
    return named === undefined ? undefined : this.#addresses.get(`${named.index} ${address}`);
  }

  /** Puts in order what only time changes, and tells the log what has changed. */
  tick(): void {
    const now = this.#options.clock();
    for (const address of this.#addresses.values()) {
      settle(this.table, address.slot, this.#rules, now);
      this.#tellChange(address, now);
    }
  }

  report(faults: readonly ThreadFaults[]): UpstreamReport {
    const now = this.#options.clock();
    const own = faults.filter(({ upstream }) => upstream === this.#id).flatMap(({ of }) => of);
    const addresses = [...this.#addresses.values()].map(({ slot, endpoint, address, detail }) =>
      ({ endpoint, report: { address, ...standing(this.table, slot, now), ...(detail === undefined ? {} : { detail }), ...lastError(own.filter((one) => one.slot === slot)) } }));
    return {
      upstream: this.#name,
      active: activeOnAll(this.table),
      counts: countsOfAll(this.table),
      endpoints: this.#named.map(({ config, index, literal, found, failed, error }) => {
        const own = addresses.filter(({ endpoint }) => endpoint === index).map(({ report }) => report);
        return {
          endpoint: config.text,
          up: own.some(({ state }) => isServing(state)),
          addresses: own,
          counts: countsOf(this.table, index),
          ...(literal ? {} : { lookups: { found, failed, ...(error === undefined ? {} : { error }) } }),
        };
      }),
    };
  }

  #tellChange(address: Address, now: number): void {
    const { state } = standing(this.table, address.slot, now);
    if (isServing(state) !== isServing(address.told)) this.#tell(address, state);
    address.told = state;
  }

  #tell({ endpoint, address, detail }: Address, state: Standing['state']): void {
    const fields = { upstream: this.#name, endpoint: this.#config.endpoints[endpoint]?.text, address };
    if (isServing(state)) this.#options.log.info(fields, 'an upstream endpoint serves again');
    else if (state === 'down') this.#options.log.warn({ ...fields, detail }, 'an upstream endpoint fails its health checks and is left out');
    else this.#options.log.warn(fields, state === 'failing' ? 'an upstream endpoint fails requests' : 'an upstream endpoint fails requests and is left out for a while');
  }

  /** Gives a slot to each address that has none, and takes those of addresses that are gone. True when anything changed. */
  #arrange(before?: Watched): boolean {
    const wanted = new Map(this.#named.flatMap((named) => named.addresses.map((address) => [`${named.index} ${address}`, { named, address }] as const)));
    let changed = false;
    for (const [key, gone] of this.#addresses) {
      if (wanted.has(key)) continue;
      clearTimeout(gone.check);
      this.#addresses.delete(key);
      this.#leaving.add(gone.slot);
      changed = true;
    }
    for (const [key, { named, address }] of wanted) {
      if (this.#addresses.has(key)) continue;
      const slot = this.#freeSlot();
      if (slot === undefined) {
        if (!this.#crowded) this.#options.log.warn({ upstream: this.#name, address }, `an upstream has more than ${SLOTS} addresses; this one and others are not used`);
        this.#crowded = true;
        continue;
      }
      const known = before?.addressAt(named.config.host, named.config.port, address);
      if (before !== undefined && known !== undefined) copySlot(before.table, known.slot, this.table, slot);
      // Not at the start, where all are new; later a newcomer gets its share little by little.
      else clearSlot(this.table, slot, this.#started && this.#config.slow_start > 0 ? this.#options.clock() : undefined);
      const added: Address = {
        slot, endpoint: named.index, address, run: 0, down: known?.down ?? false, looked: known?.looked ?? false, detail: known?.detail, check: undefined, told: known?.told ?? 'sound',
      };
      // Without health checks nothing would ever bring it back.
      if (this.#config.health === undefined && added.down) {
        Object.assign(added, { down: false, detail: undefined });
        setDown(this.table, slot, false, 0, this.#options.clock());
      }
      this.#addresses.set(key, added);
      if (this.#started) this.#lookLater(added, 0);
      changed = true;
    }
    return changed;
  }

  #freeSlot(): number | undefined {
    const taken = new Set([...this.#addresses.values()].map(({ slot }) => slot));
    for (let slot = 0; slot < SLOTS; slot++) if (!taken.has(slot) && !this.#leaving.has(slot)) return slot;
    return undefined;
  }

  /** Tells the threads; after that a slot that has been left is free as soon as nothing is under way on it. */
  #publish(): void {
    const left = [...this.#leaving];
    this.#publishing = this.#publishing.then(() => this.#options.publish(this.share())).then(() => {
      for (const slot of left) if (activeOn(this.table, slot) === 0) this.#leaving.delete(slot);
    }, () => undefined);
  }

  async #resolve(named: Named): Promise<void> {
    try {
      const addresses = await this.#lookUp(named.config.host);
      named.found++;
      named.error = undefined;
      named.foundAt = performance.now();
      named.addresses = addresses;
    } catch (error) {
      named.failed++;
      named.error = (error as Error).message;
      if (performance.now() - named.foundAt > this.#config.resolve.keep) named.addresses = [];
    }
    if (this.#closed) return;
    this.#untold = this.#arrange() || this.#untold;
    // Slots of addresses that are long gone are free once the last request there has ended.
    if (this.#started && (this.#untold || this.#leaving.size > 0)) this.#publish();
  }

  #resolveLater(named: Named): void {
    named.timer = setTimeout(() => {
      void this.#resolve(named).finally(() => {
        if (!this.#closed) this.#resolveLater(named);
      });
    }, aboutInterval(this.#config.resolve.interval));
    named.timer.unref();
  }

  #lookLater(address: Address, wait: number): void {
    const { health } = this.#config;
    if (health === undefined || this.#closed) return;
    address.check = setTimeout(() => {
      void this.#look(address).finally(() => {
        if (this.#isInUse(address)) this.#lookLater(address, aboutInterval(health.interval));
      });
    }, wait);
    address.check.unref();
  }

  async #look(address: Address): Promise<void> {
    const { health, endpoints, tls, protocol } = this.#config;
    const endpoint = endpoints[address.endpoint];
    if (health === undefined || endpoint === undefined) return;
    const { host, port, protocol: scheme } = endpoint;
    const name = tls.server_name ?? (host.includes(':') ? `[${host}]` : host);
    const look = await lookAt({
      connection: this.#dialling.options(host, port, address.address),
      protocol: scheme === 'tls' ? undefined : protocol,
      preface: this.#config.proxy_protocol === undefined ? undefined : LOCAL_HEADER,
      health,
      host: port === 443 ? name : `${name}:${port}`,
    });
    if (!this.#isInUse(address)) return;
    const now = this.#options.clock();
    address.detail = look.kind === 'ill' ? look.detail : undefined;
    if (look.kind === 'ill') noteBadLook(this.table, address.slot, now);
    address.run = (look.kind === 'ill') === address.down ? 0 : address.run + 1;
    // The first look decides by itself: nothing speaks against it yet.
    const enough = address.looked ? (address.down ? health.healthy : health.unhealthy) : 1;
    address.looked = true;
    if (address.run < enough) return;
    address.run = 0;
    address.down = look.kind === 'ill';
    setDown(this.table, address.slot, address.down, this.#config.slow_start, now);
    this.#tellChange(address, now);
  }

  #isInUse(address: Address): boolean {
    return !this.#closed && this.#addresses.get(`${address.endpoint} ${address.address}`) === address;
  }
}

function lastError(faults: readonly AddressFault[]): Pick<AddressReport, 'last_error'> {
  const last = faults.toSorted((one, other) => other.at - one.at)[0];
  return last === undefined ? {} : { last_error: { at: new Date(last.at).toISOString(), detail: last.detail } };
}

function identityOf(config: UpstreamConfig, material: UpstreamMaterial): string {
  return JSON.stringify([config, material]);
}

function isServing(state: Standing['state']): boolean {
  return state === 'sound' || state === 'slow_start';
}

/** A tenth more or less, so that what began together does not go on together. */
function aboutInterval(interval: number): number {
  return Math.round(interval * (0.9 + randomInt(201) / 1_000));
}
