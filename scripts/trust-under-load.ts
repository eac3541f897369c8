import { report } from '../bench/clients-under-load.ts';
import { trustUnderLoad } from '../bench/trust-under-load.ts';

/**
 * Takes a CA out of the directory that clients are trusted by, and puts it in again, under load: no request of anybody else may fail. Needs
 * `openssl` and `wrk`.
 *
 *   node scripts/trust-under-load.ts [CONNECTIONS] [CHANGES]        default 32 connections, 5 changes: about half a minute
 */
const [connections = '32', changes = '5'] = process.argv.slice(2);
const { clients, seconds } = await trustUnderLoad({ connections: Number(connections), concerned: 16, changes: Number(changes), wrk: true, say: (text) => console.log(text) });
report(clients, seconds);
