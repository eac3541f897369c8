import { randomUUID } from 'node:crypto';
import { identityFields, trailFields, type AuditRecord } from './audit/record.ts';
import { raiseAlarm } from './forward/exchange.ts';
import { associationReject, createDicomScanner } from './forward/senders/dicom.ts';
import { createGate } from './forward/senders/gate.ts';
import { createMllpScanner } from './forward/senders/mllp.ts';
import { takeStream } from './forward/tcp.ts';
import { proxyHeader } from './forward/upstream/proxy-header.ts';
import { authorizeStream, type StreamDenial, type StreamFacts } from './policy/authorize-stream.ts';
import type { StreamPermit } from './policy/decision.ts';
import type { Admission } from './policy/facts.ts';
import { unmapped } from './policy/networks.ts';
import type { Announced } from './policy/senders.ts';
import { connectionFields, type ProtocolOptions, type TcpRuntime } from './protocol.ts';
import { currentAdmission, type Connection } from './tls/connection.ts';

type Fields = Partial<AuditRecord> & Pick<AuditRecord, 'result'>;

/** One connection of a TCP listener, from its admission to its last record. */
export interface Conversation {
  /** Why it would not be let in any more, by an admission taken anew. */
  objection(admission: Admission): StreamDenial | undefined;
  /** Resolves when everything is on record. */
  readonly over: Promise<void>;
}

/** Senders of one stream that are remembered to be on record; of a stream that names more some are recorded again. */
const REMEMBERED_SENDERS = 256;

const LEFT = 'the client left before it was let in';

/**
 * Decides a connection, opens the upstream side, and follows it to its end. Where the listener lists senders, nothing reaches the
 * upstream before the first of them is let in, and every message is decided like a request. One record says what was
 * permitted, before any of it passes; one more for each further sender; and one how it ended.
 */
