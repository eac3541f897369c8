import { totalmem } from 'node:os';
import type { ProcessMetrics } from './admin/metrics.ts';
import type { Config } from './config/schema.ts';
import type { Log } from './log.ts';
import { nextShedding, NOT_SHEDDING, type Shedding } from './store/ceiling.ts';
import { connectionCeiling, countKey, mostConnections, placesTaken, setConnectionCeiling, setDescriptorMark, type ConnectionCounts } from './store/connection-counts.ts';
import { descriptorLimit, descriptorMark, hasDescriptor } from './store/descriptors.ts';
import { openProcFile } from './store/proc-file.ts';

const READ_MS = 250;
/** With less room than this below the ceiling the process has none to spare. */
const FULL = 0.9;
/** With so many of its connections taken the gateway is full: between two looks some always end. */
const TAKEN = 0.98;

/** What the process runs short of. */
export interface Pressure {
  /** A line for each shortage; empty when there is none. */
  faults(): readonly string[];
  /** Takes what a new configuration says. */
  adopt(limits: Config['limits']): void;
  report(): void;
  close(): void;
}

/**
 * How many connections of those `wanted` the process can have. Each may need one more to an upstream: as many file descriptors must
 * be left for those as clients may take.
 */
export function affordableConnections(wanted: number, log: Log): number {
  const file = openProcFile('/proc/self/limits');
  const descriptors = descriptorLimit(file.read());
  file.close();
  const affordable = Math.min(wanted, Math.floor(descriptors / 2));
  if (affordable < wanted) log.warn({ wanted, descriptors, connections: affordable }, 'limits.connections is more than half of the file descriptors that the process may have; the half counts');
  return affordable;
}

/** Watches memory and file descriptors, and lowers the ceiling of connections, for all threads, while memory is short. */
export function watchPressure(first: Config['limits'], counts: ConnectionCounts, metrics: ProcessMetrics, log: Log): Pressure {
  const gateway = countKey(counts, 'gateway', '');
  const most = mostConnections(counts);
  let mark = markOf(first);
  let shedding: Shedding = NOT_SHEDDING;
  const status = openProcFile('/proc/self/status');
  const limits = openProcFile('/proc/self/limits');
  let resident = readResident();
  let open = 0;
  let descriptorsOut = false;

  function look(): void {
    resident = readResident();
    open = placesTaken(counts, gateway);
    const before = shedding;
    shedding = nextShedding(before, { resident, mark, open, most });
    setConnectionCeiling(counts, shedding.ceiling ?? most);
    if ((before.ceiling === undefined) !== (shedding.ceiling === undefined)) {
      const text = shedding.ceiling === undefined ? 'memory is no longer short' : 'memory is short: new connections are closed as they come';
      log.warn({ resident, mark, open }, text);
    }
    lookForDescriptors();
  }

  /** Node's own way would need a file descriptor. proc(5): `VmRSS` is in kibibytes. */
  function readResident(): number {
    const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(status.read() ?? '')?.[1];
    return kibibytes === undefined ? process.memoryUsage.rss() : Number(kibibytes) * 1024;
  }

  function lookForDescriptors(): void {
    setDescriptorMark(counts, descriptorMark(descriptorLimit(limits.read())));
    const out = !hasDescriptor();
    if (out) metrics.descriptorShortages.inc();
    if (out !== descriptorsOut) log.warn({}, out ? 'no file descriptor is left: new connections and new files fail' : 'file descriptors are to be had again');
    descriptorsOut = out;
  }

  look();
  const timer = setInterval(look, READ_MS);
  timer.unref();
  return {
    faults: () => [
      // While there is room again, a process that merely keeps its memory must not be passed over for good.
      ...(shedding.ceiling === undefined || open < shedding.ceiling * FULL ? [] : [`memory: ${mebibytes(resident)} of ${mebibytes(mark)}, at most ${shedding.ceiling} connections`]),
      ...(shedding.ceiling === undefined && open >= most * TAKEN ? [`connections: ${Math.min(open, most)} of ${most}; further ones are closed as they come`] : []),
      ...(descriptorsOut ? ['descriptors: none left'] : []),
    ],
    adopt(limits) {
      mark = markOf(limits);
      // What was above the old mark may be below the new one, or the other way round.
      shedding = NOT_SHEDDING;
      look();
    },
    report() {
      metrics.connectionsCeiling.set(connectionCeiling(counts));
      metrics.memoryResident.set(resident);
      metrics.memoryMark.set(mark);
    },
    close() {
      clearInterval(timer);
      status.close();
      limits.close();
    },
  };
}

/** Octets above which connections are shed. */
function markOf({ memory: { shed_above } }: Config['limits']): number {
  return shed_above.kind === 'size' ? shed_above.bytes : Math.floor(availableMemory() * shed_above.share);
}

/** What the container allows, else what the machine has; without a limit the former is 0 or larger than any memory. */
function availableMemory(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

function mebibytes(octets: number): string {
  return `${Math.round(octets / 2 ** 20)} MiB`;
}
