import { constants, performServerHandshake, type ServerOptions } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { RequestFacts } from '../policy/facts.ts';
import type { Client } from './client.ts';
import { FIRST_REQUEST_MS, type HttpOptions } from './http-options.ts';
import { createAllowance } from './http2/allowance.ts';
import { nameCodes } from './http2/codes.ts';
import { cutFor, type Cut, type Peer } from './http2/peer.ts';
import { sensitiveOf } from './http2/sensitive.ts';
import { createStreams } from './http2/streams.ts';
import { objectionTo, type EndCause, type Objection } from './judgement.ts';

export interface Http2 {
  /** Takes an admitted connection that has chosen `h2`; `terminated` is told when it had to be ended for what it did. */
  serve(socket: TLSSocket, client: Client, terminated: Peer['terminated']): void;
  /** Asks every client to go elsewhere while draining; ends connections that have nothing to do. */
  closeIdle(): void;
  /** What was let in and has a stream open. */
  open(socket: TLSSocket): readonly RequestFacts[];
  /** Puts the open streams of a connection to judgement, and ends those that would not be let in any more. */
  judge(socket: TLSSocket, objection: Objection): void;
  /** Puts what is under way on a connection on record with why it is being ended. */
  ending(socket: TLSSocket, cause: EndCause): void;
  /** Resolves when every request taken so far has its record. */
  settled(): Promise<void>;
}

/** Octets that all streams of a connection together may have under way to us. */
const CONNECTION_WINDOW = 1024 * 1024;

/** How often connections are looked at: stalls, floods, idle ones. */
const LOOK_MS = 1_000;
/** How long a connection may stay that has been asked to leave and has nothing to do. */
const LINGER_MS = 2_000;
/** The same where nothing new is taken any more, and it has had nothing to do for longer than that. */
const GOODBYE_MS = 500;
/** Frames that Node tells of before the account is settled out of turn. */
const FRAMES = 256;
/** Above the configured size of a header section we answer 431; above this much more nghttp2 resets the stream. */
const HEADER_SLACK = 16 * 1024;
/** The same for their number, pseudo-header fields included. */
const FIELDS_SLACK = 64;

/**
 * The HTTP/2 protocol of one listener on one thread, on Node's core stream API: its connections and their limits.
 */
