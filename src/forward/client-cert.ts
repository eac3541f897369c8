import { canonical } from './headers.ts';

/** What a front says of a client, as far as it can be read. */
export type Named =
  /** It shows no certificate. */
  | { readonly kind: 'nobody' }
  | { readonly kind: 'client'; readonly leaf: Uint8Array; readonly intermediates: readonly Uint8Array[] }
  | { readonly kind: 'malformed'; readonly detail: string };

/** As long as certificates may be that clients show themselves, in octets of DER. */
const LARGEST = 16 * 1024;
/** A longer chain is not a path. */
const MOST_INTERMEDIATES = 10;
/** RFC 8941 section 3.3.5, without parameters. Padded and with nothing beside: a second reader must not find another certificate in it. */
const BYTE_SEQUENCE = /^:((?:[A-Za-z0-9+/]{4})+|(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)):$/;

const NOBODY: Named = { kind: 'nobody' };

/**
 * Reads the certificate that a front names in a request's header section (name, value, name, value…): RFC 9440, `header` in lower case and its
 * chain in the field of that name with `-chain`. Whatever could be read in two ways names nobody and is malformed: a front that passes
 * on what its client has sent would otherwise let the client say who it is.
 */
export function readClientCert(raw: readonly string[], header: string): Named {
  const chain = `${header}-chain`;
  const found: { leaf: string | undefined; chain: string | undefined } = { leaf: undefined, chain: undefined };
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase();
    const value = raw[index + 1] as string;
    // It is for us, and for nobody on the way: who says otherwise would have it dropped (CVE-2024-45410).
    if (name === 'connection' && namesOne(value, [header, chain])) return malformed(`Connection names ${header}`);
    const plain = canonical(name);
    if (plain !== header && plain !== chain) continue;
    if (plain !== name) return malformed(`a field named ${name} could be read as ${plain}`);
    const field = plain === header ? 'leaf' : 'chain';
    if (found[field] !== undefined) return malformed(`more than one ${name} field`);
    found[field] = value;
  }
  if (found.leaf === undefined) return found.chain === undefined ? NOBODY : malformed(`${chain} without ${header}`);
  const leaf = octetsOf(found.leaf);
  if (leaf === undefined) return malformed(`${header} is no byte sequence that a certificate fits in`);
  const members = found.chain === undefined ? [] : found.chain.split(/[ \t]*,[ \t]*/);
  if (members.length > MOST_INTERMEDIATES) return malformed(`${members.length} certificates in ${chain}`);
  const intermediates = members.map(octetsOf).filter((one) => one !== undefined);
  return intermediates.length === members.length ? { kind: 'client', leaf, intermediates } : malformed(`${chain} is no list of byte sequences that certificates fit in`);
}

function namesOne(value: string, names: readonly string[]): boolean {
  return value.split(',').some((option) => names.includes(canonical(option.trim())));
}

function octetsOf(text: string): Uint8Array | undefined {
  if (text.length > Math.ceil(LARGEST / 3) * 4 + 2) return undefined;
  const [, base64] = BYTE_SEQUENCE.exec(text) ?? [];
  if (base64 === undefined) return undefined;
  const octets = Buffer.from(base64, 'base64');
  // Bits behind the last octet are none of it, and must not tell two spellings apart.
  return octets.length <= LARGEST && octets.toString('base64') === base64 ? octets : undefined;
}

function malformed(detail: string): Named {
  return { kind: 'malformed', detail };
}
