import { chmod, mkdir, readFile, rm, unlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway } from '../src/gateway.ts';
import { lockState } from '../src/store/state-lock.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgateProcess } from './support/command.ts';
import { ask, configuration, startGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

describe('the state directory', () => {
  it('belongs to one gateway, even when its admin socket is gone', async () => {
    const gateway = await startGateway(pki, backend.port);
    await unlink(gateway.path('state/admin.sock'));
    await expect(createGateway({ config: gateway.path('wardgate.yaml') })).rejects.toThrow('another gateway is running on this state directory');
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    await gateway.stop();
  });

  it('keeps a revocation from being told that is not in force: the socket that vanished comes back', async () => {
    const gateway = await startGateway(pki, backend.port);
    await unlink(gateway.path('state/admin.sock'));
    const revoked = await wardgateProcess(['revoke', '-c', gateway.path('wardgate.yaml'), '--cert', gateway.path('doctor.pem'), '--reason', 'lost']);
    expect(revoked).toMatchObject({ code: 0 });
    expect(revoked.stdout).toContain('on the running gateway');
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(403);
    await gateway.stop();
  });

  it('is not written beside a process that holds it and does not answer', async () => {
    const gateway = await startGateway(pki, backend.port);
    const { directory } = gateway;
    await gateway.gateway.stop(0);
    const lock = lockState(gateway.path('state'));
    const revoked = await wardgateProcess(['revoke', '-c', gateway.path('wardgate.yaml'), '--cert', gateway.path('doctor.pem'), '--reason', 'lost']);
    expect(revoked.code).toBe(1);
    expect(revoked.stderr).toContain('nothing was changed');
    await expect(readFile(gateway.path('state/denylist.jsonl'), 'utf8')).resolves.toBe('');
    lock.release();
    await rm(directory, { recursive: true, force: true });
  });

  it('that others can write to is refused', async () => {
    const gateway = await startGateway(pki, backend.port);
    await gateway.gateway.stop(0);
    await chmod(gateway.path('state'), 0o777);
    await expect(createGateway({ config: gateway.path('wardgate.yaml') })).rejects.toThrow('others can write to the state directory');
    await rm(gateway.directory, { recursive: true, force: true });
  });
});

describe('a port', () => {
  it('that somebody listens on stops the start, although threads could share it', async () => {
    const gateway = await startGateway(pki, backend.port);
    await mkdir(gateway.path('other'));
    const other = configuration(backend.port).replace('127.0.0.1:0', `127.0.0.1:${gateway.port}`).replace('threads: 2', 'threads: 2\nstate: ./other/state');
    const before = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    await gateway.configure(other);
    await expect(createGateway({ config: gateway.path('wardgate.yaml') })).rejects.toThrow('EADDRINUSE');
    await gateway.configure(before);
    for (let round = 0; round < 8; round++) expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    await gateway.stop();
  });

  it('that a reload wants and cannot have leaves the old configuration serving', async () => {
    const blocker = createServer();
    const taken = await new Promise<number>((done) => blocker.listen(0, '127.0.0.1', () => done((blocker.address() as { port: number }).port)));
    const gateway = await startGateway(pki, backend.port);
    await gateway.configure((await readFile(gateway.path('wardgate.yaml'), 'utf8')).replace('listeners:\n', `listeners:\n  - { name: plain, address: "127.0.0.1:${taken}", protocol: redirect }\n`));
    await expect(gateway.gateway.reload()).rejects.toThrow('EADDRINUSE');
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    blocker.close();
    await gateway.stop();
  });
});