export function createHttp2(options: HttpOptions): Http2 {
  const peers = new Map<TLSSocket, Peer>();
  const streams = createStreams(options, { leave, expel });
  let looking: NodeJS.Timeout | undefined;

  function serve(socket: TLSSocket, client: Client, terminated: Peer['terminated']): void {
    const config = options.service().listener;
    const { limits, http2 } = config;
    const session = performServerHandshake(socket, {
      settings: {
        maxConcurrentStreams: http2.streams, initialWindowSize: http2.window, maxHeaderListSize: limits.header_size + HEADER_SLACK, enablePush: false,
        enableConnectProtocol: true,
      },
      maxSessionMemory: Math.max(1, Math.round(http2.memory / 1e6)),
      maxHeaderListPairs: limits.header_fields + FIELDS_SLACK,
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      strictSingleValueFields: false,
      // nghttp2 would drop such fields without a word; we refuse the request.
      strictFieldWhitespaceValidation: false,
    } as ServerOptions);
    // Whatever goes wrong on a session must end it and nothing else (CVE-2025-59465).
    session.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code?.startsWith('ERR_HTTP2_') === true) terminated('bad_request', `${error.code}: ${error.message}`);
    });
    nameCodes(session);
    session.setLocalWindowSize(Math.max(http2.window, CONNECTION_WINDOW));
    const now = performance.now();
    const peer: Peer = {
      socket, client, session, config, terminated, allowance: createAllowance(http2, now), streams: new Set(),
      greeted: false, leavingSince: 0, overSince: 0, idleSince: now, last: undefined, memory: { upstream: undefined, answer: undefined }, rest: undefined, answerHead: undefined, frames: 0,
    };
    peers.set(socket, peer);
    session.on('stream', (stream, headers, flags, raw) => streams.take(peer, stream, flags, raw as unknown as string[], sensitiveOf(headers)));
    session.on('remoteSettings', () => {
      peer.greeted = true;
      countFrame(peer);
    });
    session.on('ping', () => countFrame(peer));
    socket.once('close', () => {
      peers.delete(socket);
      if (peers.size > 0) return;
      clearInterval(looking);
      looking = undefined;
    });
    looking ??= setInterval(look, LOOK_MS);
  }

  function countFrame(peer: Peer): void {
    peer.frames += 1;
    if (peer.frames < FRAMES) return;
    settleAccount(peer, performance.now());
  }

  /** Looks after every connection: what a peer does not do never shows as an event. */
  function look(): void {
    const now = performance.now();
    closeIdle();
    for (const peer of peers.values()) {
      if (peer.session.destroyed) {
        letGo(peer, now);
        continue;
      }
      if (settleAccount(peer, now)) lookAfter(peer, now);
    }
  }

  /** Whoever has just come is answered first: a client that is sent away before its first request asks it again, and not every one does. */
  function closeIdle(): void {
    if (!options.draining()) return;
    const now = performance.now();
    for (const peer of peers.values()) {
      if (peer.last !== undefined || now - peer.idleSince > FIRST_REQUEST_MS) leave(peer);
      // Node waits for its end of the connection, which never comes from a machine that sleeps. All that it was to get has left.
      if (peer.leavingSince !== 0 && peer.streams.size === 0 && now - peer.leavingSince > GOODBYE_MS && now - peer.idleSince > LINGER_MS) peer.socket.destroy();
    }
  }

  /** A session that is over leaves its connection behind when a write was under way in it: Node waits for that for good. */
  function letGo(peer: Peer, now: number): void {
    peer.overSince ||= now;
    if (now - peer.overSince > LINGER_MS) peer.socket.destroy();
  }

  function settleAccount(peer: Peer, now: number): boolean {
    peer.frames = 0;
    // What nobody has read yet is counted when it is.
    let unread = 0;
    for (const { stream } of peer.streams) unread += stream.readableLength;
    if (peer.allowance.settle(peer.socket.bytesRead - unread, now)) return true;
    expel(peer, 'more control frames than http2.control allows');
    return false;
  }

  function lookAfter(peer: Peer, now: number): void {
    const { limits, http2 } = peer.config;
    if (!peer.greeted && now - peer.idleSince > limits.header_time) return peer.session.destroy();
    if (peer.leavingSince !== 0) {
      const grace = peer.streams.size === 0 ? LINGER_MS : limits.request_time;
      if (now - peer.leavingSince > grace) return peer.session.destroy();
    } else if (peer.streams.size === 0 && now - peer.idleSince > limits.idle_time) leave(peer);
    for (const exchange of peer.streams) {
      exchange.call?.look?.(now);
      if (exchange.waitingSince !== 0 && now - exchange.waitingSince > http2.stall_time) streams.reset(exchange, cutFor('overloaded', 'overloaded', 'the client takes nothing of its answer'));
      else if (exchange.grpc) {
        if (now - exchange.activeAt > http2.stream_idle_time) streams.interrupt(exchange, cutFor('request_timeout', 'overloaded', 'the stream was silent for too long'));
      } else if (!exchange.received && !exchange.tunnel && now - exchange.started > limits.request_time) {
        streams.interrupt(exchange, cutFor('request_timeout', 'request_timeout', 'the request did not arrive in time', 'request_time'));
      }
    }
  }

  /** Ends a connection for what it did. */
  function expel(peer: Peer, detail: string): void {
    if (peer.session.destroyed) return;
    for (const exchange of peer.streams) exchange.cut ??= cutFor('rate_limited', 'rate_limited', detail);
    peer.terminated('rate_limited', detail);
    peer.session.destroy(new Error(detail), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /**
   * Asks a client to go elsewhere (RFC 9113 section 6.8): what it has asked is answered, what is on its way to us is named as not taken,
   * so that the client asks it again on another connection. (The notice that would come first, GOAWAY with the highest number, is not
   * within reach from Node: after any GOAWAY nghttp2 takes no stream.)
   */
  function leave(peer: Peer): void {
    if (peer.leavingSince !== 0 || peer.session.destroyed) return;
    peer.leavingSince = performance.now();
    peer.session.close();
  }

  return {
    serve,
    closeIdle,
    judge(socket, objection) {
      for (const exchange of peers.get(socket)?.streams ?? []) {
        // It is on its way out already.
        if (exchange.cut !== undefined) continue;
        const denial = objectionTo(exchange, objection, options);
        if (denial === undefined) continue;
        const why: Cut = { ...cutFor(denial.code, denial.reason, denial.detail), result: 'denied' };
        if (exchange.tunnel) streams.reset(exchange, why);
        else streams.interrupt(exchange, why);
      }
    },
    open: (socket) => [...peers.get(socket)?.streams ?? []].flatMap(({ facts, decision, cut }) => (facts === undefined || decision?.kind !== 'permit' || cut !== undefined ? [] : [facts])),
    ending(socket, { reason, detail }) {
      for (const exchange of peers.get(socket)?.streams ?? []) exchange.cut ??= cutFor('certificate_rejected', reason, detail);
    },
    settled: () => streams.settled(),
  };
}
