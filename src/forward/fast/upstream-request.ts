import type { Permit } from '../../policy/decision.ts';
import type { Admission } from '../../policy/facts.ts';
import type { Exchange } from '../exchange.ts';
import { upstreamHeaders } from '../headers.ts';
import { newTraceparent } from '../ids.ts';
import { writeLatin1 } from '../octets.ts';
import type { Upstream } from '../upstream/pool.ts';
import type { KnownHead } from './request.ts';

/** A request head for the upstream: the same for every request of one client, head and route but for its ids. */
export interface UpstreamHead {
  readonly head: KnownHead;
  readonly route: Permit['route'];
  readonly degraded: Permit['degraded'];
  /** The id of the grant that it stands on. */
  readonly grant: string | undefined;
  readonly admission: Admission;
  readonly upstream: Upstream;
  /** The whole head. The ids of each request are written into it: putting it together anew would copy most of it each time. */
  readonly octets: Buffer;
  readonly idAt: number;
  /** Absent where the client's own `traceparent` is passed on, which it is not where a span of ours stands between. */
  readonly traceparentAt: number | undefined;
  readonly watched: boolean;
}

/** The head of this request, its ids in place: `last` again when nothing that it depends on has changed. */
export function upstreamHead(last: UpstreamHead | undefined, head: KnownHead, exchange: Exchange, permit: Permit, upstream: Upstream): UpstreamHead {
  const { route, degraded } = permit;
  const same = last !== undefined && last.head === head && last.route === route && last.admission === exchange.admission && last.upstream === upstream && last.degraded === degraded
    && last.grant === permit.breakGlass?.id && last.watched === (exchange.span !== undefined);
  const found = same ? last : writeHead(head, exchange, permit, upstream);
  writeLatin1(found.octets, exchange.id, found.idAt);
  if (found.traceparentAt !== undefined) writeLatin1(found.octets, exchange.span?.traceparent ?? newTraceparent(), found.traceparentAt);
  return found;
}

function writeHead(head: KnownHead, exchange: Exchange, permit: Permit, upstream: Upstream): UpstreamHead {
  const fields = upstreamHeaders(head.fields, { requestId: '', address: exchange.client.address, host: head.host, permit, upstream: upstream.config });
  const watched = exchange.span !== undefined;
  const traced = !watched && head.fields.includes(fields['traceparent'] as string);
  let text = `${head.asked.method} ${head.asked.written} HTTP/1.1\r\n`;
  for (const [name, value] of Object.entries(fields)) {
    if (name === 'x-request-id' || (name === 'traceparent' && !traced)) continue;
    for (const one of typeof value === 'string' ? [value] : value ?? []) text += `${name}: ${one}\r\n`;
  }
  text += 'x-request-id: ';
  const idAt = text.length;
  text += `${exchange.id}\r\n`;
  const traceparentAt = traced ? undefined : text.length + TRACEPARENT.length;
  if (!traced) text += `${TRACEPARENT}${newTraceparent()}\r\n`;
  const { route, degraded } = permit;
  return { head, route, degraded, grant: permit.breakGlass?.id, admission: exchange.admission, upstream, octets: Buffer.from(`${text}\r\n`, 'latin1'), idAt, traceparentAt, watched };
}

const TRACEPARENT = 'traceparent: ';
