import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { parseConfig } from '../src/config/load.ts';

const root = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'wardgate-kubernetes-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: unknown;
}

/** Where the types of a kind are: Kubernetes' own are generated from its OpenAPI description. */
const MODULES: Readonly<Record<string, string>> = {
  'v1': 'kubernetes-types/core/v1.js', 'apps/v1': 'kubernetes-types/apps/v1.js', 'policy/v1': 'kubernetes-types/policy/v1.js',
  'autoscaling/v2': 'kubernetes-types/autoscaling/v2.js', 'networking.k8s.io/v1': 'kubernetes-types/networking/v1.js', 'cert-manager.io/v1': '@kubernetes-models/cert-manager/cert-manager.io/v1',
};

const manifests = readdirSync(join(root, 'deploy/kubernetes')).flatMap((name) => documents(readFileSync(join(root, 'deploy/kubernetes', name), 'utf8')));

function documents(text: string): readonly Manifest[] {
  return parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Manifest;
  });
}

/** What the compiler says of manifests as values of their types; empty when it takes them. */
function compiled(all: readonly Manifest[]): string {
  const lines = all.map((manifest, index) => {
    const type = manifest.apiVersion.startsWith('cert-manager') ? `I${manifest.kind}` : manifest.kind;
    return `import type { ${type} as T${index} } from '${MODULES[manifest.apiVersion] ?? 'unknown kind of manifest'}';\nexport const m${index}: T${index} = ${JSON.stringify(manifest)};\n`;
  });
  writeFileSync(join(folder, 'manifests.ts'), lines.join(''));
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: { strict: true, noEmit: true, module: 'nodenext', target: 'es2024', skipLibCheck: true, types: [] }, files: ['manifests.ts'] }));
  if (!readdirSync(folder).includes('node_modules')) {
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  }
  return spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder], { encoding: 'utf8' }).stdout;
}

describe('the manifests for Kubernetes', () => {
  it('are what Kubernetes and cert-manager know, field by field', () => {
    expect(compiled(manifests)).toBe('');
  });

  it('would be refused with a field that Kubernetes does not know, or a value of another type', () => {
    const [probe] = documents('{ apiVersion: policy/v1, kind: PodDisruptionBudget, spec: { minAvailabel: 1 } }');
    const [number] = documents('{ apiVersion: v1, kind: Service, spec: { ports: [{ port: "443" }] } }');
    expect(compiled([probe as Manifest])).toContain('minAvailabel');
    expect(compiled([number as Manifest])).toContain("Type 'string' is not assignable to type 'number'");
  });

  it('bring a configuration that the gateway takes', () => {
    const text = manifests.find(({ kind }) => kind === 'ConfigMap')?.data?.['wardgate.yaml'] ?? '';
    expect(parseConfig(text, 'wardgate.yaml')).toMatchObject({ kind: 'ok' });
  });
});
