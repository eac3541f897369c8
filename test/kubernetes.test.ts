import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../src/config/load.ts';
import { compiled, manifestsOf } from './support/kubernetes.ts';

const folder = join(import.meta.dirname, '../deploy/kubernetes');
const manifests = readdirSync(folder).flatMap((name) => manifestsOf(readFileSync(join(folder, name), 'utf8')));

describe('the manifests for Kubernetes', () => {
  it('are what Kubernetes and cert-manager know, field by field', () => {
    expect(compiled(manifests)).toBe('');
  });

  it('would be refused with a field that Kubernetes does not know, or a value of another type', () => {
    const said = compiled(manifestsOf('{ apiVersion: policy/v1, kind: PodDisruptionBudget, spec: { minAvailabel: 1 } }\n---\n{ apiVersion: v1, kind: Service, spec: { ports: [{ port: "443" }] } }'));
    expect(said).toContain('minAvailabel');
    expect(said).toContain("Type 'string' is not assignable to type 'number'");
  });

  it('bring a configuration that the gateway takes', () => {
    const text = manifests.find(({ kind }) => kind === 'ConfigMap')?.data?.['wardgate.yaml'] ?? '';
    expect(parseConfig(text, 'wardgate.yaml')).toMatchObject({ kind: 'ok' });
  });
});
