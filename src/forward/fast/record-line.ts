import type { Permit } from '../../policy/decision.ts';
import type { Certificate } from '../../pki/certificate.ts';
import type { Admission } from '../../policy/facts.ts';
import { lastingFields, type Exchange } from '../exchange.ts';

/** The part of a record that is the same for every permitted request of one client, head and route. */
export interface RecordRest {
  readonly asked: Exchange['asked'];
  readonly admission: Admission;
  readonly front: Certificate | undefined;
  readonly route: Permit['route'];
  readonly degraded: Permit['degraded'];
  readonly device: Permit['device'];
  readonly grant: string | undefined;
  /** As octets of JSON, without the opening brace. */
  readonly octets: Buffer;
}

/** The rest for this exchange: `last` again when nothing that it depends on has changed. */
export function recordRest(last: RecordRest | undefined, exchange: Exchange, permit: Permit): RecordRest {
  const { asked, admission } = exchange;
  const { route, degraded, device } = permit;
  const grant = permit.breakGlass?.id;
  const front = exchange.facts?.front;
  if (last !== undefined && last.asked === asked && last.admission === admission && last.front === front && last.route === route && last.degraded === degraded && last.device === device && last.grant === grant) return last;
  return { asked, admission, front, route, degraded, device, grant, octets: Buffer.from(JSON.stringify(lastingFields(exchange)).slice(1)) };
}

let lastMillisecond = 0;
let lastTime = '';

/** The beginning of a permitted request's record, to be followed by its rest; `now` in ms since the epoch, `ended` in ms on the monotonic clock. */
export function recordBeginning(exchange: Exchange, status: number, bytesOut: number, now: number, ended: number): string {
  if (now !== lastMillisecond) {
    lastMillisecond = now;
    lastTime = new Date(now).toISOString();
  }
  const duration = Math.round((ended - exchange.started) * 1000) / 1000;
  return `{"time":"${lastTime}","event":"request","result":"permitted","status":${status},"bytes_out":${bytesOut},"request_id":"${exchange.id}",${trail(exchange)}"bytes_in":${exchange.bytesIn},"duration_ms":${duration},`;
}

/** Where it went: the name of an endpoint holds nothing that JSON would escape. */
function trail({ endpoint, attempts }: Exchange): string {
  if (endpoint === undefined) return '';
  return attempts.length === 0 ? `"endpoint":"${endpoint}",` : `"endpoint":"${endpoint}","attempts":${JSON.stringify(attempts)},`;
}
