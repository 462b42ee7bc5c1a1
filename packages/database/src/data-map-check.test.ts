// The data map against the migrated schema, and against schemas in which something is not as it says.
import type pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../../../tests/postgres/open-test-database.ts";
import { dataMap } from "./data-map.ts";
import {
  type AnyDataMap,
  type AnyTableEntry,
  dataMapFaults,
  type RunQuery,
  readLiveColumns,
  readSchema,
  refuseUnmapped,
} from "./data-map-check.ts";

let opened: OpenTestDatabase;
let owner: pg.Client;
beforeAll(async () => {
  opened = await openTestDatabase();
  owner = opened.owner;
});
afterAll(() => opened.close());

const asOwner: RunQuery = async ({ text, values }) => (await owner.query(text, [...values])).rows as never[];
const asApp: RunQuery = (query) => opened.database.run(query);

test("a database that was migrated just now is as the data map says", async () => {
  expect(dataMapFaults(await readLiveColumns(asApp))).toEqual([]);
});

test("the application's role sees all that the owner sees", async () => {
  const live = await readLiveColumns(asApp);
  expect(live).toEqual(await readLiveColumns(asOwner));
  expect(live.usage?.key).toEqual(["tenant_id", "id", "created_at"]);
  expect(Object.keys(live)).not.toContain("usage_default");
});

test("the types of all columns come in the order of the table", async () => {
  const schema = await readSchema(asApp);
  expect(Object.keys(schema).toSorted()).toEqual(Object.keys(dataMap).toSorted());
  expect(Object.entries(schema.files.columns)).toEqual([
    ["tenant_id", "uuid"],
    ["id", "uuid"],
    ["created_at", "timestamptz"],
    ["filename", "text"],
    ["purpose", "text"],
    ["content_type", "text"],
    ["bytes", "int8"],
    ["sha256", "bytea"],
  ]);
  expect(schema.api_keys.columns.scopes).toBe("_text");
});

