import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { mountSmallDisk } from "../../../tests/storage/small-disk.ts";
import {
  blob,
  chunks,
  describeStorage,
  generous,
  listed,
  tenant,
} from "../../../tests/storage/storage-contract.ts";
import { type BlobStorage, openStorage } from "./index.ts";

let base: string;
let root: string;
let storage: BlobStorage;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "ectus-storage-"));
  root = join(base, "root");
  storage = await openStorage(pathToFileURL(root).href);
});
afterEach(async () => {
  await rm(base, { recursive: true, force: true });
});

const namesOf = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

describeStorage({
  storage: () => storage,
  everything: async () => {
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => `${basename(entry.parentPath)}/${entry.name}`)
      .sort();
  },
});

test("a blob can be read by nobody else on the machine", async () => {
  await storage.write(tenant, blob, chunks("x"), generous);
  expect((await stat(join(root, tenant))).mode & 0o777).toBe(0o700);
  expect((await stat(join(root, tenant, blob))).mode & 0o777).toBe(0o600);
});

test("an open blob is read into the caller's memory, in any part, also when it was removed meanwhile", async () => {
  await storage.write(tenant, blob, chunks("some text"), generous);
  const open = storage.open as NonNullable<BlobStorage["open"]>;
  const reader = await open(tenant, blob);
  try {
    await storage.remove(tenant, blob);
    expect(reader.bytes).toBe(9);
    const into = Buffer.alloc(6, ".");
    expect(await reader.read(into, 2)).toBe(6);
    expect(into.toString()).toBe("me tex");
    expect(await reader.read(into, 8)).toBe(1);
    expect(into.toString()).toBe("te tex");
    expect(await reader.read(into, 9)).toBe(0);
  } finally {
    await reader.close();
  }
  await expect(reader.read(Buffer.alloc(1), 0)).rejects.toMatchObject({ code: "storage_error" });
  await expect(open(tenant, blob)).rejects.toMatchObject({ code: "not_found" });
  await expect(open(tenant, "../x")).rejects.toMatchObject({ code: "storage_error" });
  await expect(open("..", blob)).rejects.toMatchObject({ code: "storage_error" });
});

test("a write that finds a folder in the blob's place leaves no temporary file", async () => {
  const place = randomUUID();
  await storage.write(tenant, blob, chunks("before"), generous);
  await mkdir(join(root, tenant, place, "inside"), { recursive: true });
  await expect(storage.write(tenant, place, chunks("x"), generous)).rejects.toMatchObject({
    code: "storage_error",
  });
  await expect(storage.read(tenant, place)).rejects.toMatchObject({ code: "storage_error" });
  await expect(storage.remove(tenant, place)).rejects.toMatchObject({ code: "storage_error" });
  expect((await namesOf(join(root, tenant))).sort()).toEqual([blob, place].sort());
});

test("a source is asked for more only when what it gave is on its way to the disk", async () => {
  const chunk = Buffer.alloc(300_000);
  const sizes: number[] = [];
  async function* watching(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 5; i += 1) {
      const [temporary] = await namesOf(join(root, tenant));
      sizes.push((await stat(join(root, tenant, String(temporary)))).size);
      yield chunk;
    }
  }
  await storage.write(tenant, blob, watching(), generous);
  expect(sizes).toEqual([0, 1, 2, 3, 4].map((count) => count * chunk.length));
});

