import { statSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEvidence } from '../src/audit/evidence.ts';
import { openRegister } from '../src/audit/register.ts';
import { verifyAudit } from '../src/audit/verify.ts';
import { openAuditWriter } from '../src/audit/writer.ts';

/**
 * What writing a record costs and how long verifying takes.
 *
 *   node scripts/audit-speed.ts [RECORDS]        default 1000000, written in batches of 32
 */
const records = Number(process.argv[2] ?? 1_000_000);
const root = await mkdtemp(join(tmpdir(), 'wardgate-audit-speed-'));
const directory = join(root, 'audit');
const register = openRegister({ directory, state: root, anchor: undefined, now: () => Date.now(), warn: (detail) => console.error(detail) });
const writer = openAuditWriter({ ...register.ground(), directory, durability: 'write' }, 't0', Date.now());
const rest = Buffer.from(JSON.stringify({
  listener: 'clinical', address: '10.1.2.3', serial: '0a1b2c3d4e5f60718293a4b5c6d7e8f9', issuer: 'CN=Hospital Issuing CA,O=Hospital', subject: 'CN=Dr Chen,OU=Doctors,O=Hospital',
  fingerprint: 'f0'.repeat(32), role: 'doctor', id: 'Dr Chen', route: 'records', upstream: 'records', method: 'GET', host: 'api.hospital.test', path: '/records', tls: 'TLSv1.3', resumed: false,
}).slice(1));

const before = process.cpuUsage();
for (let batch = 0; batch < records; batch += 32) {
  await new Promise<void>((resolve) => {
    const size = Math.min(32, records - batch);
    for (let index = 0; index < size; index++) {
      writer.write(`{"time":"2026-11-22T08:00:00.000Z","event":"request","result":"permitted","status":200,"bytes_out":1024,"request_id":"0b6f3c1e-9d7a-4c55-8f00-${batch + index}","bytes_in":0,"duration_ms":1.234,`, rest, index === size - 1 ? () => resolve() : () => undefined);
    }
  });
}
const spent = process.cpuUsage(before);
console.log(`written: ${((spent.user + spent.system) / records).toFixed(2)} µs of CPU a record`);
register.checkpoint([await writer.settled()]);
writer.close();
register.close();

const [segment = ''] = (await readdir(directory)).filter((name) => name.endsWith('.jsonl'));
const { size } = statSync(join(directory, segment));
const started = performance.now();
const cpu = process.cpuUsage();
const verdict = verifyAudit({ evidence: openEvidence(directory) });
const used = process.cpuUsage(cpu);
console.log(`verified: ${verdict.records} records of ${Math.round(size / records)} octets, ${verdict.whole ? 'whole' : 'NOT WHOLE'}, in ${((performance.now() - started) / 1000).toFixed(2)} s (${((used.user + used.system) / 1e6).toFixed(2)} s of CPU), ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB resident`);
await rm(root, { recursive: true, force: true });
