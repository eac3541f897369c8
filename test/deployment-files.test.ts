import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const installed = (program: string, ...args: readonly string[]): boolean => spawnSync(program, args).error === undefined;
const systemd = installed('systemd-analyze', '--version');
const haproxy = installed('haproxy', '-v');
const nginx = spawnSync('sh', ['-c', 'nginx -v && test -e /usr/share/nginx/modules/ngx_stream_module.so']).status === 0;
for (const [name, there] of [['systemd-analyze', systemd], ['haproxy', haproxy], ['nginx with its stream module', nginx]] as const) {
  if (!there) console.log(`skipped: parts of deployment-files.test.ts need ${name}`);
}

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'wardgate-deploy-'));
  execFileSync(process.execPath, [join(root, 'scripts/write-sbom.mjs')], { stdio: 'ignore' });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!systemd)('the unit of the gateway', () => {
  /** What lies elsewhere on other machines stands for itself. */
  function unit(): string {
    const file = join(folder, 'wardgate.service');
    writeFileSync(file, read('deploy/systemd/wardgate.service').replaceAll('/usr/local/bin/wardgate', '/bin/true'));
    return file;
  }

  it('is one that systemd takes, without a warning', () => {
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', unit()], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  it('is exposed no more than a service that binds a port and compiles while it runs has to be', () => {
    const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', unit()], { encoding: 'utf8' });
    expect(Number(/Overall exposure level .*: ([\d.]+)/.exec(stdout)?.[1])).toBeLessThanOrEqual(2);
  });

  it('waits longer for the gateway to stop than answers under way may take', () => {
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(read('deploy/systemd/wardgate.service'))?.[1])).toBeGreaterThan(10);
  });
});

it.skipIf(!haproxy)('haproxy takes the example of HAProxy as L4', () => {
  const { status, stderr } = spawnSync('haproxy', ['-c', '-f', join(root, 'deploy/examples/haproxy-l4.cfg')], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

it.skipIf(!nginx)('nginx takes the example of nginx as L4', () => {
  const file = join(folder, 'nginx.conf');
  // The test of a configuration binds its ports, and the address of the example is of no machine.
  writeFileSync(file, `pid ${folder}/nginx.pid;\nerror_log ${folder}/error.log;\n${read('deploy/examples/nginx-l4.conf').replace('listen 10.1.0.10:443', `listen unix:${folder}/front.sock`)}`);
  const { status, stderr } = spawnSync('nginx', ['-t', '-e', `${folder}/error.log`, '-c', file, '-p', '/usr/share/nginx/'], { encoding: 'utf8' });
  expect({ status, stderr }).toMatchObject({ status: 0 });
});

it.each(['nginx-l4.conf', 'nginx-front.conf'])('%s has a descriptor for each connection of a worker, whatever the service of nginx gives it', (file) => {
  const number = (key: string): number => Number(new RegExp(`^\\s*${key} (\\d+);$`, 'm').exec(read(`deploy/examples/${file}`))?.[1]);
  expect(number('worker_rlimit_nofile')).toBeGreaterThan(number('worker_connections'));
});

it('the bill of materials is CycloneDX to the letter, and names every package that is installed to run', async () => {
  const text = read('dist/sbom.cdx.json');
  const bill = JSON.parse(text) as { readonly specVersion: Spec.Version; readonly metadata: { readonly component: { readonly name: string } }; readonly components: readonly { readonly name: string }[] };
  expect(await new Validation.JsonStrictValidator(bill.specVersion).validate(text)).toBeNull();
  expect(bill.metadata.component.name).toBe('wardgate');
  const { dependencies } = JSON.parse(read('package.json')) as { readonly dependencies: Record<string, string> };
  const names = new Set(bill.components.map(({ name }) => name));
  // By the name that a scanner looks for, where another one is installed in its place.
  expect(Object.entries(dependencies).map(([name, version]) => /^npm:(.+)@/.exec(version)?.[1] ?? name).filter((name) => !names.has(name))).toEqual([]);
  expect(['typescript', 'vitest', 'oxlint', 'ws'].filter((name) => names.has(name))).toEqual([]);
});

it('the bill of materials in SPDX names the same packages, each by its hash, and knows both ends of every relation', () => {
  const bill = JSON.parse(read('dist/sbom.spdx.json')) as {
    readonly spdxVersion: string; readonly SPDXID: string; readonly dataLicense: string; readonly documentNamespace: string; readonly documentDescribes: readonly string[];
    readonly packages: readonly { readonly SPDXID: string; readonly name: string; readonly versionInfo: string; readonly downloadLocation: string; readonly checksums?: readonly { readonly algorithm: string; readonly checksumValue: string }[] }[];
    readonly relationships: readonly { readonly spdxElementId: string; readonly relatedSpdxElement: string }[];
  };
  const { components } = JSON.parse(read('dist/sbom.cdx.json')) as { readonly components: readonly { readonly 'bom-ref': string }[] };
  expect(bill).toMatchObject({ spdxVersion: 'SPDX-2.3', SPDXID: 'SPDXRef-DOCUMENT', dataLicense: 'CC0-1.0', documentNamespace: expect.stringMatching(/^http[^#]+$/) as unknown });
  const [own, ...packages] = bill.packages;
  expect([own?.name, bill.documentDescribes]).toEqual(['wardgate', [own?.SPDXID]]);
  expect(packages.map(({ name, versionInfo }) => `${name}@${versionInfo}`).sort()).toEqual(components.map((one) => one['bom-ref']).sort());
  expect(packages.filter(({ downloadLocation, checksums = [] }) => downloadLocation === '' || !checksums.some(({ algorithm, checksumValue }) => algorithm === 'SHA512' && /^[0-9a-f]{128}$/.test(checksumValue)))).toEqual([]);
  const ids = new Set([bill.SPDXID, ...bill.packages.map(({ SPDXID }) => SPDXID)]);
  expect(ids.size).toBe(bill.packages.length + 1);
  expect([...ids].filter((id) => !/^SPDXRef-[a-zA-Z0-9.-]+$/.test(id))).toEqual([]);
  expect(bill.relationships.flatMap(({ spdxElementId, relatedSpdxElement }) => [spdxElementId, relatedSpdxElement]).filter((id) => !ids.has(id))).toEqual([]);
});

const RIGHTS = [
  'NoNewPrivileges=yes', 'ProtectSystem=strict', 'ProtectHome=yes', 'PrivateTmp=yes', 'UMask=0077', 'ProtectKernelModules=yes', 'ProtectKernelTunables=yes', 'ProtectProc=invisible', 'RestrictNamespaces=yes',
  'RestrictSUIDSGID=yes', 'LockPersonality=yes', 'SystemCallArchitectures=native', 'SystemCallFilter=@system-service', 'SystemCallFilter=~@privileged @obsolete',
];

it('every unit of systemd has the same things that take rights away', () => {
  const units = readdirSync(join(root, 'deploy/systemd')).filter((name) => name.endsWith('.service'));
  const lacking = units.flatMap((name) => RIGHTS.filter((line) => !read(`deploy/systemd/${name}`).includes(`\n${line}\n`)).map((line) => `${name}: ${line}`));
  expect(lacking).toEqual([]);
});