test("a process that is killed while it writes leaves a temporary file, which is not listed and is removed when it is old", async () => {
  const program = `
    import { openStorage } from ${JSON.stringify(new URL("./index.ts", import.meta.url).href)};
    const storage = await openStorage(${JSON.stringify(pathToFileURL(root).href)});
    await storage.write(${JSON.stringify(tenant)}, ${JSON.stringify(blob)}, (async function* () {
      yield Buffer.alloc(1000);
      process.stdout.write("half");
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    })(), { maxBytes: 1e9 });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");

  const [left, ...others] = await namesOf(join(root, tenant));
  expect(others).toEqual([]);
  expect(left).toMatch(/\.tmp$/);
  expect(await listed(storage)).toEqual([]);
  await storage.write(tenant, blob, chunks("whole"), generous);
  await writeFile(join(root, tenant, "notes.tmp"), "not ours");
  await mkdir(join(root, "lost+found"));

  const hourAgo = new Date(Date.now() - 3_600_000);
  expect(await storage.removeUnfinished(hourAgo)).toBe(0);
  for (const name of await namesOf(join(root, tenant))) {
    await utimes(join(root, tenant, name), hourAgo, new Date(hourAgo.getTime() - 1));
  }
  expect(await storage.removeUnfinished(hourAgo)).toBe(1);
  expect((await namesOf(join(root, tenant))).sort()).toEqual([blob, "notes.tmp"].sort());
  expect(await listed(storage)).toEqual([blob]);
});

describe("nothing leaves the tenant's folder:", () => {
  test("a symbolic link in a blob's place is neither read nor written through", async () => {
    const outside = join(base, "outside");
    await writeFile(outside, "secret");
    await storage.write(tenant, randomUUID(), chunks("x"), generous);
    await symlink(outside, join(root, tenant, blob));
    await expect(storage.read(tenant, blob)).rejects.toMatchObject({ code: "storage_error" });
    await expect(storage.stat(tenant, blob)).rejects.toMatchObject({ code: "storage_error" });
    expect(await listed(storage)).not.toContain(blob);
    await storage.write(tenant, blob, chunks("mine"), generous);
    expect(await readFile(outside, "utf8")).toBe("secret");
    expect((await buffer(await storage.read(tenant, blob))).toString()).toBe("mine");
    await storage.remove(tenant, blob);
    await symlink(outside, join(root, tenant, blob));
    await storage.remove(tenant, blob);
    expect(await readFile(outside, "utf8")).toBe("secret");
  });

  test("a symbolic link or a file in the tenant's place is refused", async () => {
    const outside = join(base, "elsewhere");
    await mkdir(outside);
    await writeFile(join(outside, blob), "secret");
    const linked = randomUUID();
    await symlink(outside, join(root, linked));
    const file = randomUUID();
    await writeFile(join(root, file), "");
    for (const id of [linked, file]) {
      const refused = { code: "storage_error" };
      await expect(storage.read(id, blob)).rejects.toMatchObject(refused);
      await expect(storage.write(id, blob, chunks("x"), generous)).rejects.toMatchObject(refused);
      await expect(storage.remove(id, blob)).rejects.toMatchObject(refused);
      await expect(listed(storage, id)).rejects.toMatchObject(refused);
    }
    expect(await readdir(outside)).toEqual([blob]);
  });

  test("a pipe in a blob's place is refused and not waited for", async () => {
    await storage.write(tenant, randomUUID(), chunks("x"), generous);
    execFileSync("mkfifo", [join(root, tenant, blob)]);
    await expect(storage.read(tenant, blob)).rejects.toMatchObject({ code: "storage_error" });
  });
});

describe("a full disk", () => {
  test("is reported as storage_full, nothing is left of the blob, and what was there stays", async (context) => {
    const folder = join(base, "small");
    mkdirSync(folder);
    const unmount = mountSmallDisk(folder);
    if (unmount === undefined)
      return context.skip("NOT TESTED: a full disk. It takes the right to mount a tmpfs; run as root.");
    try {
      const full = await openStorage(pathToFileURL(folder).href);
      await full.write(tenant, blob, chunks("small"), generous);
      const source = Readable.from(
        (async function* () {
          for (let i = 0; i < 64; i += 1) yield Buffer.alloc(64 * 1024);
        })(),
      );
      await expect(full.write(tenant, blob, source, generous)).rejects.toMatchObject({
        code: "storage_full",
      });
      expect(source.destroyed).toBe(true);
      expect(await readdir(join(folder, tenant))).toEqual([blob]);
      expect((await buffer(await full.read(tenant, blob))).toString()).toBe("small");
      await expect(full.write(tenant, randomUUID(), chunks("fits again"), generous)).resolves.toBeDefined();
    } finally {
      unmount();
    }
  });
});

describe("openStorage", () => {
  test("refuses what it cannot open, and names what it accepts", async () => {
    for (const url of ["https://x.example", "file://host/share", "files", ""]) {
      await expect(openStorage(url)).rejects.toMatchObject({ code: "invalid_config" });
      await expect(openStorage(url)).rejects.toThrow("file:///var/lib/ectus/files");
    }
  });

  test("reports a place that cannot be a folder", async () => {
    const file = join(base, "file");
    await writeFile(file, "");
    await expect(openStorage(pathToFileURL(join(file, "below")).href)).rejects.toMatchObject({
      code: "storage_error",
    });
  });

  test("opens a folder that is there already", async () => {
    await chmod(root, 0o755);
    await storage.write(tenant, blob, chunks("kept"), generous);
    const again = await openStorage(pathToFileURL(root).href);
    expect((await buffer(await again.read(tenant, blob))).toString()).toBe("kept");
  });
});
