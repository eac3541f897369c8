import { Client, credentials, makeGenericClientConstructor, Metadata, Server, ServerCredentials, type ChannelOptions, type MethodDefinition, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { ClientDuplexStream, ClientReadableStream, ClientUnaryCall, ClientWritableStream, CallOptions, requestCallback } from '@grpc/grpc-js';
import type { Issued, TestPki } from './pki.ts';

const identity = (octets: Buffer): Buffer => octets;

function method(name: string, requestStream: boolean, responseStream: boolean): MethodDefinition<Buffer, Buffer> {
  return { path: `/wardgate.test.Records/${name}`, requestStream, responseStream, requestSerialize: identity, requestDeserialize: identity, responseSerialize: identity, responseDeserialize: identity };
}

/** A service with a method of each kind; its messages are plain octets. */
export const RECORDS = {
  unary: method('Unary', false, false),
  download: method('Download', false, true),
  upload: method('Upload', true, false),
  chat: method('Chat', true, true),
} satisfies ServiceDefinition;

/** A route that lets every method of the service pass. */
export const GRPC_ROUTES = `
  - { name: grpc, match: { path: /wardgate.test.Records/*, methods: [POST] }, allow: [doctor, patient], upstream: records }`;

export interface GrpcBackend {
  readonly port: number;
  close(): void;
}

/** A real gRPC server that demands the gateway's certificate. */
export function startGrpcBackend(pki: TestPki, implementation: UntypedServiceImplementation, options: ChannelOptions = {}): Promise<GrpcBackend> {
  const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1, ...options });
  server.addService(RECORDS, implementation);
  const tls = ServerCredentials.createSsl(Buffer.from(pki.backendCa.certificate), [{ cert_chain: Buffer.from(pki.backendServer.chain), private_key: Buffer.from(pki.backendServer.key) }], true);
  return new Promise((done, failed) => server.bindAsync('127.0.0.1:0', tls, (error, port) => {
    if (error !== null) return failed(error);
    done({ port, close: () => server.forceShutdown() });
  }));
}

export interface GrpcClient extends Client {
  unary(message: Buffer, metadata: Metadata, options: CallOptions, callback: requestCallback<Buffer>): ClientUnaryCall;
  download(message: Buffer, metadata?: Metadata, options?: CallOptions): ClientReadableStream<Buffer>;
  upload(metadata: Metadata, options: CallOptions, callback: requestCallback<Buffer>): ClientWritableStream<Buffer>;
  chat(metadata?: Metadata, options?: CallOptions): ClientDuplexStream<Buffer, Buffer>;
}

const Constructor = makeGenericClientConstructor(RECORDS, 'Records');

/** A real gRPC client with a client certificate, or none, that calls the gateway `localhost`. */
export function openGrpc(pki: TestPki, port: number, client?: Issued, options: ChannelOptions = {}, target = `127.0.0.1:${port}`): GrpcClient {
  const tls = client === undefined
    ? credentials.createSsl(Buffer.from(pki.root.certificate))
    : credentials.createSsl(Buffer.from(pki.root.certificate), Buffer.from(client.key), Buffer.from(client.chain));
  return new Constructor(target, tls, {
    'grpc.ssl_target_name_override': 'localhost', 'grpc.default_authority': 'localhost', 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1,
    // Each client has connections of its own.
    'grpc.use_local_subchannel_pool': 1, ...options,
  }) as unknown as GrpcClient;
}

/** What a call came to. */
export interface GrpcEnd {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
}

export function unary(client: GrpcClient, message: Buffer, metadata = new Metadata(), options: CallOptions = {}): Promise<{ readonly value: Buffer | undefined; readonly end: GrpcEnd }> {
  return new Promise((done) => {
    let value: Buffer | undefined;
    const call = client.unary(message, metadata, options, (_error, answer) => {
      value = answer;
    });
    call.on('status', (end) => setImmediate(() => done({ value, end })));
  });
}

/** Collects what a stream of messages brings, and its end. */
export function collect(call: ClientReadableStream<Buffer> | ClientDuplexStream<Buffer, Buffer>): Promise<{ readonly messages: Buffer[]; readonly end: GrpcEnd }> {
  const messages: Buffer[] = [];
  call.on('data', (message: Buffer) => messages.push(message));
  call.on('error', () => undefined);
  return new Promise((done) => call.on('status', (end: GrpcEnd) => setImmediate(() => done({ messages, end }))));
}
