import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { createPool } from 'mysql2/promise';
import type { RowDataPacket } from 'mysql2/promise';
import { databaseUrl } from './database.ts';
import type { Database } from './database.ts';

/** Opens a MySQL or MariaDB database over TLS, its certificate verified for the host of the URL. */
export async function openMysql(url: URL): Promise<Database> {
  const { host, port, user, password, name } = databaseUrl(url, ['ssl-ca']);
  // why: for an address the driver compares the certificate with "localhost" and not with the address.
  if (isIP(host) !== 0) throw new Error(`database: mysql://${host}: expected a host name, which its certificate must carry, not an address`);
  const authority = url.searchParams.get('ssl-ca');
  const pool = createPool({
    host, port: port ?? 3306, user, password, database: name, connectionLimit: 4, connectTimeout: 5_000, charset: 'utf8mb4_bin', timezone: 'Z',
    ssl: { rejectUnauthorized: true, verifyIdentity: true, minVersion: 'TLSv1.2', ...(authority === null ? {} : { ca: await readFile(authority, 'utf8') }) },
  });
  try {
    await pool.query('SELECT 1');
  } catch (cause) {
    await pool.end();
    throw new Error(`database: mysql://${host}/${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  return {
    dialect: 'mysql',
    async run(sql, parameters = []) {
      await pool.execute(sql, [...parameters]);
    },
    async all(sql, parameters = []) {
      const [rows] = await pool.execute<RowDataPacket[]>(sql, [...parameters]);
      return rows;
    },
    close: () => pool.end(),
  };
}
