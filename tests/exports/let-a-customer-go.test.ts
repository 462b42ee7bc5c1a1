// The whole way over HTTP, as somebody who knows only the API: one of twenty tenants takes everything out. What should
// be in the bag is found by SQL that knows nothing of the data map; what it is, by programs that nobody here wrote.
import { execFileSync } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { type ExportWorker, startExportWorker } from "@ectus/database";
import { peer } from "@ectus/peers";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startApi, type TestApi } from "../api/start-api.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../postgres/test-database.ts";
import { until } from "../postgres/until.ts";
import { signingKey } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

const main = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;
let api: TestApi;
let worker: ExportWorker;
let owner: pg.Client;
let tenants: readonly SeededTenant[];
let mine: SeededTenant;
let adminKey: string;
let base: string;

beforeAll(async () => {
  api = await startApi();
  const { databaseOwnerUrl, storage } = await ownerOf(api);
  owner = new pg.Client({ connectionString: databaseOwnerUrl });
  await owner.connect();
  const seeded: SeededTenant[] = [];
  for (let number = 0; number < 20; number += 1)
    seeded.push(await seedTenant(owner, storage, { completions: 60 + number, users: 3, files: 2 }));
  tenants = seeded;
  mine = seeded[11] as SeededTenant;
  adminKey = (await api.makeKey(mine.id, ["admin"])).key;
  worker = await startExportWorker({
    database: api.database,
    storage,
    signingKey,
    software: "tests",
    log: recordingLog().log,
    concurrency: 2,
    bytesPerSecond: 0,
    ttlMs: 3_600_000,
    partBytes: 15_000,
  });
  base = await mkdtemp(join(tmpdir(), "ectus-go-"));
}, 120_000);
afterAll(async () => {
  await worker.stop();
  await owner.end();
  await api.close();
  await rm(base, { recursive: true });
});

async function ownerOf({ sql, serverOptions }: TestApi) {
  const [found] = await sql<{ url: string }>(
    "select format('postgres://%s@%s:%s/%s', current_user, '127.0.0.1', current_setting('port'), current_database()) as url",
  );
  const url = new URL(found?.url as string);
  url.password = "test-owner";
  return { databaseOwnerUrl: url.href, storage: serverOptions.storage };
}

/** Asks for an export, waits for it, downloads and unpacks it. Gives the bag's folder. */
async function takeOut(body: object): Promise<string> {
  const asked = await api.request("POST", "/v1/exports", { key: adminKey, body });
  expect(asked.status).toBe(202);
  const path = asked.headers.get("location") as string;
  await until(async () => {
    const { json } = await api.request("GET", path, { key: adminKey });
    expect(json.error).toBeNull();
    return json.state === "ready";
  }, 60_000);
  const answer = await fetch(`${api.url}${path}/download`, {
    headers: { authorization: `Bearer ${adminKey}` },
  });
  expect(answer.status).toBe(200);
  const folder = await mkdtemp(join(base, "out-"));
  const tar = join(folder, "bag.tar");
  await pipeline(Readable.fromWeb(answer.body as never), createWriteStream(tar));
  execFileSync("tar", ["-xf", tar, "-C", folder]);
  const [name = ""] = (await readdir(folder)).filter((each) => each !== "bag.tar");
  return join(folder, name);
}

/** Every file below a folder, decompressed where its name says that it is compressed by us. */
async function contentsOf(bag: string): Promise<ReadonlyMap<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for (const entry of await readdir(bag, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name).slice(bag.length + 1);
    const bytes = await readFile(join(bag, path));
    contents.set(path, bytes);
    if (path.startsWith("data/files/")) continue;
    if (path.endsWith(".zst")) contents.set(`${path} plain`, zstdDecompressSync(bytes));
    if (path.endsWith(".gz")) contents.set(`${path} plain`, gunzipSync(bytes));
  }
  return contents;
}

/** Rows of the tenant in every table that has a tenant's id, whatever the program thinks of it. */
async function countsBySql(tenantId: string): Promise<ReadonlyMap<string, number>> {
  const { rows } = await owner.query(
    `select table_name as name from information_schema.columns
     join information_schema.tables using (table_schema, table_name)
     where table_schema = 'public' and column_name = 'tenant_id' and table_type = 'BASE TABLE'
       and table_name not in (select inhrelid::regclass::text from pg_inherits)`,
  );
  const counts = new Map<string, number>([["tenants", 1]]);
  for (const { name } of rows) {
    const found = await owner.query(`select count(*)::integer as count from "${name}" where tenant_id = $1`, [
      tenantId,
    ]);
    counts.set(name, found.rows[0].count);
  }
  return counts;
}

/** The Library of Congress's validator; undefined if it is not here. */
async function bagitValidator(): Promise<((folder: string) => void) | undefined> {
  const bagit = await peer("bagit");
  return (
    bagit &&
    ((folder) =>
      void execFileSync("python3", ["-W", "ignore", "-m", "bagit", "--validate", "--quiet", folder], {
        env: { ...process.env, PYTHONPATH: bagit.folder },
        stdio: "pipe",
      }))
  );
}

test("what has nothing in it is a bag all the same", async ({ skip }) => {
  const validate = await bagitValidator();
  if (validate === undefined) return skip("npm run peers bagit");
  const bag = await takeOut({ scope: { tables: ["messages"], subject: "nobody-of-this-name" } });
  expect((await readdir(bag)).includes("data")).toBe(true);
  validate(bag);
});

