import { describe, expect, it } from 'vitest';
import { formatAddress, networkFault, parseAddress, parseEndpoint, parseHost } from '../src/config/addresses.ts';
import { closest } from '../src/config/closest.ts';
import { idTemplateFault, isOid, NAME_ATTRIBUTES, parseDuration, parseRate, parseSize, pathPatternFault } from '../src/config/values.ts';
import { parseNameText } from '../src/pki/name.ts';

describe('durations', () => {
  it.each([['500ms', 500], ['30s', 30_000], ['10m', 600_000], ['12h', 43_200_000], ['7d', 604_800_000], ['0s', 0]])('reads %s as %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(['', '30', 's', '1.5h', '-1s', '1 h', '1H', '1w', '1h30m', '1e3s', '٣s', '10000000000s'])('refuses %j', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
});

describe('sizes', () => {
  it.each([['512B', 512], ['64KiB', 65_536], ['1MiB', 1_048_576], ['2GiB', 2_147_483_648]])('reads %s as %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', '64', '64K', '64kB', '64kib', '1.5MiB', '-1MiB', '999999999999GiB'])('refuses %j', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });
});

describe('rates', () => {
  it('reads a number of requests and its window', () => {
    expect(parseRate('10/minute')).toEqual({ text: '10/minute', requests: 10, window: 60_000 });
    expect(parseRate('200/day')).toEqual({ text: '200/day', requests: 200, window: 86_400_000 });
  });

  it.each(['0/minute', '10', '10/min', '10 / minute', '/hour', '1.5/hour'])('refuses %j', (text) => {
    expect(parseRate(text)).toBeUndefined();
  });
});

