import type { Attributes, Context, Span, Tracer as OtelTracer } from '@opentelemetry/api';
import type { TracingConfig } from '../config/schema.ts';
import { formatName } from '../pki/name.ts';
import { clientTraceparent } from '../forward/headers.ts';
import type { Asked, Exchange, RequestSpan, Tracer } from '../forward/exchange.ts';

/** The parts of `@opentelemetry/api` that are used: it is loaded only where tracing is configured. */
export type Api = typeof import('@opentelemetry/api');

/** The methods that OpenTelemetry's conventions know; any other is `_OTHER`, so that strangers cannot make new names of spans. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY']);

/** Makes a server span of every request, by OpenTelemetry's semantic conventions for HTTP and TLS. */
export function createTracer(api: Api, tracer: OtelTracer, config: TracingConfig): Tracer {
  const include = new Set(config.include);

  function parentOf(asked: Asked): Context {
    const [, traceId, spanId, flags] = clientTraceparent(asked.fields)?.split('-') ?? [];
    if (traceId === undefined || spanId === undefined) return api.ROOT_CONTEXT;
    return api.trace.setSpanContext(api.ROOT_CONTEXT, { traceId, spanId, traceFlags: Number.parseInt(flags ?? '0', 16) & 1, isRemote: true });
  }

  return {
    open(asked) {
      const span = tracer.startSpan(methodOf(asked), { kind: api.SpanKind.SERVER }, parentOf(asked));
      const { traceId, spanId, traceFlags } = span.spanContext();
      let noted: Parameters<RequestSpan['note']>[0] = { result: 'permitted' };
      return {
        traceparent: `00-${traceId}-${spanId}-0${traceFlags & 1}`,
        note(fields) {
          noted = fields;
        },
        end(exchange, status) {
          if (span.isRecording()) describe(span, exchange, status, noted);
          span.end();
        },
      };
    },
  };

  function describe(span: Span, exchange: Exchange, status: number, { result, reason }: Parameters<RequestSpan['note']>[0]): void {
    const route = exchange.decision?.route;
    if (route !== undefined) span.updateName(`${methodOf(exchange.asked)} ${route.config.match.path}`);
    span.setAttributes({
      ...httpAttributes(exchange, status, reason),
      ...clientAttributes(exchange),
      'wardgate.request_id': exchange.id,
      'wardgate.listener': exchange.client.listener,
      'wardgate.decision': result,
      ...(reason === undefined ? {} : { 'wardgate.reason': reason }),
      ...(route === undefined ? {} : { 'wardgate.route': route.name, 'wardgate.upstream': route.config.upstream }),
      ...(status >= 500 ? { 'error.type': reason ?? String(status) } : {}),
    });
    // A client's mistake is no error of the server.
    if (status >= 500) span.setStatus({ code: api.SpanStatusCode.ERROR });
  }

  // What a client wrote as method or host is anything, an identity number too, and leaves only where it is one of ours.
  function httpAttributes({ asked, decision }: Exchange, status: number, reason: string | undefined): Attributes {
    const { host, target } = asked;
    return {
      'http.request.method': METHODS.has(asked.method) ? asked.method : '_OTHER',
      ...(METHODS.has(asked.method) || !/^[A-Z-]{1,20}$/.test(asked.method) ? {} : { 'http.request.method_original': asked.method }),
      ...(decision?.route === undefined ? {} : { 'http.route': decision.route.config.match.path }),
      'http.response.status_code': status,
      'url.scheme': 'https',
      ...(host.kind === 'host' && reason !== 'misdirected' && reason !== 'bad_request' ? { 'server.address': host.name } : {}),
      ...(include.has('url_path') && target.kind === 'target' ? { 'url.path': target.path } : {}),
      'network.protocol.name': 'http',
      'network.protocol.version': asked.version,
    };
  }

  function clientAttributes({ client, admission }: Exchange): Attributes {
    const leaf = admission.kind === 'anonymous' ? undefined : admission.leaf;
    const identity = admission.kind === 'known' ? admission.identity : undefined;
    return {
      'tls.protocol.name': 'tls',
      'tls.protocol.version': client.tls.replace(/^TLSv/, ''),
      'tls.resumed': client.resumed,
      ...(leaf === undefined ? {} : { 'tls.client.hash.sha256': leaf.sha256.toUpperCase() }),
      ...(leaf === undefined || !include.has('client_subject') ? {} : { 'tls.client.subject': formatName(leaf.subject) }),
      ...(include.has('client_address') ? { 'client.address': client.address } : {}),
      ...(identity === undefined ? {} : { 'wardgate.role': identity.role }),
    };
  }
}

function methodOf({ method }: Asked): string {
  return METHODS.has(method) ? method : 'HTTP';
}