describe.each([
  { format: "ndjson", compression: "zstd" },
  { format: "csv", compression: "gzip" },
])("everything of one of twenty tenants as $format with $compression", (options) => {
  let bag: string;
  let contents: ReadonlyMap<string, Buffer>;
  // biome-ignore lint/suspicious/noExplicitAny: the document as somebody reads it who has not its types.
  let document: any;
  beforeAll(async () => {
    bag = await takeOut(options);
    contents = await contentsOf(bag);
    document = JSON.parse((contents.get("export.json") as Buffer).toString());
  }, 90_000);

  function rowsIn(folder: string): number {
    const parts = [...contents].filter(([path]) => path.startsWith(folder) && path.endsWith(" plain"));
    if (!folder.startsWith("data/audit") && options.format === "csv") {
      const count =
        "import csv,sys; csv.field_size_limit(2**31-1); print(sum(1 for _ in csv.reader(open(0, newline='', encoding='utf-8'), strict=True)) - 1)";
      return parts.reduce(
        (sum, [, text]) => sum + Number(execFileSync("python3", ["-c", count], { input: text })),
        0,
      );
    }
    return parts.reduce((sum, [, text]) => sum + text.toString().split("\n").length - 1, 0);
  }

  test("has exactly the rows that SQL counts, table by table, and says which tables it withholds", async () => {
    const counts = await countsBySql(mine.id);
    const withheld: string[] = document.withheldTables.map((table: { name: string }) => table.name);
    for (const [table, count] of counts) {
      if (withheld.includes(table)) continue;
      if (table === "audit_log") {
        // It has grown since: by the entries of the download, and of what other tests here asked for.
        const { rows } = await owner.query(
          "select count(*)::integer as count from audit_log where tenant_id = $1 and created_at < $2",
          [mine.id, document.snapshotAt],
        );
        expect(rowsIn("data/audit/"), table).toBe(rows[0].count);
      } else {
        expect(rowsIn(`data/tables/${table}/`), table).toBe(count);
      }
    }
    expect(withheld.toSorted()).toEqual(["export_parts", "exports", "rate_windows", "token_leases"]);
    for (const { reason } of document.withheldTables) expect(reason).not.toBe("");
    expect(counts.get("messages")).toBeGreaterThan(200);
  });

  test("has the contents of the tenant's files and no others", async () => {
    const paths = [...contents.keys()].filter((path) => path.startsWith("data/files/"));
    expect(
      paths.map((path) => path.slice("data/files/".length, "data/files/".length + 36)).toSorted(),
    ).toEqual(mine.fileIds.toSorted());
  });

  test("has nothing of the other nineteen in any byte, compressed or not", () => {
    const others = tenants.filter(({ id }) => id !== mine.id);
    for (const [path, bytes] of contents) {
      const text = bytes.toString("latin1");
      for (const { id, mark, fileIds } of others) {
        for (const foreign of [id, id.replaceAll("-", ""), mark, ...fileIds])
          expect(text.includes(foreign), `${path} has ${foreign}`).toBe(false);
      }
    }
  });

  test("is a bag that the BagIt validator of the Library of Congress accepts", async ({ skip }) => {
    const validate = await bagitValidator();
    if (validate === undefined) return skip("npm run peers bagit");
    validate(bag);
    const [part = ""] = document.tables
      .find((table: { name: string }) => table.name === "messages")
      .parts.map((each: { path: string }) => each.path);
    const bytes = await readFile(join(bag, part));
    await writeFile(
      join(bag, part),
      Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]),
    );
    expect(() => validate(bag)).toThrow();
    await writeFile(join(bag, part), bytes);
  });

  describe("in an empty instance", () => {
    let target: TestDatabase;
    let targetOwner: pg.Client;
    beforeAll(async () => {
      target = await createTestDatabase();
      targetOwner = new pg.Client({ connectionString: target.ownerUrl });
      await targetOwner.connect();
      const keys = await fetch(`${api.url}/v1/signing-keys`);
      await writeFile(join(base, "keys.json"), JSON.stringify({ keys: [signingKey.publicKey] }));
      expect(keys.status).toBe(200);
    });
    afterAll(async () => {
      await targetOwner.end();
      await target.drop();
    });

    test("has the digests that export.json says, computed by SQL on what was imported", async () => {
      const dataDir = await mkdtemp(join(base, "instance-"));
      const printed = execFileSync(
        process.execPath,
        [main, "export", "import", bag, "--keys", join(base, "keys.json"), "--data-dir", dataDir, "--json"],
        {
          env: { PATH: process.env.PATH, DATABASE_URL: target.appUrl, DATABASE_OWNER_URL: target.ownerUrl },
          stdio: ["ignore", "pipe", "ignore"],
        },
      );
      expect(JSON.parse(printed.toString())).toMatchObject({ tenant_id: mine.id });
      await targetOwner.query("set timezone = 'UTC'");
      for (const { name, digest, rows, columns } of document.tables) {
        const names = columns.map((column: { name: string }) => column.name);
        const line =
          options.format === "csv"
            ? names
                .map((column: string) => `coalesce('"' || replace("${column}"::text, '"', '""') || '"', '')`)
                .join(" || ',' || ")
            : `row_to_json(r)::text`;
        const found = await targetOwner.query(
          `select count(*)::integer as count, coalesce(sum(hashtextextended(${line}, 0)), 0)::text as sum
           from (select ${names.map((column: string) => `"${column}"`)} from ${name} where ${name === "tenants" ? "id" : "tenant_id"} = $1) r`,
          [mine.id],
        );
        expect(found.rows[0].count, name).toBe(rows);
        const sum = BigInt.asUintN(64, BigInt(found.rows[0].sum)).toString(16).padStart(16, "0");
        expect(sum, name).toBe(digest);
      }
      for (const { id, path, sha256 } of document.files) {
        const stored = await readFile(join(dataDir, "files", mine.id, id));
        expect(stored.equals(contents.get(path) as Buffer), sha256).toBe(true);
      }
    }, 60_000);
  });
});
