import { parseCertificate, type Certificate } from '../pki/certificate.ts';
import type { FetchedIssuers } from '../revocation/issuer-fetch.ts';
import { printableUrl, refuseUrl } from '../revocation/named-urls.ts';

/** Where issuers may be fetched from for a certificate that has not validated. */
export interface IssuerHosts {
  /** `HOST` with the scheme's own port, or `HOST:PORT`, in lower case. */
  readonly from: readonly string[];
  readonly allowLocal: boolean;
}

/** A way up from a leaf by what certificates say of their issuers' whereabouts. */
export interface IssuerSearch {
  /** Whether there is anything left to ask. */
  hasMore(): boolean;
  /** Asks for the next issuers; resolves with all certificates known by then. Never rejects. */
  fetchMore(): Promise<readonly Certificate[]>;
  /** Why URLs gave nothing. */
  readonly failures: readonly string[];
}

/** How far up issuers are fetched: one names the next. */
const MOST_LEVELS = 2;
const MOST_URLS_A_LEVEL = 4;
const MOST_URLS_A_CERTIFICATE = 2;
const MOST_LINKS = 8;

/** Searches the issuers of a leaf beyond those that its peer has shown; a hostile leaf costs eight requests at most. */
export function searchIssuers(
  leaf: Certificate, shown: readonly Certificate[], hosts: IssuerHosts, fetch: (url: string) => Promise<FetchedIssuers>,
): IssuerSearch {
  const known = [...shown];
  const asked = new Set<string>();
  const failures: string[] = [];
  let levels = 0;

  function unasked(): readonly string[] {
    if (levels === MOST_LEVELS) return [];
    const urls = new Set(knownLinks(leaf, known).flatMap((link) => issuerUrls(link, hosts)));
    return [...urls].filter((url) => !asked.has(url)).slice(0, MOST_URLS_A_LEVEL);
  }

  async function ask(url: string): Promise<void> {
    asked.add(url);
    const fetched = await fetch(url);
    if (fetched.kind === 'found') known.push(...fetched.certificates.map(parseCertificate));
    else failures.push(`${url}: ${fetched.detail}`);
  }

  return {
    failures,
    hasMore: () => unasked().length > 0,
    async fetchMore() {
      const urls = unasked();
      levels += 1;
      await Promise.all(urls.map(ask));
      return known;
    },
  };
}

/**
 * The URLs of a certificate's issuer (authorityInfoAccess, caIssuers) that may be followed although nobody vouches for it: those on the
 * operator's hosts. Anything else would be fetching for a stranger.
 */
function issuerUrls({ caIssuers }: Certificate, { from, allowLocal }: IssuerHosts): readonly string[] {
  const allowed = caIssuers.filter((url) => printableUrl(url) === url && refuseUrl(url, allowLocal) === undefined && isListed(new URL(url), from));
  return allowed.slice(0, MOST_URLS_A_CERTIFICATE);
}

function isListed({ hostname, port, protocol }: URL, from: readonly string[]): boolean {
  if (port === '' && from.includes(hostname)) return true;
  return from.includes(`${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`);
}

/** A leaf and, by their names, the issuers above it as far as they are known. */
function knownLinks(leaf: Certificate, known: readonly Certificate[]): readonly Certificate[] {
  const links = [leaf];
  // Grows while it is walked.
  for (const link of links) {
    const above = known.filter((candidate) => candidate.subject.normalized === link.issuer.normalized && !links.includes(candidate));
    links.push(...above.slice(0, MOST_LINKS - links.length));
  }
  return links;
}
