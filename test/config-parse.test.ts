import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { UNCHANGEABLE, unchangeable } from '../src/config/unchangeable.ts';
import { configJsonSchemaText } from '../src/config/json-schema.ts';
import { formatIssue, parseConfig } from '../src/config/load.ts';
import type { Config } from '../src/config/schema.ts';

const example = readFileSync(new URL('../config/wardgate.example.yaml', import.meta.url), 'utf8');
const minimal = `
listeners:
  - name: clinical
    address: 127.0.0.1:8443
    tls: { certificates: [{ certificate: a.pem, key: a.key }] }
    client_auth: { trust: [ca.pem] }
`;

function parsed(text: string, cores?: number): Config {
  const result = parseConfig(text, 'wardgate.yaml', cores === undefined ? {} : { cores });
  if (result.kind === 'invalid') throw new Error(result.issues.map((issue) => formatIssue(issue)).join('\n'));
  return result.config;
}

function messages(text: string): readonly string[] {
  const result = parseConfig(text, 'f');
  return result.kind === 'ok' ? [] : result.issues.map((issue) => formatIssue(issue));
}

describe('what is not written', () => {
  it('gets the safe default', () => {
    expect(parsed(minimal)).toEqual({
      second_factor: { previous_key_files: [], session: { idle: 900_000, lifetime: 3_600_000 }, totp: { algorithm: 'sha1', issuer: 'Wardgate' }, webauthn: { timeout: 300_000, user_verification: 'required' } },
      state: './state',
      webhooks: {}, tokens: {},
      aliases: {},
      networks: { sites: {} },
      threads: 1,
      limits: { connections: 100_000, memory: { shed_above: { kind: 'share', share: 0.9 } }, rates: [] },
      listeners: [{
        name: 'clinical',
        address: { text: '127.0.0.1:8443', host: '127.0.0.1', port: 8443 },
        protocol: 'https',
        tls: { profile: 'bcp195', certificates: [{ certificate: 'a.pem', key: 'a.key' }], session_resumption: true, session_tickets: { rotate: 43_200_000 }, stapling: { every: 3_600_000, timeout: 5_000 } },
        client_auth: { mode: 'required', trust: ['ca.pem'], intermediates: [], names: {} },
        reject: 'respond',
        http1: { fast_path: true },
        hsts: { max_age: 31_536_000_000, include_subdomains: true, preload: true },
        limits: {
          connections: 10_000, handshake_time: 10_000, header_time: 10_000, request_time: 300_000, idle_time: 60_000, header_size: 16_384, header_fields: 100, pipelined_requests: 64,
          min_rate: { per_second: 256, grace: 60_000 },
        },
        http2: {
          enabled: true, streams: 100, resets: { text: '600/minute', requests: 600, window: 60_000 }, control: 16_384, window: 262_144, memory: 10_485_760,
          stall_time: 60_000, stream_idle_time: 3_600_000,
        },
      }],
      revocation: {
        check: 'chain', sources: ['crl', 'ocsp'], unavailable: 'deny', skew: 60_000,
        allow_local: false,
        crl: { files: [], urls: [], from_certificate: false, refresh: 600_000, timeout: 2_000, max_size: 67_108_864 },
        ocsp: { from_certificate: true, timeout: 2000, max_age: 600_000, method: 'POST' },
      },
      roles: [], inherits: {}, trust_domains: {}, routes: [], upstreams: {},
      audit: {
        directory: './state/audit', durability: 'write', failing: 'refuse', checkpoint: 30_000, rotate: { size: 268_435_456, daily: true }, compress: true, retention: 2_562 * 86_400_000, sinks: [],
        // Which names and segments are nobody's is for the tests of masking.
        masking: expect.objectContaining({ patients: 'hash', names: 'hash', identity_numbers: 'hash', text: 'hide', identifiers: [], plain_roles: [] }) as object,
      },
      admin: { socket: './state/admin.sock', roles: [] },
    });
  });

  it('has as many threads as the caller says the machine has cores', () => {
    expect(parsed(minimal, 8).threads).toBe(8);
    expect(parsed(`threads: 3\n${minimal}`, 8).threads).toBe(3);
  });

  it.each([['/var/lib/wardgate/', '/var/lib/wardgate/audit', '/var/lib/wardgate/admin.sock'], ['/', '/audit', '/admin.sock'], ['.', './audit', './admin.sock']])(
    'follows the state directory %s', (state, audit, socket) => {
      const config = parsed(`state: ${state}\n${minimal}`);
      expect([config.audit.directory, config.admin.socket]).toEqual([audit, socket]);
    });
});

