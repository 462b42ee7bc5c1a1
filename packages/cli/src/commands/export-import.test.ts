// `ectus export import` with exports that the program itself made, from one instance into another.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { createSigningKey, publicKeyBytes } from "@ectus/bag";
import { insertSigningKeys } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readBag, writeBag } from "../../../../tests/exports/read-bag.ts";
import {
  askForExport,
  type RunOptions,
  runNextExport,
  signingKey,
} from "../../../../tests/exports/run-export.ts";
import { type SeededTenant, seedTenant } from "../../../../tests/exports/seed-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import { runRecorded } from "../recorded-context.ts";

let from: OpenTestDatabase;
let storage: BlobStorage;
let tenant: SeededTenant;
let base: string;
let into: OpenTestDatabase;
let dataDir: string;
let keysFile: string;

beforeAll(async () => {
  from = await openTestDatabase();
  base = await mkdtemp(join(tmpdir(), "ectus-import-command-"));
  storage = await openStorage(pathToFileURL(join(base, "storage")).href);
  tenant = await seedTenant(from.owner, storage, { completions: 60 });
  keysFile = join(base, "keys.json");
  await writeFile(keysFile, JSON.stringify({ object: "list", keys: [signingKey.publicKey] }));
});
afterAll(async () => {
  await from.close();
  await rm(base, { recursive: true });
});
beforeEach(async () => {
  into = await openTestDatabase();
  dataDir = await mkdtemp(join(base, "instance-"));
});
afterEach(() => into.close());

let made = 0;
async function bagFolder(options: RunOptions = {}): Promise<string> {
  await askForExport(from.database, tenant.id, options);
  const id = await runNextExport(from.database, storage, options);
  const folder = join(base, `bag-${++made}`);
  await writeBag(await readBag(from.database, storage, tenant.id, id), folder);
  return folder;
}

const run = (...args: string[]) =>
  runRecorded(
    { DATABASE_URL: into.appUrl, DATABASE_OWNER_URL: into.ownerUrl, DATA_DIR: dataDir },
    "export",
    "import",
    ...args,
  );

const storeOf = (folder: string): Promise<BlobStorage> =>
  openStorage(pathToFileURL(join(folder, "files")).href);

async function filesOf(store: BlobStorage, tenantId: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const id of store.list(tenantId)) ids.push(id);
  return ids.sort();
}

async function tenantsIn({ owner }: OpenTestDatabase): Promise<number> {
  return (await owner.query("select count(*)::integer as n from tenants")).rows[0].n - 1;
}

test.each([
  { rowFormat: "ndjson", compression: "zstd" },
  { rowFormat: "csv", compression: "gzip" },
] as const)(
  "an export as %o is imported, and exported again it has the same counts and digests",
  async (options) => {
    const folder = await bagFolder(options);
    const { code, out, err } = await run(folder, "--keys", keysFile, "--json");
    expect(err).toMatch(/^Verifying: .* 100 %.*Importing: .* 100 %/s);
    expect(code).toBe(0);
    const result = JSON.parse(out);
    expect(result).toMatchObject({
      object: "import",
      tenant_id: tenant.id,
      signature: "valid",
      signed_by: signingKey.publicKey.kid,
      files: tenant.fileIds.length,
      unusable_api_keys: 1,
    });
    const there = await storeOf(dataDir);
    expect(await filesOf(there, tenant.id)).toEqual([...tenant.fileIds].sort());

    await askForExport(into.database, tenant.id, options);
    const again = await readBag(
      into.database,
      there,
      tenant.id,
      await runNextExport(into.database, there, options),
    );
    const first = JSON.parse(await readFile(join(folder, "export.json"), "utf8"));
    const second = JSON.parse(String(again.get("export.json")));
    const summary = (document: typeof first) =>
      document.tables.map(({ name, rows, digest }: Record<string, unknown>) => ({ name, rows, digest }));
    expect(summary(second)).toEqual(summary(first));
    expect(second.files).toEqual(first.files);
  },
);

