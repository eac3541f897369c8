import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseConfig } from '../src/config/load.ts';
import { buildRenderer, goInstalled, install, type Installation, type Release } from './support/helm/chart.ts';
import { compiled, manifestsOf, type Manifest } from './support/kubernetes.ts';

const root = join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const hospital = read('deploy/helm/hospital.yaml');
const [everything, least] = ['everything', 'least'].map((name) => read(`test/support/helm/${name}.yaml`)) as [string, string];
if (!goInstalled) console.log('skipped: helm.test.ts needs go, golang-github-masterminds-sprig-dev and golang-k8s-sigs-yaml-dev');

/** A pod, as far as it is looked into here. */
interface Pod {
  readonly volumes: readonly { readonly name: string }[];
  readonly containers: readonly {
    readonly image: string;
    readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
    readonly resources: object;
    readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string; readonly subPath?: string }[];
  }[];
}

interface StatefulSet {
  readonly replicas?: number;
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly template: { readonly metadata: { readonly labels: Readonly<Record<string, string>>; readonly annotations?: Readonly<Record<string, string>> }; readonly spec: Pod };
}

const of = (manifests: readonly Manifest[], kind: string, name?: string): Manifest | undefined => manifests.find((one) => one.kind === kind && (name === undefined || one.metadata.name === name));
const setOf = (manifests: readonly Manifest[]): StatefulSet => of(manifests, 'StatefulSet')?.spec as StatefulSet;
const byName = (manifests: readonly Manifest[]): Readonly<Record<string, Manifest>> => Object.fromEntries(manifests.map((one) => [`${one.kind} ${one.metadata.name}`, one]));

/** Without what Helm alone adds, and with the configuration as what it says and not how it is written. */
function plain(manifest: Manifest): Manifest {
  const text = JSON.stringify(manifest, (key, value: unknown) => {
    if (['helm.sh/chart', 'app.kubernetes.io/instance', 'app.kubernetes.io/version', 'app.kubernetes.io/managed-by', 'checksum/configuration'].includes(key)) return undefined;
    if (key === 'wardgate.yaml') return parse(value as string) as unknown;
    return key === 'annotations' && Object.keys(value as object).join() === 'checksum/configuration' ? undefined : value;
  });
  return JSON.parse(text) as Manifest;
}

/** Values laid over the hospital's, and what the schema says of them. */
const WRONG: readonly (readonly [name: string, values: string, message: string])[] = [
  ['a value that there is not', 'replicas: 3', ': must NOT have additional properties {"additionalProperty":"replicas"}'],
  ['one that is misspelt further in', 'autoscaling: { minReplica: 3 }', 'autoscaling: must NOT have additional properties {"additionalProperty":"minReplica"}'],
  ['text for a number', 'replicaCount: "two"', 'replicaCount: must be integer'],
  ['no gateway at all', 'replicaCount: 0', 'replicaCount: must be >= 1'],
  ['a tag that YAML took for a number', 'image: { tag: 1.10 }', 'image.tag: must be string'],
  ['a digest of another kind', 'image: { digest: "sha1:00" }', 'image.digest: must match pattern'],
  ['a service that is none', 'service: { type: loadbalancer }', 'service.type: must be equal to one of the allowed values'],
  ['an annotation that YAML took for true', 'service: { annotations: { proxy: true } }', 'service.annotations.proxy: must be string'],
  ['a name that no port has', 'ports: [{ name: HTTPS, port: 8443, servicePort: 443 }]', 'ports.0.name: must match pattern'],
  ['a port that wants rights of root', 'ports: [{ name: https, port: 443, servicePort: 443 }]', 'ports.0.port: must be >= 1024'],
  ['the port of metrics for clients', 'ports: [{ name: https, port: 9100, servicePort: 443 }]', 'ports.0.port: must NOT be valid'],
  ['a part of the configuration that there is not', 'config: { rotues: [] }', 'config: property name must be valid {"propertyName":"rotues"}'],
  ['a state outside of the volume', 'config: { state: /tmp }', 'config.state: must be equal to constant'],
  ['metrics where no probe reaches them', 'config: { metrics: { address: "127.0.0.1:9100" } }', 'config.metrics.address: must match pattern'],
  ['a listener within the pod alone', 'config: { listeners: [{ name: a, address: "127.0.0.1:8443" }] }', 'config.listeners.0.address: must match pattern'],
  ['the off of YAML 1.1', 'config: { revocation: { check: off } }', 'config.revocation.check: must be string'],
  ['a key that is none', 'tls: { key: "hunter2" }', 'tls.key: must match pattern'],
  ['a certificate from nowhere', 'tls: { certManager: { enabled: "yes" } }', 'tls.certManager.enabled: must be boolean'],
  ['a duration of days', 'tls: { certManager: { duration: 90d } }', 'tls.certManager.duration: must match pattern'],
  ['a volume of no unit', 'persistence: { size: 20 }', 'persistence.size: must be string'],
  ['a file outside of its folder', 'trust: { files: { "../ca.pem": x } }', 'trust.files: property name must be valid {"propertyName":"../ca.pem"}'],
  ['a label by which Services find others', 'podLabels: { app.kubernetes.io/name: other }', 'podLabels: property name must be valid'],
  ['a name with another object in it', 'fullnameOverride: "a\\nkind: Secret"', 'fullnameOverride: must match pattern'],
  ['a table turned into text', 'persistence: 20Gi', 'persistence: must be object'],
  ['a part taken away that the chart cannot do without', 'tls: null', ': must have required property \'tls\''],
];

