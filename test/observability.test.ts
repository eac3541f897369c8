import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { dashboard, dashboardText } from '../scripts/dashboard.ts';
import { createProcessMetrics, createThreadMetrics } from '../src/admin/metrics.ts';

const DEPLOY = join(import.meta.dirname, '../deploy');
const RULES = join(DEPLOY, 'prometheus/wardgate.rules.yaml');
const promtool = spawnSync('promtool', ['--version']).error === undefined;
if (!promtool) console.log('skipped: part of observability.test.ts needs promtool (prometheus)');

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<string, string>>;
}

const rules = (parse(readFileSync(RULES, 'utf8')) as { readonly groups: readonly { readonly rules: readonly Rule[] }[] }).groups.flatMap((group) => group.rules);
const panels = dashboard().panels ?? [];
const drawn = panels.flatMap((panel) => (panel.type === 'row' ? [] : (panel as { targets?: readonly { readonly expr?: unknown }[] }).targets ?? []).map(({ expr }) => String(expr)));

/** The labels that each metric has of its own, by its name. */
function knownMetrics(): ReadonlyMap<string, readonly string[]> {
  const registries = [createProcessMetrics().registry, createThreadMetrics().registry];
  const metrics = registries.flatMap((registry) => registry.getMetricsAsArray()) as unknown as { readonly name: string; readonly labelNames?: readonly string[] }[];
  return new Map(metrics.map(({ name, labelNames }) => [name, labelNames ?? (name === 'wardgate_request_duration_seconds' ? ['route'] : [])]));
}

const KNOWN = knownMetrics();

/** What an expression asks for that there is not. */
function unknownIn(expr: string): readonly string[] {
  const used = [...expr.matchAll(/(wardgate_[a-z_]+?)(_bucket|_sum|_count)?(?:\{([^}]*)\}|(?=[^a-z_{]|$))/g)];
  const labels = new Set(['instance', 'job', 'le']);
  const faults: string[] = [];
  for (const [, name = '', , selector = ''] of used) {
    const own = KNOWN.get(name);
    if (own === undefined) faults.push(`no metric ${name}`);
    for (const label of own ?? []) labels.add(label);
    for (const [, label = ''] of selector.matchAll(/([a-z_]+)\s*(?:=~|!=|!~|=)/g)) if (!labels.has(label)) faults.push(`${name} has no label ${label}`);
  }
  for (const [, list = ''] of expr.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g)) {
    for (const label of list.split(',').map((one) => one.trim())) if (label !== '' && !labels.has(label)) faults.push(`no label ${label} to gather by`);
  }
  return used.length === 0 && !expr.startsWith('up{') ? ['asks for no metric of ours'] : faults;
}

it('knows a metric or label that does not exist when it sees one', () => {
  expect(unknownIn('sum by (rout) (rate(wardgate_requests_total{stat="5"}[5m])) / wardgate_threads')).toEqual(['wardgate_requests_total has no label stat', 'no metric wardgate_threads', 'no label rout to gather by']);
});

describe('alert rules', () => {
  it.each(rules.map((rule) => [rule.alert, rule] as const))('%s asks for metrics that exist, and says what to do', (_, { expr, labels, annotations }) => {
    expect(unknownIn(expr)).toEqual([]);
    expect([Object.keys(annotations), ['warning', 'critical'].includes(labels.severity)]).toEqual([['summary', 'do'], true]);
  });

  it.skipIf(!promtool)('are taken by Prometheus, and fire when they should', () => {
    expect(execFileSync('promtool', ['check', 'rules', RULES], { encoding: 'utf8' })).toContain('SUCCESS');
    expect(execFileSync('promtool', ['test', 'rules', join(DEPLOY, 'prometheus/wardgate.rules.test.yaml')], { encoding: 'utf8' })).toContain('SUCCESS');
  });
});

describe('the dashboard', () => {
  it('is what the script makes', () => {
    expect(readFileSync(join(DEPLOY, 'grafana/wardgate.json'), 'utf8')).toBe(dashboardText());
  });

  it('asks for metrics that exist', () => {
    expect(drawn.length).toBeGreaterThan(40);
    expect(drawn.flatMap((expr) => unknownIn(expr).map((fault) => `${expr}: ${fault}`))).toEqual([]);
  });

  it('shows every metric of the gateway, or the alert rules do', () => {
    const shown = [...drawn, ...rules.map(({ expr }) => expr)].join('\n');
    const missing = [...KNOWN.keys()].filter((name) => name.startsWith('wardgate_') && !new RegExp(`${name}(_bucket)?\\b`).test(shown));
    expect(missing).toEqual([]);
  });

  it('has no two panels in one place, and none beyond its edge', () => {
    const taken = new Set<string>();
    for (const { gridPos } of panels) {
      const { x, y, w, h } = gridPos ?? { x: 0, y: 0, w: 0, h: 0 };
      expect(x + w).toBeLessThanOrEqual(24);
      for (let column = x; column < x + w; column++) for (let line = y; line < y + h; line++) {
        expect(taken.has(`${column} ${line}`)).toBe(false);
        taken.add(`${column} ${line}`);
      }
    }
  });

  it.skipIf(!promtool)('asks in a language that Prometheus reads', () => {
    // promtool reads expressions as rules.
    const rules = drawn.map((expr, index) => ({ record: `drawn:${index}`, expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*') }));
    const directory = mkdtempSync(join(tmpdir(), 'wardgate-rules-'));
    writeFileSync(join(directory, 'drawn.yaml'), JSON.stringify({ groups: [{ name: 'drawn', rules }] }));
    expect(execFileSync('promtool', ['check', 'rules', join(directory, 'drawn.yaml')], { encoding: 'utf8' })).toContain(`${drawn.length} rules found`);
    rmSync(directory, { recursive: true });
  });
});
