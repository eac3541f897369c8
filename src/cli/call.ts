import { request } from 'node:http';

/** Calls the admin socket; undefined when no gateway listens there. */
export function callGateway(socketPath: string, method: string, path: string, body?: unknown): Promise<unknown> {
  return new Promise((done, failed) => {
    // A connection that was kept from an earlier call belongs to a gateway that may have ended since: its reset is no gateway that runs.
    const outgoing = request({ socketPath, method, path, timeout: 60_000, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => {
        const answer = JSON.parse(text) as { error?: string };
        if (response.statusCode === 200) done(answer);
        else failed(new Error(answer.error ?? `the admin socket answered ${response.statusCode}`));
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${socketPath}: no answer within 60 s`)));
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') done(undefined);
      else failed(error);
    });
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** The reason that was given, as a call takes it. */
export function why({ reason }: { readonly reason?: string }): { readonly reason?: string } {
  return reason === undefined ? {} : { reason };
}