test("people see of an imported tar the tenant, its tables and that its keys do not work", async () => {
  const folder = await bagFolder();
  const tar = `${folder}.tar`;
  execFileSync("tar", ["-cf", tar, "-C", base, basename(folder)]);
  const { code, out, err } = await run(tar, "--keys", keysFile, "--as-new-tenant", "--tenant-name", "Copy");
  expect(code, err).toBe(0);
  expect(out).toMatch(/^tenant +Copy \([0-9a-f-]{36}\)\n/);
  expect(out).toContain(`signed by  ${signingKey.publicKey.kid}\n`);
  expect(out).toMatch(/^messages +240$/m);
  expect(out).toContain("1 API key was imported without the secret and cannot be used");
  const { rows } = await into.owner.query("select id from tenants where name = 'Copy'");
  expect(rows[0].id).not.toBe(tenant.id);
});

describe("who signed it", () => {
  test("is asked for: a key that nobody knows is refused, and allowed if that is said", async () => {
    const folder = await bagFolder();
    const refused = await run(folder, "--json");
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.out).error).toMatchObject({
      code: "signer_unknown",
      message: expect.stringContaining(signingKey.publicKey.kid),
    });
    const otherKeys = join(base, "other-keys.json");
    const { publicKey } = createSigningKey(randomBytes(32).toString("base64url"));
    await writeFile(otherKeys, JSON.stringify({ keys: [publicKey] }));
    expect((await run(folder, "--keys", otherKeys)).err).toContain("--allow-unknown-signer");
    expect(await tenantsIn(into)).toBe(0);
    const allowed = await run(folder, "--allow-unknown-signer", "--json");
    expect(allowed.code).toBe(0);
    expect(JSON.parse(allowed.out).signature).toBe("unknown_key");
  });

  test("may be the instance itself", async () => {
    const { kid } = signingKey.publicKey;
    await insertSigningKeys(into.database, [{ kid, publicKey: publicKeyBytes(signingKey.publicKey) }]);
    expect((await run(await bagFolder())).code).toBe(0);
  });

  test("is not read from a file that is no list of keys", async () => {
    const { code, err } = await run(await bagFolder(), "--keys", "/nowhere/keys.json");
    expect(code).toBe(2);
    expect(err).toContain("--keys: /nowhere/keys.json cannot be used");
  });
});

describe("nothing is imported", () => {
  afterEach(async () => {
    expect(await tenantsIn(into)).toBe(0);
    expect(await filesOf(await storeOf(dataDir), tenant.id)).toEqual([]);
  });

  test("of a bag that was changed, whoever may have signed it", async () => {
    const folder = await bagFolder({ compression: "none" });
    await appendFile(join(folder, "data/tables/users/part-00001.ndjson"), "{}\n");
    const { code, err } = await run(folder, "--keys", keysFile, "--allow-unknown-signer");
    expect(code).toBe(1);
    expect(err).toContain("data/tables/users/part-00001.ndjson");
  });

  test("of a bag whose signature was taken off", async () => {
    const folder = await bagFolder();
    await rm(join(folder, "export.json.sig"));
    expect((await run(folder, "--keys", keysFile, "--allow-unknown-signer")).code).toBe(1);
  });

  test("of what is no bag", async () => {
    expect((await run(join(base, "missing"))).err).toContain("there is nothing at");
  });

  test("as the application", async () => {
    const { code, err } = await runRecorded(
      { DATABASE_URL: into.appUrl, DATA_DIR: dataDir },
      ...["export", "import", await bagFolder(), "--keys", keysFile],
    );
    expect(code).toBe(1);
    expect(err).toContain("DATABASE_OWNER_URL");
  });
});

test("a tenant that is there is refused with what to do", async () => {
  const folder = await bagFolder();
  expect((await run(folder, "--keys", keysFile)).code).toBe(0);
  const { code, err } = await run(folder, "--keys", keysFile);
  expect(code).toBe(1);
  expect(err).toContain("--as-new-tenant");
  expect((await run(folder, "--keys", keysFile, "--as-new-tenant")).code).toBe(0);
  expect(await tenantsIn(into)).toBe(2);
});
