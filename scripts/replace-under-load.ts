import { report } from '../bench/clients-under-load.ts';
import { replaceUnderLoad } from '../bench/replace-under-load.ts';

/**
 * Replaces, expires and revokes the certificates of a gateway under load, and changes the CAs that clients are trusted by: no request may
 * fail. Needs `openssl` and `wrk`; takes a minute.
 *
 *   node scripts/replace-under-load.ts [CONNECTIONS] [REPLACEMENTS]        default 32 connections, 15 replacements
 */
const [connections = '32', replacements = '15'] = process.argv.slice(2);
const { clients, seconds } = await replaceUnderLoad({ connections: Number(connections), replacements: Number(replacements), wrk: true, expiry: true, say: (text) => console.log(text) });
report(clients, seconds);
