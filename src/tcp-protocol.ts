import type { Protocol, ProtocolOptions, TcpRuntime } from './protocol.ts';
import { startConversation, type Conversation } from './tcp-conversation.ts';
import type { Connection } from './tls/connection.ts';

/** Any protocol over TLS: a connection is decided when it comes, again whenever something changed, and where senders are listed with every message. */
export function tcpProtocol(options: ProtocolOptions<TcpRuntime>): Protocol {
  const running = new Map<Connection, Conversation>();

  return {
    label: () => 'tcp',
    serve(connection, admission) {
      const conversation = startConversation(options, connection, admission);
      running.set(connection, conversation);
      void conversation.over.then(() => running.delete(connection));
    },
    closeIdle: () => undefined,
    leave: () => undefined,
    reconfigure: () => undefined,
    async settled() {
      while (running.size > 0) await Promise.all([...running.values()].map(({ over }) => over));
    },
    // A conversation ends itself, on its own record.
    ending: () => undefined,
    lapsed: () => false,
    objection: (connection, admission) => running.get(connection)?.objection(admission),
  };
}
