import {
  type Compilable,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  sql,
} from "kysely";
import { expect, test } from "vitest";
import { connectTo } from "../../../tests/postgres/connect.ts";
import { createTestDatabase } from "../../../tests/postgres/test-database.ts";
import type { DB } from "./schema.ts";
import { kindOf, queryOfKind } from "./statement-kind.ts";

const db = new Kysely<DB>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (kysely) => new PostgresIntrospector(kysely),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
});
const user = { tenant_id: "a", id: "b", name: "c", email: "d" };

test.each<[string, Compilable, string, string]>([
  ["select", db.selectFrom("users").selectAll(), "select", "users"],
  ["select with an alias", db.selectFrom("usage as u").selectAll(), "select", "usage"],
  [
    "select from a select",
    db.selectFrom(db.selectFrom("files").selectAll().as("f")).selectAll(),
    "select",
    "files",
  ],
  [
    "join",
    db.selectFrom("completions").innerJoin("messages", "completion_id", "completions.id").selectAll(),
    "select",
    "completions",
  ],
  ["select of nothing", db.selectNoFrom(sql`1`.as("one")), "select", "none"],
  [
    "common table expression",
    db
      .with("found", (q) => q.selectFrom("users").selectAll())
      .selectFrom("found")
      .selectAll(),
    "select",
    "none",
  ],
  ["insert", db.insertInto("users").values(user), "insert", "users"],
  [
    "insert of a select",
    db.insertInto("users").columns(["id"]).expression(db.selectFrom("files").select("id")),
    "insert",
    "users",
  ],
  ["update", db.updateTable("users").set({ name: "x" }), "update", "users"],
  ["update with an alias", db.updateTable("users as u").set({ name: "x" }), "update", "users"],
  ["delete", db.deleteFrom("users"), "delete", "users"],
  [
    "merge",
    db.mergeInto("users").using("files", "users.id", "files.id").whenMatched().thenDelete(),
    "merge",
    "users",
  ],
  ["other SQL", { compile: () => sql`select 1`.compile(db) }, "raw", "none"],
  [
    "other SQL about a table",
    { compile: () => sql`analyze ${sql.table("usage")}`.compile(db) },
    "raw",
    "usage",
  ],
  [
    "a table that is none of ours",
    { compile: () => sql`analyze ${sql.table("input")}`.compile(db) },
    "raw",
    "none",
  ],
  ["a change of the schema", db.schema.dropTable("users"), "schema", "none"],
])("%s", (_, query, operation, table) => {
  expect(kindOf(query.compile())).toEqual({ operation, table });
});

test("plain SQL is what its writer says", () => {
  const kind = { operation: "lock", table: "none" } as const;
  expect(kindOf(queryOfKind(kind, "select 1", []))).toEqual(kind);
});

test("every table and view of the schema is known by its name", async () => {
  const testDatabase = await createTestDatabase();
  const owner = await connectTo(testDatabase.ownerUrl);
  try {
    const { rows } = await owner.query<{ name: string }>(
      `select relname as name from pg_class
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm') and not relispartition`,
    );
    expect(rows.length).toBeGreaterThan(10);
    for (const { name } of rows)
      expect(
        kindOf(
          db
            .selectFrom(name as "users")
            .selectAll()
            .compile(),
        ),
      ).toEqual({ operation: "select", table: name });
  } finally {
    await owner.end();
    await testDatabase.drop();
  }
});