describe('what is written', () => {
  it('becomes milliseconds, bytes, lists and parsed addresses', () => {
    const config = parsed(example);
    const route = (name: string) => config.routes.find((one) => one.name === name);
    expect(route('upload')?.limits.body).toBe(1_048_576);
    expect(route('check-in')?.unavailable).toEqual({ allow_for: 43_200_000 });
    expect(route('records')?.match).toEqual({ host: ['api.hospital.test'], path: '/records', methods: ['GET'] });
    expect(route('landing')?.match).toEqual({ path: '/public/*' });
    expect(config.limits.rates).toMatchObject([{ rate: [{ requests: 100, window: 60_000 }], count: 'denials' }]);
    expect(config.upstreams['records']?.endpoints).toEqual([{ text: 'https://127.0.0.1:9443', protocol: 'https', host: '127.0.0.1', port: 9443, weight: 1 }]);
    expect(config.upstreams['records']?.tls.trust).toEqual(['backend-ca.pem']);
    expect(config.roles[0]?.match).toEqual({ subject: { OU: ['Doctors'] }, issuer: { CN: ['Hospital Root'] } });
  });

  it('is lower case where host names are compared', () => {
    const text = minimal.replace('trust: [ca.pem]', 'trust: ca.pem, names: { Devices.Hospital.TEST: { trust: b.pem } }');
    const [listener] = parsed(text).listeners;
    expect(listener?.protocol === 'https' && Object.keys(listener.client_auth.names)).toEqual(['devices.hospital.test']);
  });

  it('may switch HSTS off', () => {
    const [listener] = parsed(`${minimal}    hsts: false\n`).listeners;
    expect(listener).toMatchObject({ hsts: false });
  });

  it('may be UTF-8 text of any language', () => {
    expect(parsed(`${minimal}roles: [{ role: doctor, match: { subject: { OU: 医生 } } }]`).roles[0]?.match.subject).toEqual({ OU: ['医生'] });
  });

  it('may begin with a byte order mark and have Windows line ends', () => {
    expect(parsed(`\ufeff${minimal.replaceAll('\n', '\r\n')}`).listeners).toHaveLength(1);
  });

  it('may be an upstream called like something every object has', () => {
    const upstream = 'upstreams: { constructor: { endpoints: [https://a], tls: { trust: a.pem } } }';
    const route = (name: string): string => `routes: [{ name: a, match: {}, allow: [public], upstream: ${name} }]`;
    expect(messages(`${minimal}${upstream}\n${route('constructor')}`)).toEqual([]);
    expect(messages(`${minimal}${upstream}\n${route('toString')}`)).toEqual(['f:8:59: routes[0].upstream: no upstream named "toString"; known: constructor']);
  });
});

describe('what is not text', () => {
  it('is refused at its first control character', () => {
    expect(messages('state: a\nlisteners: \u0000[]')).toEqual(['f:2:12: configuration: expected YAML text; the file holds the control character U+0000']);
  });

  it('is refused when it is empty', () => {
    expect(messages('')).toEqual(['f:1:1: configuration: the file is empty']);
    expect(messages('---\n')).toEqual(['f:1:1: configuration: the file is empty']);
  });

  it('is refused above 1 MiB', () => {
    expect(messages(`# ${'x'.repeat(1024 * 1024)}`)).toEqual(['f:1:1: configuration: the file is larger than 1 MiB']);
  });

  it('is refused in a bounded time, however deep it nests', () => {
    expect(messages('['.repeat(20_000))).toEqual([expect.stringMatching(/^f:1:\d+: configuration: values are nested too deeply$/)]);
    expect(messages('- '.repeat(20_000))).toEqual([expect.stringMatching(/^f:1:\d+: configuration: values are nested/)]);
  });

  it('has its issues cut off, with a word about the rest', () => {
    const lines = messages(Array.from({ length: 1000 }, (_, index) => `key${index}: 1`).join('\n'));
    expect(lines).toHaveLength(200);
    expect(lines.at(-1)).toMatch(/configuration: and \d+ more issues$/);
  });
});