/** Values that are well formed, each by itself, and what the chart says of them together. */
const UNFIT: readonly (readonly [name: string, values: readonly string[], message: string])[] = [
  ['no configuration', [], 'config.listeners: the gateway has no configuration yet'],
  ['two configurations', [hospital, 'existingConfigMap: other'], 'existingConfigMap: the configuration is in `config` as well'],
  ['a listener whose port nobody reaches', [hospital, 'ports: [{ name: https, port: 8444, servicePort: 443 }]'], 'config.listeners: "clinical" listens on port 8443, which is not among ports'],
  ['several gateways without a store', [hospital.replace(/^  store: .*\n/m, '')], 'config.store.redis: two gateways or more need a store'],
  ['two certificates', [hospital, 'tls: { existingSecret: other }'], 'tls: one of existingSecret, certificate with key, and certManager.enabled'],
  ['a certificate without its key', [hospital, 'tls: { certificate: "-----BEGIN CERTIFICATE-----", certManager: { enabled: false } }'], 'tls.key: a certificate and its key come together'],
  ['cert-manager without an issuer', [hospital, 'tls: { certManager: { dnsNames: [] } }'], 'tls.certManager: issuerRef.name and dnsNames'],
  ['no CAs', [hospital, 'trust: { existingConfigMap: "" }'], 'trust: one of existingConfigMap and files'],
  ['secrets from two places', [hospital, 'secrets: { values: { redis: x } }'], 'secrets: one of existingSecret and values'],
  ['less at most than at least', [hospital, 'autoscaling: { maxReplicas: 1 }'], 'autoscaling.maxReplicas: less than minReplicas'],
  ['a budget that lets no node be emptied', [hospital, 'disruptionBudget: { minAvailable: 2 }'], 'disruptionBudget.minAvailable: of 2 gateways none could ever be moved'],
  ['an end that comes before the last records', [hospital, 'preStopSeconds: 30'], 'terminationGracePeriodSeconds: at least preStopSeconds and 20 s more'],
];

