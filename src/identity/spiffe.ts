import type { Certificate } from '../pki/certificate.ts';

/** What the SPIFFE-ID standard calls a workload's name: `spiffe://TRUST-DOMAIN/PATH`. */
export interface SpiffeId {
  readonly id: string;
  readonly trustDomain: string;
}

/** `none`: the certificate carries no such name. `invalid`: it carries one, and must not be believed in any part. */
export type SpiffeReading = { readonly kind: 'id'; readonly spiffe: SpiffeId } | { readonly kind: 'none' } | { readonly kind: 'invalid'; readonly detail: string };

// SPIFFE-ID section 2: 2048 octets in all, 255 for the trust domain.
const LONGEST_ID = 2048;
const LONGEST_DOMAIN = 255;
const DOMAIN = /^[a-z0-9._-]+$/;
const SEGMENT = /^[A-Za-z0-9._-]+$/;
const SCHEME = /^spiffe:/i;

/** Whether a URI claims to be a SPIFFE id, in whatever spelling. */
export function isSpiffeUri(uri: string): boolean {
  return SCHEME.test(uri);
}

/**
 * The SPIFFE id of a leaf (X509-SVID sections 2, 3.1 and 5.2): exactly one URI among its alternative names, which is the id, and no
 * right to issue. No query, fragment, port, user information or percent-encoding; a path without empty or dot segments.
 */
export function readSpiffeId({ subjectAltNames, basicConstraints, keyUsage }: Pick<Certificate, 'subjectAltNames' | 'basicConstraints' | 'keyUsage'>): SpiffeReading {
  const uris = subjectAltNames.flatMap((name) => (name.kind === 'uri' ? [name.value] : []));
  const id = uris.find(isSpiffeUri);
  if (id === undefined) return { kind: 'none' };
  if (uris.length > 1) return { kind: 'invalid', detail: 'a SPIFFE id beside another URI' };
  if (basicConstraints?.ca === true || keyUsage?.has('keyCertSign') === true || keyUsage?.has('cRLSign') === true) return { kind: 'invalid', detail: 'a SPIFFE id in a certificate that may issue' };
  const fault = spiffeFault(id);
  return fault === undefined ? { kind: 'id', spiffe: { id, trustDomain: trustDomainOf(id) } } : { kind: 'invalid', detail: fault };
}

/** What stands between `spiffe://` and the next slash. */
function trustDomainOf(id: string): string {
  return id.slice('spiffe://'.length).split('/', 1)[0] as string;
}

function spiffeFault(uri: string): string | undefined {
  if (uri.length > LONGEST_ID) return `a SPIFFE id of ${uri.length} octets`;
  if (!uri.startsWith('spiffe://')) return 'a SPIFFE id that does not begin with spiffe://';
  const [domain = '', ...segments] = uri.slice('spiffe://'.length).split('/');
  if (!DOMAIN.test(domain) || domain.length > LONGEST_DOMAIN) return 'a SPIFFE id without a proper trust domain';
  if (segments.length === 0) return 'a SPIFFE id without a path, which names a trust domain and no workload';
  return segments.every((segment) => SEGMENT.test(segment) && segment !== '.' && segment !== '..') ? undefined : 'a SPIFFE id without a proper path';
}