describe('addresses', () => {
  it.each([
    ['127.0.0.1:8443', '127.0.0.1', 8443], ['[::]:8443', '::', 8443], ['[::ffff:10.0.0.1]:0', '::ffff:10.0.0.1', 0], ['LOCALHOST:1', 'localhost', 1],
  ])('reads %s', (text, host, port) => {
    expect(parseAddress(text)).toEqual({ text, host, port });
    expect(formatAddress({ host, port })).toBe(text.toLowerCase());
  });

  it.each(['8443', ':8443', '127.0.0.1', '::1:8443', '[::1]', '[::g]:1', '127.0.0.1:65536', '127.1:80', '0127.0.0.1:80', '1.2.3.4.5:80', 'a b:80', '*:80', 'http://a:80'])('refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });
});

describe('endpoints', () => {
  it('takes the port of https when none is written', () => {
    expect(parseEndpoint('https://records.internal')).toEqual({ text: 'https://records.internal', protocol: 'https', host: 'records.internal', port: 443 });
    expect(parseEndpoint('https://[::1]:9443/')).toMatchObject({ host: '::1', port: 9443 });
    expect(parseEndpoint('tls://pacs:2762')).toMatchObject({ protocol: 'tls', port: 2762 });
  });

  it.each(['http://a:80', 'HTTPS://a', 'https://a/b', 'https://a?x', 'https://a#x', 'https://u:p@a', 'https://a:0', 'https://a:99999', 'https://', 'tls://a', 'https://a\nb'])('refuses %j', (text) => {
    expect(parseEndpoint(text)).toBeUndefined();
  });
});

describe('host names', () => {
  it('are compared in lower case', () => {
    expect(parseHost('API.Hospital.test')).toBe('api.hospital.test');
  });

  it('have a wildcard only as the whole first label, and only where that is allowed', () => {
    expect(parseHost('*.hospital.test', true)).toBe('*.hospital.test');
    expect(parseHost('*.hospital.test')).toBeUndefined();
    for (const text of ['*', 'a.*.test', '*a.test', '*.*.test', '**.test']) expect(parseHost(text, true)).toBeUndefined();
  });

  it.each(['', 'a..b', '.a', 'a.', 'a:80', 'a/b', '10.0.0.256', '1.2', '[::1]', 'krankenhäuser.test', 'a b', `${'a'.repeat(64)}.test`])('refuse %j', (text) => {
    expect(parseHost(text, true)).toBeUndefined();
  });
});

describe('networks', () => {
  it.each(['10.0.0.0/8', '10.1.2.3', '10.1.2.3/32', '0.0.0.0/0', '::/0', '2001:db8::/32', 'fe80::1', '64:ff9b::10.0.0.0/120', '1:2:3:4:5:6:7:8/128'])('accept %s', (text) => {
    expect(networkFault(text)).toBeUndefined();
  });

  it.each(['10.0.0.1/8', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0/8', '2001:db8::1/64', '::/129', 'fe80::1%eth0', '::ffff:10.0.0.0/104', '10.0.0.0/+8', 'all', ''])('refuse %j', (text) => {
    expect(networkFault(text)).toMatch(/^expected /);
  });
});

describe('object identifiers', () => {
  it.each(['1.3.6.1.4.1.99999.1', '2.5.29.32.0', '2.999', '0.9.2342.19200300.100.1.1', '1.39'])('accept %s', (text) => {
    expect(isOid(text)).toBe(true);
  });

  it.each(['', '1', '3.1', '1.40', '0.40.1', '1.3.', '.1.3', '1..3', '1.03', '1.3.-6', 'oid.1.3', 'clientAuth'])('refuse %j', (text) => {
    expect(isOid(text)).toBe(false);
  });
});

describe('path patterns', () => {
  it.each(['/', '/*', '/a', '/a/', '/a/*', '/a/:id', '/:a/:b/c', '/a.b/..c/...', "/~_-!$&'()+,=:@x", '/病历/:id'])('accept %s', (text) => {
    expect(pathPatternFault(text)).toBeUndefined();
  });

  it.each(['', 'a', '*', '//', '/a//b', '/a/..', '/./a', '/a/../b', '/%2e%2e/a', '/a?b', '/a#b', '/a\\b', '/a;b', '/a\nb', '/a*', '/*/a', '/:', '/:1', '/:a-b', '/:a/:a'])('refuse %j', (text) => {
    expect(pathPatternFault(text)).toMatch(/^expected /);
  });
});

describe('id templates', () => {
  it.each(['{subject.CN}', 'kiosk-{san.dns}', '{issuer.O}/{serial}', '{san.other.1.3.6.1.4.1.311.20.2.3}', '{subject.2.5.4.3}', '{fingerprint}', '{san.upn}{san.uri}{san.email}{san.ip}'])('accept %s', (text) => {
    expect(idTemplateFault(text)).toBeUndefined();
  });

  it.each(['', 'doctor', '{}', '{subject}', '{subject.cn}', '{subject.CN', 'subject.CN}', '{{subject.CN}}', '{san.dnsname}', '{san.other.x}', '{role}', '{__proto__}'])('refuse %j', (text) => {
    expect(idTemplateFault(text)).toMatch(/^expected /);
  });
});

describe('name attributes', () => {
  it.each([...NAME_ATTRIBUTES])('%s is what a parsed certificate calls it', (attribute) => {
    expect(parseNameText(`${attribute}=x`).rdns.flat().map(({ type }) => type)).toEqual([attribute]);
  });
});

describe('the key that was meant', () => {
  it.each([['adress', 'address'], ['upsteam', 'upstream'], ['client-auth', 'client_auth'], ['Routes', 'routes'], ['lisetners', 'listeners'], ['crls', 'crl']])('%s is %s', (typed, meant) => {
    expect(closest(typed, ['address', 'upstream', 'client_auth', 'routes', 'listeners', 'crl'])).toBe(meant);
  });

  it('is not guessed from afar', () => {
    expect(closest('passphrase', ['certificate', 'key'])).toBeUndefined();
    expect(closest('x'.repeat(100_000), ['certificate'])).toBeUndefined();
  });
});
