// Bags of the real engine, in folders and as the tar file that is downloaded: whatever was asked for is a bag that has no
// fault, and whatever is done to it afterwards is one.
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { type BagReport, openBag, verifyBag } from "@ectus/bag";
import { listExportParts } from "@ectus/database";
import { peer } from "@ectus/peers";
import { type BlobStorage, openStorage } from "@ectus/storage";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nastyTenant } from "../exports/nasty-tenant.ts";
import { decompress, readBag } from "../exports/read-bag.ts";
import {
  askForExport,
  type RunOptions,
  runNextExport,
  runNextExportUntil,
  signingKey,
} from "../exports/run-export.ts";
import { type SeededTenant, seedTenant } from "../exports/seed-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { compress, createTestKey, seal, sourceOf, type TestBag, tarOf } from "./test-bag.ts";

const bagit = await peer("bagit");

let opened: OpenTestDatabase;
let storage: BlobStorage;
let folder: string;
let tenant: SeededTenant;
let other: SeededTenant;
/** Of nothing but its own row. */
let empty: string;

beforeAll(async () => {
  opened = await openTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "ectus-real-bags-"));
  storage = await openStorage(pathToFileURL(join(folder, "storage")).href);
  tenant = await seedTenant(opened.owner, storage, { completions: 30 });
  other = await seedTenant(opened.owner, storage, { completions: 30 });
  const { rows } = await opened.owner.query(
    "insert into tenants (id, name) values (gen_random_uuid(), ' ') returning id",
  );
  empty = rows[0].id;
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});

async function bagOf(tenantId: string, exportId: string): Promise<TestBag> {
  const { rows } = await opened.owner.query("select bag_name from exports where id = $1", [exportId]);
  const files = await readBag(opened.database, storage, tenantId, exportId);
  return { name: rows[0].bag_name, files: new Map(files) };
}

async function exported(tenantId: string, options: RunOptions = {}): Promise<TestBag> {
  await askForExport(opened.database, tenantId, options);
  return bagOf(tenantId, await runNextExport(opened.database, storage, options));
}

const verified = { keys: [signingKey.publicKey], signal: new AbortController().signal };
const check = (bag: TestBag): Promise<BagReport> => verifyBag(sourceOf(bag), verified);

/** In memory, as a tar file, and as the folder that GNU tar makes of it; to the BagIt validator too. */
async function expectWhole(bag: TestBag): Promise<void> {
  const base = await mkdtemp(join(folder, "bag-"));
  const tar = join(base, "bag.tar");
  await writeFile(tar, tarOf(bag));
  execFileSync("tar", ["-xf", tar, "-C", base]);
  const reports = [await check(bag)];
  if (bagit !== undefined)
    execFileSync("python3", ["-m", "bagit", "--validate", "--quiet", join(base, bag.name)], {
      env: { ...process.env, PYTHONPATH: bagit.folder ?? "" },
      stdio: ["ignore", "ignore", "pipe"],
      timeout: 60_000,
    });
  for (const path of [tar, join(base, bag.name)]) {
    await using source = await openBag(path);
    reports.push(await verifyBag(source, verified));
  }
  for (const report of reports) {
    expect(report.faults).toEqual([]);
    expect(report).toMatchObject({ ok: true, signature: { state: "valid" }, files: bag.files.size });
  }
  await rm(base, { recursive: true });
}

const everyForm = (["ndjson", "csv"] as const).flatMap((rowFormat) =>
  (["none", "gzip", "zstd"] as const).map((compression) => ({ rowFormat, compression })),
);

