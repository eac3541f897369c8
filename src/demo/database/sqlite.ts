import { DatabaseSync } from 'node:sqlite';
import type { Database, Row } from './database.ts';

/** `file` may be `:memory:`. */
export function openSqlite(file: string): Database {
  const database = new DatabaseSync(file);
  return {
    dialect: 'sqlite',
    async run(sql, parameters = []) {
      database.prepare(sql).run(...parameters);
    },
    async all(sql, parameters = []) {
      return database.prepare(sql).all(...parameters) as Row[];
    },
    async close() {
      database.close();
    },
  };
}