export function startConversation(options: ProtocolOptions<TcpRuntime>, connection: Connection, admission: Admission): Conversation {
  const { socket } = connection;
  // Read once: a reload moves no stream to another upstream.
  const { config, policy, upstream } = options.runtime();
  const id = randomUUID();
  const started = performance.now();
  const stream = takeStream(socket, config.limits.idle_time);
  const remembered = new Set<string>();
  let permit: StreamPermit | undefined;
  let announced: Announced | undefined;
  let messages = 0;
  /** Octets may have passed. */
  let joined = false;
  /** Why it ends; the first cause counts. */
  let cause: Fields | undefined;

  connection.ending = ({ reason, detail, alarm }) => end({ result: 'denied', reason, detail, ...(alarm === undefined ? {} : { alarm }) });
  const decision = authorizeStream(policy, { admission, ...circumstances() }, options.now());
  if (decision.kind === 'denial') refuse(decision);
  else if (decision.kind === 'expected') listen();
  else void open(decision).catch(fail);

  function circumstances(): Omit<StreamFacts, 'admission'> {
    return { listener: connection.listener, address: connection.address, suspensions: options.runtime().suspensions() };
  }

  async function open(decided: StreamPermit): Promise<boolean> {
    const failed = await stream.connect(decided, upstream, decided.identity.id, headerFor(decided));
    if (failed?.kind === 'failed') {
      end({ result: 'failed', reason: failed.code, detail: failed.detail }, announced?.kind === 'dicom' ? () => stream.dismiss(associationReject('congestion')) : undefined);
    }
    if (failed !== undefined || cause !== undefined || !await recordPermit(decided)) return false;
    joined = true;
    stream.join();
    return true;
  }

  /** The PROXY header for the upstream, where it is to have one. */
  function headerFor({ certificate }: StreamPermit): Buffer | undefined {
    const form = upstream.config.proxy_protocol;
    if (form === undefined) return undefined;
    const { subject } = certificate.leaf;
    const commonName = form === 'v2-ssl-cn' ? subject.rdns.flat().findLast(({ type }) => type === 'CN')?.value : undefined;
    return proxyHeader({
      source: { address: connection.address, port: connection.port },
      destination: { address: unmapped(socket.localAddress ?? ''), port: socket.localPort ?? 0 },
      uniqueId: id,
      ...(form === 'v2' ? {} : {
        tls: {
          version: connection.tls, cipher: socket.getCipher().name, serverName: connection.serverName,
          alpn: typeof socket.alpnProtocol === 'string' ? socket.alpnProtocol : undefined, resumed: connection.resumed, commonName,
        },
      }),
    });
  }

  /** Nothing passes that is not on record; false, and the end, when the audit cannot take it. */
  async function recordPermit(decided: StreamPermit): Promise<boolean> {
    permit = decided;
    try {
      await record({ result: 'permitted' });
    } catch {
      end({ result: 'failed', reason: 'audit_unavailable', detail: 'the record could not be written' });
    }
    return cause === undefined;
  }

  /** Waits for the client to say who it is, and has each message decided. */
  function listen(): void {
    const mllp = policy.senders?.protocol === 'mllp';
    let timer: NodeJS.Timeout | undefined;
    const hurry = (): void => {
      if (announced === undefined) timer = setTimeout(() => end({ result: 'denied', reason: 'bad_request', detail: 'the client did not say in time who it is' }), config.limits.first_octets_time);
    };
    const gate = createGate(mllp ? createMllpScanner() : createDicomScanner(), {
      malformed: (detail) => refuse({ kind: 'denial', code: 'bad_request', reason: 'bad_request', detail }),
      admit(sender) {
        clearTimeout(timer);
        return admit(sender).catch(fail);
      },
    });
    // A client that has said all, and not who it is, is owed no answer.
    gate.once('finish', () => {
      if (!joined) end({ result: 'failed', detail: LEFT });
    });
    stream.gate(gate);
    // An MLLP client speaks when it has something to say; a DICOM client at once (PS3.8 section 9.2: ARTIM runs from the connection on).
    if (mllp) socket.once('data', hurry);
    else hurry();
    void stream.ended.then(() => clearTimeout(timer));
  }

  async function admit(sender: Announced): Promise<boolean> {
    announced = sender;
    const runtime = options.runtime();
    const current = await currentAdmission(connection, runtime.office, connection.serverName ?? '');
    const decided = authorizeStream(runtime.policy, { admission: current, announced: sender, ...circumstances() }, options.now());
    if (decided.kind === 'denial') refuse(decided);
    if (decided.kind !== 'permit' || cause !== undefined) return false;
    messages += 1;
    const key = JSON.stringify(sender);
    if (remembered.has(key)) return true;
    if (remembered.size === REMEMBERED_SENDERS) remembered.clear();
    remembered.add(key);
    return joined ? recordPermit(decided) : open(decided);
  }

  function refuse(denial: StreamDenial): void {
    options.metrics.connectionsTerminated.inc({ reason: denial.reason });
    raiseAlarm(options.desk, connection, admission, denial);
    const rejected = !joined && (denial.sender === 'calling' || denial.sender === 'called') ? associationReject(denial.sender) : undefined;
    const { reason, detail, alarm } = denial;
    end({ result: 'denied', reason, detail, ...(alarm === undefined ? {} : { alarm }) }, rejected === undefined ? undefined : () => stream.dismiss(rejected));
  }

  /** A fault of ours ends the one connection, closed, and is on record. */
  function fail(error: unknown): false {
    end({ result: 'failed', reason: 'overloaded', detail: `internal error: ${(error as Error).stack ?? String(error)}` });
    return false;
  }

  /** While octets may pass, the end comes first and is recorded with their count; before that, the record comes first. */
  function end(why: Fields, close: () => void = () => stream.cut('ended')): void {
    if (cause !== undefined) return;
    cause = why;
    if (joined) close();
    else void record(why).catch(() => undefined).then(close);
  }

  async function follow(): Promise<void> {
    const { bytesIn, bytesOut, fault } = await stream.ended;
    if (cause !== undefined && !joined) return;
    await record({ ...(cause ?? natural(fault)), bytes_out: bytesOut, bytes_in: bytesIn, ...(announced?.kind === 'mllp' ? { messages } : {}) }).catch(() => undefined);
  }

  /** How it ended when nobody ended it for a cause. */
  function natural(fault: string | undefined): Fields {
    if (fault === undefined && joined) return { result: 'done' };
    if (options.retired()) return { result: 'failed', detail: 'the gateway stopped' };
    return { result: 'failed', detail: fault ?? LEFT };
  }

  function record(fields: Fields): Promise<void> {
    return options.audit.append({
      time: new Date(options.now()).toISOString(), event: 'connection', ...fields, request_id: id, upstream: upstream.name, ...trailFields(stream.trail),
      ...connectionFields(connection, admission), ...identityFields(permit?.identity ?? (admission.kind === 'known' ? admission.identity : undefined)), ...(permit?.degraded === undefined ? {} : { degraded: permit.degraded }),
      ...(permit?.device === undefined ? {} : { device: permit.device.id }),
      ...(announced === undefined ? {} : senderFields(announced)), duration_ms: Math.round(performance.now() - started),
    });
  }

  return {
    objection(taken) {
      const { policy: current } = options.runtime();
      const decided = authorizeStream(current, { admission: taken, announced, ...circumstances() }, options.now());
      if (decided.kind === 'denial') return decided;
      if (decided.kind === 'permit' || !joined) return undefined;
      return { kind: 'denial', code: 'role_denied', reason: 'sender_denied', detail: 'the listener has come to list senders, and this stream began without naming one' };
    },
    over: follow(),
  };
}

function senderFields(sender: Announced): Partial<AuditRecord> {
  return sender.kind === 'mllp'
    ? { sending_application: sender.application, sending_facility: sender.facility }
    : { calling_ae_title: sender.calling, called_ae_title: sender.called };
}
