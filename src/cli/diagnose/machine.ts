import { readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { bad, doubt, good, unknown, type Finding } from './finding.ts';
import { outputOf } from './programs.ts';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

/** What the machine itself may lack: room on the disk of the state and of the audit, a clock that is kept right, file descriptors. `pid`: of the running gateway. */
export async function lookAtMachine(directories: readonly string[], pid: number | undefined): Promise<readonly Finding[]> {
  return [...[...new Set(directories)].map(diskFinding), await clockFinding(), ...(pid === undefined ? [] : [descriptorFinding(pid)])];
}

function diskFinding(directory: string): Finding {
  const about = `disk of ${directory}`;
  try {
    const { bavail, blocks, bsize, ffree, files } = statfsSync(nearest(directory));
    const free = bavail * bsize;
    const share = Math.round((bavail / blocks) * 100);
    const text = `${free >= GIB ? `${(free / GIB).toFixed(1)} GiB` : `${Math.floor(free / MIB)} MiB`} free, ${share} %`;
    if (files > 0 && ffree / files < 0.02) return bad(about, `${ffree} files can still be made`, 'remove files: when none can be made, no record can be begun and nothing is served');
    if (free < GIB || share < 5) return bad(about, text, 'make room: where records cannot be written, nothing is served');
    return share < 15 ? doubt(about, text, 'make room, or see audit.retention and audit.compress') : good(about, text);
  } catch (error) {
    return unknown(about, (error as Error).message, 'run this as the user of the gateway, on its machine');
  }
}

/** The directory, or what it will be made in: before its first start a gateway has none. */
function nearest(directory: string): string {
  return statSync(directory, { throwIfNoEntry: false }) === undefined ? nearest(dirname(directory)) : directory;
}

async function clockFinding(): Promise<Finding> {
  const remedy = 'have chrony, ntpd or systemd-timesyncd keep the clock: certificates, CRLs and codes are judged by it';
  for (const [program, args, right, wrong] of CLOCKS) {
    const text = await outputOf(program, args) ?? '';
    if (right.test(text)) return good('clock', `${new Date().toISOString()}, kept right (${program})`);
    if (wrong.test(text)) return bad('clock', `${new Date().toISOString()}, and nothing keeps it right (${program})`, remedy);
  }
  return unknown('clock', `${new Date().toISOString()}; whether something keeps it right cannot be told here`, remedy);
}

const CLOCKS: readonly (readonly [program: string, args: readonly string[], right: RegExp, wrong: RegExp])[] = [
  ['timedatectl', ['show', '-p', 'NTPSynchronized'], /=yes/, /=no/],
  ['chronyc', ['-n', 'tracking'], /Leap status\s*: Normal/, /Leap status\s*: Not synchronised/],
];

function descriptorFinding(pid: number): Finding {
  const about = 'file descriptors';
  try {
    const open = readdirSync(`/proc/${pid}/fd`).length;
    const [, limit = ''] = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8')) ?? [];
    const text = `${open} of ${limit} are open`;
    if (limit === 'unlimited') return good(about, text);
    if (open > 0.9 * Number(limit)) return bad(about, text, 'raise LimitNOFILE of the service, or limits.connections is too high for it');
    return Number(limit) < 4_096 ? doubt(about, text, 'raise LimitNOFILE of the service: a connection takes two') : good(about, text);
  } catch (error) {
    return unknown(about, (error as Error).message, 'run this as the user of the gateway, on its machine');
  }
}
