import { get } from 'node:https';
import { getCACertificates } from 'node:tls';
import { bad, doubt, good, unknown, type Finding } from './finding.ts';
import { within, type Credentials } from './probe.ts';

const LARGEST_PAGE = 2 * 1024 ** 2;
const MOST_PAGES = 50;
const LONGEST_LIST = 20;

interface Read {
  readonly status: number;
  readonly type: string;
  readonly policy: string;
  /** Where a redirect leads, as written. */
  readonly location: string | undefined;
  readonly text: string;
}

/** What a page loads over plain HTTP, as written in it: browsers block that, or warn of it. */
export function insecureParts(html: string): readonly string[] {
  const text = html.replace(/<!--[^]*?(?:-->|$)/g, '');
  const found = new Set<string>();
  // Links that are followed (a, area) load nothing; the link element loads by its rel.
  for (const [, element = '', attributes = ''] of text.matchAll(/<([a-z][a-z0-9-]*)\b((?:"[^"]*"|'[^']*'|[^<>"'])*)>/gi)) {
    const name = element.toLowerCase();
    if (name === 'a' || name === 'area' || (name === 'link' && !/\brel\s*=\s*["']?[^"'>]*\b(?:stylesheet|icon|preload|modulepreload|manifest|prefetch)\b/i.test(attributes))) continue;
    for (const [, attribute = '', double, single, bare] of attributes.matchAll(/\b([a-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))/gi)) {
      const value = asBrowsersRead(double ?? single ?? bare ?? '');
      if (LOADING.has(attribute.toLowerCase())) for (const part of attribute.toLowerCase() === 'srcset' ? value.split(',') : [value]) if (/^\s*http:\/\//i.test(part)) found.add(part.trim().split(/\s/)[0] as string);
    }
  }
  for (const url of insecureUrls(text)) found.add(url);
  return [...found];
}

/** A value with its numeric references, and without the line ends and tabs that URLs lose. */
function asBrowsersRead(value: string): string {
  return value.replace(/&#(?:x([0-9a-f]{1,6})|(\d{1,7}));?/gi, (whole, hex: string | undefined, decimal: string | undefined) => {
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  }).replace(/[\t\r\n]/g, '');
}

/** Whether browsers fetch over https what the page names over http: by its header, or as it says itself. */
function upgrades({ policy, text }: Read): boolean {
  return UPGRADE.test(policy) || [...text.matchAll(/<meta\b[^<>]*>/gi)].some(([meta]) => /http-equiv\s*=\s*["']?content-security-policy["'\s]/i.test(meta) && UPGRADE.test(meta));
}

const UPGRADE = /upgrade-insecure-requests/i;
const LOADING = new Set(['src', 'srcset', 'href', 'poster', 'data', 'action', 'formaction', 'background', 'xlink:href']);

/** The same of a style sheet. */
export function insecureInStyles(css: string): readonly string[] {
  return [...new Set(insecureUrls(css.replace(/\/\*[^]*?(?:\*\/|$)/g, '')))];
}

function insecureUrls(text: string): readonly string[] {
  return [...text.matchAll(/(?:url\(\s*["']?|@import\s+["'])(http:\/\/[^"')\s]+)/gi)].map(([, url = '']) => url);
}

/** Follows links from a page within its origin, and its style sheets, and tells which load parts over plain HTTP. */
export async function lookForMixedContent(start: string, credentials: Credentials): Promise<readonly Finding[]> {
  const about = `pages from ${start}`;
  const { origin } = new URL(start);
  const queue: { readonly url: string; /** Of a style sheet: whether the page that loads it has its browser ask over https. */ readonly cured?: boolean }[] = [{ url: start }];
  const seen = new Set([start]);
  const findings: Finding[] = [];
  let pages = 0;
  const follow = (link: string, one: { readonly cured?: boolean }): void => {
    const known = one.cured === undefined ? link : `${link} ${one.cured}`;
    if (!link.startsWith(`${origin}/`) || seen.has(known) || seen.size >= MOST_PAGES * 4) return;
    seen.add(known);
    queue.push({ url: link, ...one });
  };
  for (let next = queue.shift(); next !== undefined && pages < MOST_PAGES; next = queue.shift()) {
    const { url } = next;
    let page: Read;
    try {
      page = await within(read(url, credentials), url);
    } catch (error) {
      findings.push(url === start ? unknown(about, (error as Error).message, 'see whether name and port are right, and give --cert, --key and --trust of somebody who may see it') : doubt(url, (error as Error).message, 'a page that is linked but cannot be read'));
      continue;
    }
    const target = page.status >= 300 && page.status <= 399 && page.location !== undefined ? URL.parse(page.location, url)?.href : undefined;
    if (target !== undefined) {
      if (url === start && !target.startsWith(`${origin}/`)) return [unknown(about, `leads to ${target}`, 'name that page, if it is one of yours')];
      follow(target, next.cured === undefined ? {} : { cured: next.cured });
      continue;
    }
    if (url === start && (page.status < 200 || page.status > 299)) return [unknown(about, `is answered with ${page.status}`, 'give --cert and --key of somebody who may see it')];
    const sheet = page.type.includes('css');
    if (!page.type.includes('html') && !sheet) continue;
    if (!sheet) pages += 1;
    const parts = sheet ? insecureInStyles(page.text) : insecureParts(page.text);
    const cured = next.cured ?? upgrades(page);
    for (const part of parts.slice(0, LONGEST_LIST)) {
      findings.push(cured ? good(url, `loads ${part}, which browsers turn into https`) : bad(url, `loads ${part} over plain HTTP`, 'have the application name https, or set responses.upgrade_insecure_requests on its route'));
    }
    if (parts.length > LONGEST_LIST) findings.push(bad(url, `and ${parts.length - LONGEST_LIST} more`, 'as above'));
    for (const link of sheetsOf(page.text, url)) follow(link, { cured });
    if (!sheet) for (const link of linksOf(page.text, url)) follow(link, {});
  }
  return findings.length > 0 ? findings : [good(about, `${pages} pages load nothing over plain HTTP`)];
}

/** The style sheets that a page, or another of them, loads. */
function sheetsOf(text: string, base: string): readonly string[] {
  const linked = [...text.matchAll(/<link\b[^<>]*>/gi)].filter(([tag]) => /\brel\s*=\s*["']?[^"'>]*\bstylesheet\b/i.test(tag)).flatMap(([tag]) => [.../\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))/i.exec(tag)?.slice(1) ?? []]);
  const imported = [...text.matchAll(/@import\s+(?:url\(\s*)?(?:"([^"]*)"|'([^']*)'|([^\s"');]+))/gi)].flatMap((found) => found.slice(1));
  return [...linked, ...imported].flatMap((one) => (one === undefined ? [] : URL.parse(one, base)?.href ?? []));
}

function linksOf(text: string, base: string): readonly string[] {
  return [...text.matchAll(/<a\b[^<>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))/gi)].flatMap(([, double, single, bare]) => {
    const url = URL.parse(double ?? single ?? bare ?? '', base);
    if (url === null) return [];
    url.hash = '';
    return [url.href];
  });
}

function read(url: string, { trust, certificate, key }: Credentials): Promise<Read> {
  return new Promise((done, failed) => {
    const request = get(url, {
      ca: trust === undefined ? [...getCACertificates('default'), ...getCACertificates('system')] : trust, ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
      headers: { 'accept': 'text/html, text/css;q=0.9', 'user-agent': 'wardgate-diagnose' }, agent: false,
    }, (response) => {
      const parts: Buffer[] = [];
      let length = 0;
      response.on('data', (part: Buffer) => {
        length += part.length;
        if (length > LARGEST_PAGE) request.destroy(new Error(`larger than ${LARGEST_PAGE / 1024 ** 2} MiB`));
        else parts.push(part);
      });
      response.on('end', () => done({
        status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', policy: String(response.headers['content-security-policy'] ?? ''), location: response.headers.location, text: Buffer.concat(parts).toString('utf8'),
      }));
      response.on('error', failed);
    });
    request.on('error', failed);
  });
}