describe.each(everyForm)("as $rowFormat with $compression a bag has no fault", (form) => {
  test("of everything that a tenant has", async () => {
    const bag = await exported(tenant.id, { ...form, partBytes: 5_000 });
    expect(bag.files.size).toBeGreaterThan(20);
    await expectWhole(bag);
  });

  test("when it was interrupted, and a part of the first run has no rows any more", async () => {
    const resumed = await seedTenant(opened.owner, storage, { completions: 30 });
    const options = { ...form, partBytes: 5_000 };
    const { id } = await askForExport(opened.database, resumed.id, options);
    const stop = new AbortController();
    const atFiles: BlobStorage = {
      ...storage,
      read: async () => {
        stop.abort(new Error("enough"));
        throw stop.signal.reason;
      },
    };
    await runNextExportUntil(opened.database, atFiles, { ...options, signal: stop.signal });
    for (const table of ["completions", "users"])
      await opened.owner.query(`delete from ${table} where tenant_id = $1`, [resumed.id]);
    await runNextExport(opened.database, storage, options);
    const parts = await listExportParts(opened.database, resumed.id, id);
    expect(parts.filter((part) => part.row_count === 0).length).toBeGreaterThan(3);
    await expectWhole(await bagOf(resumed.id, id));
  });

  test("with values that formats get wrong", async () => {
    const nasty = await nastyTenant(opened.owner);
    // Times of files are told in export.json, where only RFC 3339 has a place.
    await opened.owner.query("update files set created_at = '2026-01-01' where tenant_id = $1", [nasty.id]);
    for (const [id, bytes] of nasty.contents)
      await storage.write(nasty.id, id, Readable.from([bytes]), { maxBytes: 1e9 });
    await expectWhole(await exported(nasty.id, { ...form, partBytes: 5_000 }));
  });
});

describe.each([
  { rowFormat: "csv", compression: "zstd" },
  { rowFormat: "ndjson", compression: "none" },
] as const)("as $rowFormat with $compression a bag of little has no fault:", (form) => {
  test("of a tenant that has nothing", async () => {
    await expectWhole(await exported(empty, form));
  });

  test("of one person, or of a time, also one in which nothing was", async () => {
    const tables = ["completions", "messages"] as const;
    const none = { tables, files: false, auditLog: false };
    await expectWhole(await exported(tenant.id, { ...form, scope: { ...none, subject: "end-user-1" } }));
    await expectWhole(await exported(tenant.id, { ...form, scope: { ...none, subject: "nobody" } }));
    for (const [from, to] of [
      ["2026-05-01T00:10:00Z", "2026-05-01T00:20:00.5+00:00"],
      ["1999-01-01T00:00:00Z", "1999-01-02T00:00:00Z"],
    ] as const)
      await expectWhole(
        await exported(tenant.id, { ...form, scope: { ...none, files: true, auditLog: true, from, to } }),
      );
  });

  test("of files alone, of the audit log alone, of nothing at all", async () => {
    const nothing = { tables: [], files: false, auditLog: false };
    await expectWhole(await exported(tenant.id, { ...form, scope: { ...nothing, files: true } }));
    await expectWhole(await exported(tenant.id, { ...form, scope: { ...nothing, auditLog: true } }));
    await expectWhole(await exported(empty, { ...form, scope: { ...nothing, files: true } }));
  });
});