describe('an issue', () => {
  it('cannot steer the terminal it is printed on', () => {
    const lines = messages('"\\e[2J\\u202e": 1\nstate: ["\\e[2J"]\nlisteners: "\\u009b\\u2028\\ud800"');
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    expect(formatIssue({ file: 'a\n\u001b[2J', line: 1, column: 1, path: 'p', message: 'm' })).toBe('a\\u{a}\\u{1b}[2J:1:1: p: m');
  });

  it('quotes no more of a value than fits', () => {
    const [line] = messages(`state: a\nlisteners: ${'x'.repeat(5000)}`);
    expect(line?.length).toBeLessThan(200);
  });

  it.each([
    ['{ sources: [crl] }', 'revocation: no CRL file, no URL, no distribution point and no responder is configured: the status of every certificate is unknown, and every client with one is refused (unavailable: deny)'],
    ['{ sources: [ocsp], crl: { files: [a.crl] } }', 'only the responders that certificates name'],
    ['{}', 'revocation: only the responders that certificates name are asked: a certificate that names none is refused (unavailable: deny)'],
    ['{ crl: { files: [a.crl] } }', undefined],
    ['{ crl: { from_certificate: true } }', undefined],
    ['{ ocsp: { responder: "http://ocsp.test" } }', undefined],
    ['{ unavailable: allow }', undefined],
  ])('says of revocation: %s whether clients can get in at all', (revocation, expected) => {
    const result = parseConfig(`${minimal}\nrevocation: ${revocation}\nroles: [{ role: doctor, match: { subject: { OU: D } } }]\nroutes: [{ name: r, match: { path: /r }, allow: [doctor], upstream: u }]\nupstreams: { u: { endpoints: ["https://127.0.0.1:1"], tls: { trust: ca.pem } } }`, 'f');
    const found = (result.kind === 'ok' ? result.warnings : result.issues).map(({ path, message }) => `${path}: ${message}`).filter((text) => text.startsWith('revocation'));
    if (expected === undefined) expect(found).toEqual([]);
    else expect(found).toEqual([expect.stringContaining(expected) as string]);
  });

  it('never leaves a place out of the file, whatever the file holds', () => {
    const lines = example.split('\n');
    const mutation = fc.record({
      at: fc.nat(example.length), drop: fc.nat(30),
      insert: fc.oneof(fc.constantFrom(':', '- ', '{', ']', '\n', '\t', '*a ', '&a ', '"', '!x ', '? ', '|', '#', '~', '__proto__: 1\n'), fc.string({ maxLength: 5, unit: 'binary' })),
    });
    fc.assert(fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
      const text = mutations.reduce((before, { at, drop, insert }) => before.slice(0, at) + insert + before.slice(at + drop), example);
      const result = parseConfig(text, 'f');
      const issues = result.kind === 'ok' ? result.warnings : result.issues;
      if (result.kind === 'invalid') expect(issues.length).toBeGreaterThan(0);
      for (const issue of issues) {
        expect(issue.line).toBeGreaterThanOrEqual(1);
        expect(issue.line).toBeLessThanOrEqual(lines.length + 30);
        expect(issue.column).toBeGreaterThanOrEqual(1);
        expect(issue.message).not.toMatch(/expected something else|undefined|\[object/);
      }
    }), { numRuns: 500 });
  });
});

describe('what only a restart can change', () => {
  const before = parsed(minimal);

  it.each<[string, Config]>([
    ['audit.rotate.size', { ...before, audit: { ...before.audit, rotate: { ...before.audit.rotate, size: 1 } } }],
    ['audit.retention', { ...before, audit: { ...before.audit, retention: 1 } }],
    ['second_factor.previous_key_files', { ...before, second_factor: { ...before.second_factor, previous_key_files: ['old.key'] } }],
    ['admin.socket', { ...before, admin: { ...before.admin, socket: 'a.sock' } }],
    ['state', { ...before, state: 'elsewhere' }],
  ])('is named by its key: %s, and is in the list of the documentation', (key, after) => {
    expect(unchangeable(before, after)).toBe(key);
    expect(UNCHANGEABLE.some((listed) => key === listed || key.startsWith(`${listed}.`))).toBe(true);
  });

  it('is none of the sinks, nor what is the same', () => {
    expect(unchangeable(before, parsed(minimal))).toBeUndefined();
    expect(unchangeable(before, { ...before, audit: { ...before.audit, sinks: [{}] as unknown as Config['audit']['sinks'] } })).toBeUndefined();
  });

  it('is listed in docs/configuration.md, every key', () => {
    const text = readFileSync(join(import.meta.dirname, '../docs/configuration.md'), 'utf8');
    const [sentence = ''] = /^.*cannot change without a restart.*$/m.exec(text) ?? [];
    for (const key of UNCHANGEABLE) expect(sentence).toContain(`\`${key}\``);
  });
});

describe('the JSON Schema', () => {
  const file = readFileSync(new URL('../config/wardgate.schema.json', import.meta.url), 'utf8');

  it('is what the parser\'s own schema gives (node scripts/write-schema.ts writes it)', () => {
    expect(file).toBe(configJsonSchemaText());
  });

  it('accepts the example, and refuses unknown keys and wrong kinds of value as the parser does', () => {
    const schema = z.fromJSONSchema(JSON.parse(file));
    expect(schema.safeParse(parseYaml(example)).success).toBe(true);
    expect(schema.safeParse(parseYaml(`${minimal}routs: []`)).success).toBe(false);
    expect(schema.safeParse(parseYaml(minimal.replace('8443', 'https'))).success).toBe(false);
  });

  it('describes every key', () => {
    expect(undescribed(JSON.parse(file), '')).toEqual([]);
  });
});

function undescribed(node: unknown, path: string): string[] {
  if (typeof node !== 'object' || node === null) return [];
  const properties = Object.entries((node as { properties?: object }).properties ?? {});
  const bare = properties.filter(([, property]) => !(property as { description?: string }).description).map(([key]) => `${path}/${key}`);
  return [...bare, ...Object.entries(node).flatMap(([key, inner]) => undescribed(inner, `${path}/${key}`))];
}