describe.skipIf(!goInstalled)('the Helm chart', () => {
  let folder: string;
  let renderer: string;
  let ours: readonly Manifest[];
  let whole: readonly Manifest[];
  let small: readonly Manifest[];
  let long: readonly Manifest[];
  let notes: readonly string[];
  const refused = new Map<string, Installation>();

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'wardgate-helm-'));
    renderer = buildRenderer(folder);
    const made = install(renderer, [{ values: [hospital] }, { values: [everything] }, { values: [least], name: 'gate', namespace: 'default' }, { values: [hospital], name: 'g'.repeat(53) }]);
    const rendered = made.map((one) => {
      if (one.kind === 'refused') throw new Error(one.message);
      return one;
    });
    [ours = [], whole = [], small = [], long = []] = rendered.map(({ manifests }) => manifests);
    notes = rendered.map(({ notes: text }) => text);
    const cases = [...WRONG.map(([name, values]) => [name, [hospital, values]] as const), ...UNFIT.map(([name, values]) => [name, values] as const)];
    const answers = install(renderer, cases.map(([, values]) => ({ values })));
    cases.forEach(([name], index) => refused.set(name, answers[index] as Installation));
  }, 60_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const made = (...releases: readonly Release[]): readonly Installation[] => install(renderer, releases);
  /** The values of the hospital, with others over them. */
  const changed = (values: string): Release => ({ values: [hospital, values] });

  it('with the values of its example is what deploy/kubernetes has', () => {
    const applied = ['wardgate.yaml', 'cert-manager.yaml'].flatMap((name) => manifestsOf(read(`deploy/kubernetes/${name}`)));
    expect(Object.keys(byName(ours)).sort()).toEqual(Object.keys(byName(applied)).sort());
    for (const [name, manifest] of Object.entries(byName(ours))) expect(plain(manifest), name).toEqual(plain(byName(applied)[name] as Manifest));
  });

  it('makes what Kubernetes, cert-manager and the operator of Prometheus know, field by field, whatever is on or off', () => {
    expect(compiled([...ours, ...whole, ...small, ...long])).toBe('');
    expect([whole.length, small.length]).toEqual([14, 3]);
  });

  it('gives names and labels that Kubernetes takes, and a name to one object of a kind', () => {
    for (const manifests of [ours, whole, small, long]) {
      expect(Object.keys(byName(manifests))).toHaveLength(manifests.length);
      expect(manifests.flatMap(({ metadata }) => [metadata.name, ...Object.values(metadata.labels ?? {})]).filter((name) => !/^[a-zA-Z0-9](?:[-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$/.test(name))).toEqual([]);
      // The label by which its pods know their revision has eleven characters more.
      expect(of(manifests, 'StatefulSet')?.metadata.name.length).toBeLessThanOrEqual(52);
    }
    expect(new Set(small.map(({ metadata }) => metadata.namespace))).toEqual(new Set(['default']));
  });

  it('makes Services, budget and policies that mean its own pods, and ports that these have', () => {
    for (const manifests of [ours, whole, small]) {
      const { selector, template } = setOf(manifests);
      expect(template.metadata.labels).toMatchObject(selector.matchLabels);
      const ports = template.spec.containers[0]?.ports.map(({ name }) => name) ?? [];
      for (const { kind, spec } of manifests) {
        const said = spec as { readonly selector?: { readonly matchLabels?: object }; readonly podSelector?: { readonly matchLabels: object }; readonly ports?: readonly { readonly targetPort: string }[]; readonly ingress?: readonly { readonly ports: readonly { readonly port: string }[] }[] };
        const meant = kind === 'Service' ? said.selector : said?.selector?.matchLabels ?? said?.podSelector?.matchLabels;
        if (meant !== undefined) expect(meant, kind).toEqual(selector.matchLabels);
        const named = [...kind === 'Service' ? said.ports ?? [] : []].map(({ targetPort }) => targetPort).concat((said?.ingress ?? []).flatMap((rule) => rule.ports.map(({ port }) => port)));
        expect(named.filter((port) => !ports.includes(port))).toEqual([]);
      }
    }
  });

  it('mounts folders alone, each from a volume that there is: single files would never change in a running pod', () => {
    for (const manifests of [ours, whole, small]) {
      const { volumes, containers } = setOf(manifests).template.spec;
      const mounts = containers[0]?.volumeMounts ?? [];
      expect(mounts.filter(({ subPath }) => subPath !== undefined)).toEqual([]);
      expect(mounts.map(({ name }) => name).sort()).toEqual([...volumes.map(({ name }) => name), 'state'].sort());
    }
  });

  it('brings configurations that the gateway takes', () => {
    for (const manifests of [ours, whole]) expect(parseConfig(of(manifests, 'ConfigMap', setName(manifests))?.data?.['wardgate.yaml'] ?? '', 'wardgate.yaml')).toMatchObject({ kind: 'ok' });
    expect(of(small, 'ConfigMap')).toBeUndefined();
  });

  const setName = (manifests: readonly Manifest[]): string => of(manifests, 'StatefulSet')?.metadata.name ?? '';

  it('leaves the number of gateways to the autoscaler, and has its own where there is none', () => {
    expect(setOf(ours).replicas).toBeUndefined();
    expect(setOf(small).replicas).toBe(1);
  });

  it('names an image by its digest where one is given, and takes a default away that is set to null', () => {
    expect(setOf(whole).template.spec.containers[0]?.image).toMatch(/^images\.hospital\.test\/wardgate@sha256:[0-9a-f]{64}$/);
    expect(setOf(small).template.spec.containers[0]?.resources).toEqual({ requests: { cpu: '1', memory: '512Mi' } });
  });

  it('replaces gateways for a changed configuration and for nothing else, and not where that is not wanted', () => {
    const sums = made(changed('config: { threads: 3 }'), changed('service: { annotations: { a: b } }'), changed('restartOnConfigChange: false')).map((one) => (one.kind === 'rendered' ? setOf(one.manifests).template.metadata.annotations?.['checksum/configuration'] : one.message));
    const sum = setOf(ours).template.metadata.annotations?.['checksum/configuration'];
    expect(sum).toMatch(/^[0-9a-f]{64}$/);
    expect(sums).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/), sum, undefined]);
    expect(sums[0]).not.toBe(sum);
  });

  it('lets nobody read metrics where nobody is named, and nobody else connect where clients are', () => {
    const { ingress } = plain(of(whole, 'NetworkPolicy') as Manifest).spec as { ingress: unknown };
    expect(ingress).toEqual([{ ports: [{ port: 'https' }, { port: 'dicom' }], from: [{ ipBlock: { cidr: '10.1.0.0/16' } }] }]);
  });

  it('lets nobody who took a gateway over ask the cloud for the credentials of the machine', () => {
    const { egress } = plain(of(ours, 'NetworkPolicy') as Manifest).spec as { egress: readonly { readonly to?: readonly { readonly ipBlock?: { readonly except?: readonly string[] } }[]; readonly ports: readonly { readonly port: number }[] }[] };
    const open = egress.filter(({ ports }) => ports.some(({ port }) => port !== 53)).filter(({ to }) => to === undefined || to.some(({ ipBlock }) => ipBlock !== undefined && ipBlock.except === undefined));
    expect([open, JSON.stringify(egress)]).toEqual([[], expect.stringContaining('"except":["169.254.0.0/16","168.63.129.16/32"]')]);
  });

  it('puts keys and passwords that are given into Secrets and nowhere else, and says who reads them all the same', () => {
    const holding = (text: string): readonly string[] => whole.filter((one) => JSON.stringify(one).includes(text)).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect([holding('given-key'), holding('given: #password')]).toEqual([['Secret clinic-gate-tls'], ['Secret clinic-gate-secrets']]);
    expect(of(whole, 'Secret', 'clinic-gate-secrets')).toMatchObject({ stringData: { redis: 'given: #password', tickets: '0123456789' } });
    expect(notes[1]).toContain("whoever may read Helm's record of the release reads them");
    expect(notes[0]).not.toContain("Helm's record");
  });

  it('brings the alert rules and the dashboard of deploy/ as they are, and scrapes under the name that these know', () => {
    expect(of(whole, 'PrometheusRule')?.spec).toEqual(parse(read('deploy/prometheus/wardgate.rules.yaml')));
    expect(JSON.parse(of(whole, 'ConfigMap', 'clinic-gate-dashboard')?.data?.['wardgate.json'] ?? '')).toEqual(JSON.parse(read('deploy/grafana/wardgate.json')));
    expect(of(whole, 'PodMonitor')?.spec).toMatchObject({ podMetricsEndpoints: [{ port: 'metrics', relabelings: [{ targetLabel: 'job', replacement: 'wardgate' }] }] });
    expect(read('deploy/prometheus/wardgate.rules.yaml')).toContain('job="wardgate"');
  });

  it.each(WRONG)('is refused by its schema, which names the value: %s', (name, _, message) => {
    expect(refused.get(name)).toMatchObject({ kind: 'refused', by: 'schema', message: expect.stringContaining(message) as unknown });
  });

  it.each(UNFIT)('ends an installation with what does not fit together: %s', (name, _, message) => {
    expect(refused.get(name)).toMatchObject({ kind: 'refused', by: 'template', message: expect.stringContaining(message) as unknown });
  });

  it('tells whoever installed it where to look, and of a network that lets the gateway call nobody', () => {
    expect(notes[0]).toContain('kubectl -n wardgate rollout status statefulset/wardgate');
    const [closed] = made(changed('networkPolicy: { egress: [] }'));
    expect(closed?.kind === 'rendered' && closed.notes).toContain('reach DNS, CRLs and OCSP, and neither upstreams nor the store');
    expect(notes[2]).toContain('ConfigMap our-gateway');
  });
});

it('the chart is of the version of the gateway, and knows each part of its configuration', () => {
  const { version } = JSON.parse(read('package.json')) as { readonly version: string };
  expect(parse(read('deploy/helm/wardgate/Chart.yaml'))).toMatchObject({ apiVersion: 'v2', name: 'wardgate', appVersion: version, kubeVersion: '>=1.25.0-0' });
  const { properties } = JSON.parse(read('deploy/helm/wardgate/values.schema.json')) as { readonly properties: { readonly config: { readonly propertyNames: { readonly enum: readonly string[] } } } };
  expect(properties.config.propertyNames.enum).toEqual(Object.keys((JSON.parse(read('config/wardgate.schema.json')) as { readonly properties: object }).properties));
});

it('each value of the chart has its place in the schema, and each place there its value', () => {
  const { properties } = JSON.parse(read('deploy/helm/wardgate/values.schema.json')) as { readonly properties: Readonly<Record<string, object>> };
  expect([...Object.keys(parse(read('deploy/helm/wardgate/values.yaml')) as object), 'global'].sort()).toEqual(Object.keys(properties).sort());
});
