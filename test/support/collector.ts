import { createServer as createPlain, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { TestPki } from './pki.ts';

/** A span as OTLP's JSON has it, its attributes as a mapping. */
export interface CollectedSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly status: { readonly code?: number };
  readonly nanoseconds: number;
  readonly service: unknown;
}

export interface TestCollector {
  readonly port: number;
  readonly url: string;
  readonly spans: CollectedSpan[];
  readonly requests: { readonly headers: IncomingHttpHeaders; readonly url: string; readonly subject: string | undefined }[];
  /** Answers instead of taking the spans. */
  instead: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  close(): Promise<void>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

/** An OTLP/HTTP collector of the tests' own, over TLS that asks for the gateway's certificate, or plain. */
export async function startCollector(pki: TestPki, plain = false): Promise<TestCollector> {
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { socket } = request;
      collector.requests.push({ headers: request.headers, url: request.url ?? '', subject: plain ? undefined : (socket as TLSSocket).getPeerX509Certificate()?.subject });
      if (collector.instead !== undefined) return collector.instead(request, response);
      collector.spans.push(...readSpans(JSON.parse(Buffer.concat(parts).toString())));
      response.setHeader('content-type', 'application/json').end('{}');
    });
  };
  const server: Server = plain
    ? createPlain(listener) as Server
    : createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, listener);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  const collector: TestCollector = {
    port, url: `http${plain ? '' : 's'}://127.0.0.1:${port}/v1/traces`, spans: [], requests: [], instead: undefined,
    close: () => new Promise((done) => {
      server.close(() => done());
      server.closeAllConnections();
    }),
  };
  return collector;
}

/** The spans of an ExportTraceServiceRequest. */
function readSpans(body: { resourceSpans: { resource: { attributes: Attribute[] }; scopeSpans: { spans: (Omit<CollectedSpan, 'attributes'> & { attributes: Attribute[]; startTimeUnixNano: string; endTimeUnixNano: string })[] }[] }[] }): CollectedSpan[] {
  return body.resourceSpans.flatMap(({ resource, scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans.map((span) => ({
    name: span.name, kind: span.kind, traceId: span.traceId, spanId: span.spanId, parentSpanId: span.parentSpanId, status: span.status, attributes: mapped(span.attributes),
    nanoseconds: Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)), service: mapped(resource.attributes)['service.name'],
  }))));
}

function mapped(attributes: readonly Attribute[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value['stringValue'] ?? value['boolValue'] ?? Number(value['intValue'] ?? value['doubleValue'])]));
}