describe("a change of the schema that the data map does not have", () => {
  beforeEach(() => owner.query("begin"));
  afterEach(() => owner.query("rollback"));

  test.each([
    ["create table notes (tenant_id uuid primary key)", ["The table notes is not in the data map"]],
    ["create table notes () inherits (files)", ["The table notes is not in the data map"]],
    ["create materialized view copies as select * from users", ["The table copies is not in the data map"]],
    ["alter table users add column phone text", ["The column phone of users is not in the data map"]],
    ["alter table usage add column region text", ["The column region of usage is not in the data map"]],
    ["alter table users drop column name", ["The column name of users is in the data map and not in the"]],
    [
      "alter table users rename column name to full_name",
      ["The column full_name of users is not in", "The column name of users is in the data map and not in"],
    ],
    ["drop table rate_windows", ["The table rate_windows of the data map is not in the database"]],
    [
      "alter table files rename to documents",
      ["The table documents is not", "The table files of the data map"],
    ],
    [
      "alter table files alter column bytes type real",
      ["The column bytes of files has the type float4, of which"],
    ],
    [
      "create type size as enum ('big'); alter table files alter column purpose type size using 'big'",
      ["The column purpose of files has the type public.size, of which"],
    ],
    [
      "create domain text as pg_catalog.text; alter table files alter column purpose type public.text",
      ["The column purpose of files has the type public.text, of which"],
    ],
    [
      "alter table files disable row level security",
      ["The table files has rows of tenants and its row security"],
    ],
    [
      "alter table usage no force row level security",
      ["The table usage has rows of tenants and its row security"],
    ],
    [
      "drop policy tenants_in_scope on rate_windows; alter table rate_windows alter column tenant_id type text",
      ["The column tenant_id of rate_windows says whose a row is and has the type text"],
    ],
    [
      "alter table files drop constraint files_pkey, add primary key (tenant_id, filename)",
      ["The primary key of files is (tenant_id, filename) and by the data map (tenant_id, id)"],
    ],
    [
      "alter table rate_windows drop column tenant_id cascade",
      [
        "The column tenant_id of rate_windows is in the data map and not in the database",
        "The primary key of rate_windows is ()",
      ],
    ],
    ["alter table files drop constraint files_pkey", ["The primary key of files is () and by the data map"]],
    [
      "alter table users alter column created_at type date",
      ["The column created_at of users has the type date, and a range of dates needs timestamptz"],
    ],
    [
      "alter table completions rename column end_user to person",
      [
        "The column person of completions is not",
        "The column end_user of completions is in the data map and not",
        "The data map finds the subject of completions by end_user of completions, which is no column",
      ],
    ],
    [
      "alter table messages rename column completion_id to completion",
      [
        "The column completion of messages is not",
        "The column completion_id of messages is in the data map and not",
        "The primary key of messages is (tenant_id, completion, position)",
        "The data map finds the time of messages by completion_id of messages",
        "The data map finds the subject of messages by completion_id of messages",
      ],
    ],
  ])("%s", async (sql, expected) => {
    await owner.query(sql);
    const live = await readLiveColumns(asOwner);
    expect(dataMapFaults(live)).toEqual(expected.map((start) => expect.stringMatching(startOf(start))));
    expect(() => refuseUnmapped(live)).toThrow(expected[0]);
  });

  test("that is allowed: what no export has may be of any type, and partitions and views are no tables", async () => {
    await owner.query("alter table rate_windows alter column tokens type real");
    await owner.query("alter table api_keys drop column digest cascade, add column digest point");
    await owner.query("call create_month_partitions('2060-01-01', 2)");
    await owner.query("create view some_files as select id from files");
    expect(dataMapFaults(await readLiveColumns(asOwner))).toEqual([]);
  });

  test("an export is refused with every fault and what to do", async () => {
    await owner.query("create table notes (); alter table users add column phone text");
    const error = await readSchema(asOwner).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "data_map_mismatch" });
    expect(error.message).toContain("The table notes is not in the data map");
    expect(error.message).toContain("\nThe column phone of users is not in the data map");
    expect(error.message).toContain("Add it to packages/database/src/data-map.ts");
  });

  test("names that JavaScript knows are names like others", async () => {
    await owner.query(`create table constructor ("__proto__" text)`);
    expect(dataMapFaults(await readLiveColumns(asOwner))).toEqual([
      expect.stringContaining("The table constructor is not in the data map"),
    ]);
    await owner.query(`alter table users add column "__proto__" text`);
    expect(dataMapFaults(await readLiveColumns(asOwner))).toContainEqual(
      expect.stringContaining("The column __proto__ of users is not in the data map"),
    );
  });
});

describe("a data map that does not fit the migrated schema", () => {
  const changed = async (table: keyof typeof dataMap, change: Partial<AnyTableEntry>) => {
    const map: AnyDataMap = { ...dataMap, [table]: { ...(dataMap[table] as AnyTableEntry), ...change } };
    return dataMapFaults(await readLiveColumns(asApp), map);
  };

  test.each([
    [
      "files",
      { tenant: { column: "owner" } },
      ["Rows of files are told to be a tenant's by owner", "The primary key"],
    ],
    ["files", { key: ["created_at"] }, ["The primary key of files is (tenant_id, id)"]],
    [
      "files",
      { time: { columns: ["made_at"] } },
      ["The data map finds the time of files by made_at of files"],
    ],
    [
      "messages",
      { subject: { through: "completions", on: { completion_id: "number" } } },
      ["The data map finds the subject of messages by number of completions"],
    ],
    [
      "messages",
      { subject: { through: "files", on: { completion_id: "id" } } },
      ["The data map finds the subject of messages through files, which has none"],
    ],
    [
      "messages",
      { time: { through: "nothing", on: {} } },
      ["The data map finds the time of messages through nothing, which has none"],
    ],
    [
      "schema_migrations",
      { tenant: { column: "version" }, key: [] },
      ["The column version", "The table schema_mig"],
    ],
  ] as const)("%s with %j", async (table, change, expected) => {
    expect(await changed(table, change)).toEqual(
      expected.map((start) => expect.stringMatching(startOf(start))),
    );
  });
});

const startOf = (text: string): RegExp => new RegExp(`^${text.replace(/[()]/g, "\\$&")}`);
