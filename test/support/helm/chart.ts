import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { manifestsOf, type Manifest } from '../kubernetes.ts';

const chart = join(import.meta.dirname, '../../../deploy/helm/wardgate');
/** Where Debian puts the sources of Go's packages. */
const GO = { GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '' };

/** Whether the renderer can be built here. */
export const goInstalled = spawnSync('go', ['list', 'github.com/Masterminds/sprig', 'sigs.k8s.io/yaml'], { env: { ...process.env, ...GO } }).status === 0;

export interface Release {
  /** `wardgate` by default, as is the namespace. */
  readonly name?: string;
  readonly namespace?: string;
  /** Texts of what `-f` names, one after the other. */
  readonly values: readonly string[];
}

export type Installation =
  | { readonly kind: 'refused'; readonly by: 'schema' | 'template'; readonly message: string }
  | { readonly kind: 'rendered'; readonly manifests: readonly Manifest[]; readonly notes: string };

interface Answer {
  readonly values?: object;
  readonly files?: Readonly<Record<string, string>>;
  readonly error?: string;
}

/** Compiles the renderer into a folder. */
export function buildRenderer(folder: string): string {
  const program = join(folder, 'render');
  execFileSync('go', ['build', '-o', program, join(import.meta.dirname, 'render.go')], { env: { ...process.env, ...GO }, stdio: ['ignore', 'inherit', 'inherit'] });
  return program;
}

const schema = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8')) as object);

/** What `helm install` would apply, or would say: values merged, held to the schema, and rendered, in this order. */
export function install(renderer: string, releases: readonly Release[]): readonly Installation[] {
  const cases = releases.map(({ name = 'wardgate', namespace = 'wardgate', values }) => ({ name, namespace, values, kubeVersion: 'v1.31.0', apiVersions: [] }));
  const answers = JSON.parse(execFileSync(renderer, [chart], { input: JSON.stringify(cases), encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })) as readonly Answer[];
  return answers.map(({ values, files, error }) => {
    if (values !== undefined && !schema(values)) {
      const message = (schema.errors ?? []).map(({ instancePath, message: said, params }) => `${instancePath.slice(1).replaceAll('/', '.')}: ${said} ${JSON.stringify(params)}`).join('\n');
      return { kind: 'refused', by: 'schema', message };
    }
    if (files === undefined) return { kind: 'refused', by: 'template', message: error ?? '' };
    const { 'templates/NOTES.txt': notes = '', ...rest } = files;
    return { kind: 'rendered', manifests: Object.values(rest).flatMap(manifestsOf), notes };
  });
}
