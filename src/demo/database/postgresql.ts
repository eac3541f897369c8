import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { databaseUrl } from './database.ts';
import type { Database, Row } from './database.ts';

/** Opens a PostgreSQL database as `sslmode=verify-full` does: TLS always, the chain and the host of the URL verified. */
export async function openPostgresql(url: URL): Promise<Database> {
  const { host, port, user, password, name } = databaseUrl(url, ['sslmode', 'sslrootcert']);
  const mode = url.searchParams.get('sslmode') ?? 'verify-full';
  if (mode !== 'verify-full') throw new Error(`database: sslmode=${mode} is refused; expected verify-full`);
  const authority = url.searchParams.get('sslrootcert');
  const pool = new pg.Pool({
    host, port: port ?? 5432, user, password, database: name, max: 4, connectionTimeoutMillis: 5_000,
    ssl: { rejectUnauthorized: true, minVersion: 'TLSv1.2', ...(authority === null ? {} : { ca: await readFile(authority, 'utf8') }) },
  });
  // why: an idle connection that the server ends would otherwise be an unhandled error event; the pool opens another.
  pool.on('error', () => {});
  try {
    await pool.query('SELECT 1');
  } catch (cause) {
    await pool.end();
    throw new Error(`database: postgresql://${host}/${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  return {
    dialect: 'postgresql',
    async run(sql, parameters = []) {
      await pool.query(numbered(sql), [...parameters]);
    },
    async all(sql, parameters = []) {
      return (await pool.query<Row>(numbered(sql), [...parameters])).rows;
    },
    close: () => pool.end(),
  };
}

function numbered(sql: string): string {
  let index = 0;
  return sql.replace(/\?/g, () => `$${++index}`);
}
