import { expect } from 'vitest';
import type { TestPki } from '../support/pki.ts';
import { disagreements, readRequests, valuesOf, type Message } from './reading.ts';
import { PATIENCE, type AuditLine, type UpstreamConnection } from './stage.ts';

/** What the gateway alone may say to an upstream, by the name that CGI would give it. */
const RESERVED = /^(?:client-cert(?:-chain)?|x-client-.*|x-forwarded-.*|forwarded|x-real-ip|true-client-ip|x-cluster-client-ip|(?:x-)?ssl-.*|x-arr-clientcert|x-request-id|x-original-url|x-rewrite-url|x-(?:http-)?method(?:-override)?)$/;
const HOP_BY_HOP = /^(?:keep-alive|proxy-.*|te|trailer|upgrade|http2-settings|expect)$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Holds one request at the upstream to what the gateway promises: its own fields once, and no client's copy of them. */
function checkFieldsAtUpstream(message: Message, record: AuditLine, pki: TestPki): void {
  const [who, role] = record['role'] === 'doctor' ? [pki.doctor, 'doctor'] : [pki.patient, 'patient'];
  const expected: Record<string, string> = {
    'client-cert': `:${who.der.toString('base64')}:`, 'x-client-role': role, 'x-client-id': String(record['id']),
    'x-request-id': String(record['request_id']), 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'https', 'x-forwarded-host': valuesOf(message, 'host')[0] ?? '',
  };
  const upgrading = valuesOf(message, 'upgrade')[0] === 'websocket';
  const seen: Record<string, string> = {};
  for (const [name, value] of message.fields) {
    const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '-');
    expect(value, `${name} at the upstream`).not.toContain('forged');
    if (RESERVED.test(plain)) {
      expect(seen[plain], `${name} twice at the upstream`).toBeUndefined();
      seen[plain] = value;
    }
    if (plain === 'connection') expect(upgrading ? ['Upgrade'] : ['keep-alive', 'close']).toContain(value);
    else if (!(upgrading && plain === 'upgrade')) expect(plain, 'at the upstream').not.toMatch(HOP_BY_HOP);
  }
  expect(seen).toEqual(expected);
  expect(seen['x-request-id']).toMatch(UUID);
}

/** The connections to the upstream, each octet checked once. */
export class UpstreamOracle {
  readonly #checked = new WeakMap<UpstreamConnection, number>();
  readonly #ids = new Set<string>();
  readonly #pki: TestPki;

  constructor(pki: TestPki) {
    this.#pki = pki;
  }

  /**
   * Checks what has reached the upstream since the last time, and returns it: all readers, strict and lenient, see the same
   * requests, and each is the one of its own record. The beginning of one may only be there when its connection has been
   * ended; it is among them without a body.
   */
  async check(connections: readonly UpstreamConnection[], records: readonly AuditLine[]): Promise<readonly Message[]> {
    const reached: Message[] = [];
    for (const connection of connections) {
      const from = this.#checked.get(connection) ?? 0;
      const reading = readRequests(connection.text, from);
      expect(reading.rest === 'malformed' ? reading.detail : '').toBe('');
      expect(disagreements(connection.text, from, reading)).toEqual([]);
      for (const message of reading.messages) this.#match(message, records, ['permitted', 'failed']);
      reached.push(...reading.messages);
      if (reading.rest === 'beginning') {
        await expect.poll(() => connection.closed, { ...PATIENCE, message: 'a connection with half a request on it stays open' }).toBe(true);
        reached.push(this.#beginning(connection.text.slice(reading.messages.at(-1)?.end ?? from), records));
      }
      this.#checked.set(connection, reading.rest === 'beginning' ? connection.text.length : reading.messages.at(-1)?.end ?? from);
    }
    return reached;
  }

  #match(message: Message, records: readonly AuditLine[], results: readonly string[]): void {
    const [id = ''] = valuesOf(message, 'x-request-id');
    expect(this.#ids.has(id), `the request ${id} twice at the upstream`).toBe(false);
    this.#ids.add(id);
    const record = records.find((one) => one['request_id'] === id);
    expect(record, `a record of ${message.line}`).toBeDefined();
    const [method, target = ''] = message.line.split(' ');
    expect({ method: record?.['method'], path: record?.['path'] }).toEqual({ method, path: target.split('?')[0] });
    expect(results).toContain(record?.['result']);
    checkFieldsAtUpstream(message, record as AuditLine, this.#pki);
  }

  #beginning(text: string, records: readonly AuditLine[]): Message {
    const blank = text.indexOf('\r\n\r\n');
    expect(blank, 'half a head at the upstream').toBeGreaterThan(0);
    // Its head as that of a request without a body.
    const head = `${text.slice(0, blank).split('\r\n').filter((line) => !/^(?:transfer-encoding|content-length):/i.test(line)).join('\r\n')}\r\n\r\n`;
    const { messages: [message], detail } = readRequests(head);
    expect(message, detail).toBeDefined();
    this.#match(message as Message, records, ['failed', 'denied', 'permitted']);
    return message as Message;
  }
}
