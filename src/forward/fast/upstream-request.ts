import type { Permit } from '../../policy/authorize.ts';
import type { Admission } from '../../policy/facts.ts';
import type { Exchange } from '../exchange.ts';
import { upstreamHeaders } from '../headers.ts';
import { newTraceparent } from '../ids.ts';
import { writeLatin1, writeOctets } from '../octets.ts';
import type { Upstream } from '../upstream/pool.ts';
import type { KnownHead } from './request.ts';

/** The part of a request head for the upstream that is the same for every request of one client, head and route. */
export interface UpstreamPrefix {
  readonly head: KnownHead;
  readonly route: Permit['route'];
  readonly degraded: Permit['degraded'];
  readonly admission: Admission;
  readonly upstream: Upstream;
  /** Up to the name of the field with the request's id, as octets: text would be flattened and copied anew each time. */
  readonly octets: Buffer;
  /** The client's own `traceparent` is among them; it is not where a span of ours stands between. */
  readonly traced: boolean;
  readonly watched: boolean;
}

/** The prefix for this request: `last` again when nothing that it depends on has changed. */
export function upstreamPrefix(last: UpstreamPrefix | undefined, head: KnownHead, exchange: Exchange, permit: Permit, upstream: Upstream): UpstreamPrefix {
  const { admission } = exchange;
  const { route, degraded } = permit;
  const watched = exchange.span !== undefined;
  if (last !== undefined && last.head === head && last.route === route && last.admission === admission && last.upstream === upstream && last.degraded === degraded && last.watched === watched) return last;
  const fields = upstreamHeaders(head.fields, { requestId: '', address: exchange.client.address, host: head.host, permit, upstream: upstream.config });
  const traced = !watched && head.fields.includes(fields['traceparent'] as string);
  let text = `${head.asked.method} ${head.asked.written} HTTP/1.1\r\n`;
  for (const [name, value] of Object.entries(fields)) {
    if (name === 'x-request-id' || (name === 'traceparent' && !traced)) continue;
    for (const one of typeof value === 'string' ? [value] : value ?? []) text += `${name}: ${one}\r\n`;
  }
  return { head, route, degraded, admission, upstream, octets: Buffer.from(`${text}x-request-id: `, 'latin1'), traced, watched };
}

/** Octets that `writeUpstreamHead` may need beyond the prefix. */
export const UPSTREAM_HEAD_REST = 256;

/** Writes the whole head for the upstream into a buffer; returns where it ends. */
export function writeUpstreamHead(into: Buffer, prefix: UpstreamPrefix, { id, span }: Exchange): number {
  let at = writeLatin1(into, id, writeOctets(into, prefix.octets, 0));
  if (!prefix.traced) at = writeLatin1(into, span?.traceparent ?? newTraceparent(), writeLatin1(into, '\r\ntraceparent: ', at));
  return writeLatin1(into, '\r\n\r\n', at);
}
