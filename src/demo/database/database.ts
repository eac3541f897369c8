/** A value of a row or parameter; times are ISO 8601 text in UTC, which sorts as it should in every database. */
export type Value = string | number | null;
export type Row = Readonly<Record<string, unknown>>;

/** The little SQL the demo needs, the same in three databases. Parameters are written `?`. */
export interface Database {
  readonly dialect: 'sqlite' | 'mysql' | 'postgresql';
  run(sql: string, parameters?: readonly Value[]): Promise<void>;
  all(sql: string, parameters?: readonly Value[]): Promise<readonly Row[]>;
  close(): Promise<void>;
}

/**
 * Opens the database that a URL names and makes sure it answers:
 * - `sqlite:PATH`, or `sqlite::memory:`
 * - `mysql://USER:PASSWORD@HOST[:3306]/NAME?ssl-ca=FILE`, always TLS, the certificate verified for HOST
 * - `postgresql://USER:PASSWORD@HOST[:5432]/NAME?sslrootcert=FILE`, always as `sslmode=verify-full`
 * Without a CA file the certificate must chain to a public CA. Rejects with an Error that names no password.
 */
export async function openDatabase(url: string): Promise<Database> {
  if (url.startsWith('sqlite:')) return (await import('./sqlite.ts')).openSqlite(url.slice('sqlite:'.length));
  const parsed = URL.parse(url);
  if (parsed?.protocol === 'mysql:') return (await import('./mysql.ts')).openMysql(parsed);
  if (parsed?.protocol === 'postgresql:' || parsed?.protocol === 'postgres:') return (await import('./postgresql.ts')).openPostgresql(parsed);
  throw new Error(`database: "${url.split(':', 1)[0] ?? ''}:" is not known; expected sqlite:, mysql:// or postgresql://`);
}

/** The parts of a database URL, decoded. Throws on query parameters other than those named. */
export function databaseUrl(url: URL, parameters: readonly string[]) {
  for (const name of url.searchParams.keys()) {
    if (!parameters.includes(name)) throw new Error(`database: no parameter "${name}"; known: ${parameters.join(', ')}`);
  }
  const name = decodeURIComponent(url.pathname.slice(1));
  if (url.hostname === '' || name === '') throw new Error(`database: expected ${url.protocol}//USER:PASSWORD@HOST/NAME`);
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? undefined : Number(url.port), user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password), name,
  };
}
