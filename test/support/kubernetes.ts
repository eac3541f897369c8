import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

const root = join(import.meta.dirname, '../..');

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: unknown;
}

/** Where the types of a kind are: Kubernetes' own are generated from its OpenAPI description, the others from their definitions. */
const MODULES: Readonly<Record<string, string>> = {
  'v1': 'kubernetes-types/core/v1.js', 'apps/v1': 'kubernetes-types/apps/v1.js', 'policy/v1': 'kubernetes-types/policy/v1.js',
  'autoscaling/v2': 'kubernetes-types/autoscaling/v2.js', 'networking.k8s.io/v1': 'kubernetes-types/networking/v1.js', 'cert-manager.io/v1': '@kubernetes-models/cert-manager/cert-manager.io/v1',
  'monitoring.coreos.com/v1': '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1',
};

/** The documents of a YAML text; empty ones are left out, as kubectl and Helm do. Throws on whatever is not YAML to the letter, a key twice among it. */
export function manifestsOf(text: string): readonly Manifest[] {
  return parseAllDocuments(text, { strict: true, uniqueKeys: true }).flatMap((document) => {
    if (document.errors.length > 0 || document.warnings.length > 0) throw new Error([...document.errors, ...document.warnings].join('\n'));
    const value = document.toJS() as Manifest | null;
    return value === null ? [] : [value];
  });
}

/** What the compiler says of manifests as values of their types; empty when it takes them. */
export function compiled(all: readonly Manifest[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'wardgate-kubernetes-'));
  try {
    const lines = all.map((manifest, index) => {
      const type = /^(?:cert-manager|monitoring)\./.test(manifest.apiVersion) ? `I${manifest.kind}` : manifest.kind;
      return `import type { ${type} as T${index} } from '${MODULES[manifest.apiVersion] ?? 'unknown kind of manifest'}';\nexport const m${index}: T${index} = ${JSON.stringify(manifest)};\n`;
    });
    writeFileSync(join(folder, 'manifests.ts'), lines.join(''));
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: { strict: true, noEmit: true, module: 'nodenext', target: 'es2024', skipLibCheck: true, types: [] }, files: ['manifests.ts'] }));
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    return spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder], { encoding: 'utf8' }).stdout;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