describe("a change to a bag is a fault:", () => {
  test.each(everyForm)(
    "any byte of $rowFormat with $compression, in its folder or its tar file",
    async (form) => {
      const bag = await exported(tenant.id, { ...form, partBytes: 20_000 });
      const places = [...bag.files].filter(([, { length }]) => length > 0);
      const tar = tarOf(bag);
      // Bytes that say nothing: what fills blocks, and the line feed after the signature.
      const silent = new Set<number>();
      let offset = 0;
      for (const [path, { length }] of bag.files) {
        offset += 512 + length;
        if (path === "export.json.sig") silent.add(offset - 1);
        for (; offset % 512 !== 0; offset++) silent.add(offset);
      }
      const byte = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }));
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...places), byte, async ([path, bytes], [at, mask]) => {
          fc.pre(path !== "export.json.sig" || at % bytes.length !== bytes.length - 1);
          const files = new Map(bag.files).set(path, changed(bytes, at % bytes.length, mask));
          expect((await check({ ...bag, files })).ok).toBe(false);
        }),
        { numRuns: 25 },
      );
      const path = join(folder, "changed.tar");
      await fc.assert(
        fc.asyncProperty(byte, async ([at, mask]) => {
          fc.pre(!silent.has(at % tar.length));
          await writeFile(path, changed(tar, at % tar.length, mask));
          expect(await isWhole(path)).toBe(false);
        }),
        { numRuns: 25 },
      );
    },
  );

  test("a tar file that ends early, or lacks blocks in its middle", async () => {
    const tar = tarOf(await exported(tenant.id));
    const path = join(folder, "short.tar");
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), async (one, another) => {
        const [from, to] = [one % tar.length, another % tar.length].sort((a, b) => a - b) as [number, number];
        fc.pre(to > from && tar.subarray(from, to).some((value) => value !== 0));
        await writeFile(path, Buffer.concat([tar.subarray(0, from), tar.subarray(to)]));
        expect(await isWhole(path)).toBe(false);
        await writeFile(path, tar.subarray(0, from));
        expect(await isWhole(path)).toBe(false);
      }),
      { numRuns: 30 },
    );
  });

  test.each(["ndjson", "csv"] as const)(
    "a row of %s taken out, doubled or moved to another part, with manifests made anew",
    async (rowFormat) => {
      const bag = await exported(tenant.id, { rowFormat, partBytes: 1_000 });
      const [one, two] = pathsOf(bag, "data/tables/usage/") as [string, string];
      const end = rowFormat === "csv" ? "\r\n" : "\n";
      const lines = (path: string): string[] =>
        String(decompress(path, bag.files.get(path) as Buffer)).split(end);
      const packed = (all: readonly string[]): Buffer => compress(Buffer.from(all.join(end)), "zstd");
      const [a, b] = [lines(one), lines(two)];
      const row = a[2] as string;
      const attempts: Record<string, readonly (readonly [string, Buffer])[]> = {
        removed: [[one, packed(a.toSpliced(2, 1))]],
        doubled: [[one, packed(a.toSpliced(2, 0, row))]],
        replaced: [[one, packed(a.toSpliced(1, 1, row))]],
        moved: [
          [one, packed(a.toSpliced(2, 1))],
          [two, packed(b.toSpliced(2, 0, row))],
        ],
      };
      for (const [how, changes] of Object.entries(attempts)) {
        const codes = await codesOf(forged(bag, changes));
        expect(codes, how).toContain("digest_differs");
        expect(codes, how).toContain(how === "replaced" ? "row_digest_differs" : "rows_differ");
        expect(codes, how).toContain("signature_invalid");
      }
    },
  );

  test("a part of another table, another tenant, or another export of the same tenant", async () => {
    const bag = await exported(tenant.id);
    const again = await exported(tenant.id);
    const foreign = await exported(other.id);
    const [part = ""] = pathsOf(bag, "data/tables/messages/");
    const sources: readonly (readonly [TestBag, string])[] = [
      [bag, pathsOf(bag, "data/tables/completions/")[0] as string],
      [foreign, part],
      // Which has grown by the exports themselves.
      [again, pathsOf(bag, "data/audit/").at(-1) as string],
    ];
    for (const [from, path] of sources) {
      const target = path.startsWith("data/audit/") ? path : part;
      const bytes = from.files.get(path) as Buffer;
      const codes = await codesOf(forged(bag, [[target, bytes]]));
      expect(codes).toContain("digest_differs");
      expect(codes).toContain("signature_invalid");
    }
    for (const name of ["export.json", "tagmanifest-sha256.txt", "export.json.sig", "manifest-sha256.txt"]) {
      const files = new Map(bag.files).set(name, again.files.get(name) as Buffer);
      expect((await check({ ...bag, files })).ok, name).toBe(false);
    }
    // A whole other bag under this one's name.
    expect(await codesOf({ ...again, name: bag.name })).toEqual(["folder_differs"]);
  });
});

function changed(bytes: Buffer, at: number, mask: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ mask;
  return copy;
}

async function isWhole(path: string): Promise<boolean> {
  expect((await stat(path)).size).toBeGreaterThanOrEqual(0);
  try {
    await using source = await openBag(path);
    return (await verifyBag(source, verified)).ok;
  } catch (error) {
    expect(error).toMatchObject({ code: "bag_invalid" });
    return false;
  }
}

const codesOf = async (bag: TestBag): Promise<readonly string[]> =>
  (await check(bag)).faults.map(({ code }) => code);

const pathsOf = ({ files }: TestBag, below: string): readonly string[] =>
  [...files.keys()].filter((path) => path.startsWith(below)).sort();

/** The bag with other files and all manifests made to fit, but the signature that it had. */
function forged(bag: TestBag, changes: readonly (readonly [string, Buffer])[]): TestBag {
  const one = { ...bag, files: new Map(bag.files) };
  for (const [path, bytes] of changes) one.files.set(path, bytes);
  seal(one, createTestKey());
  one.files.set("export.json.sig", bag.files.get("export.json.sig") as Buffer);
  return one;
}
