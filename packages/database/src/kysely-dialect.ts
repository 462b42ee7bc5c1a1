// Kysely on the pool: its driver hands each statement, with the node that it was made from, to the session of the
// connection, where every other statement passes, too.
import {
  type Dialect,
  type Driver,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
} from "kysely";
import type { Session } from "./session.ts";

/** @param acquire gives a session, which is released by Kysely */
export function sessionDialect(acquire: () => Promise<Session>): Dialect {
  const driver: Driver = {
    init: async () => {},
    acquireConnection: () => acquire(),
    beginTransaction: (connection, settings) => (connection as Session).begin(settings),
    commitTransaction: (connection) => (connection as Session).commit(),
    rollbackTransaction: (connection) => (connection as Session).rollback(),
    releaseConnection: async (connection) => (connection as Session).release(),
    // The pool is not its own.
    destroy: async () => {},
  };
  return {
    createDriver: () => driver,
    createAdapter: () => new PostgresAdapter(),
    createIntrospector: (kysely) => new PostgresIntrospector(kysely),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  };
}
