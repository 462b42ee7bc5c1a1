// What every kind of storage promises, as tests. Its own test file says how one is opened, and tests what is its own.
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import type { BlobStorage } from "@ectus/storage";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";

export const tenant = "01900000-0000-7000-8000-000000000001";
export const blob = "01900000-0000-7000-8000-00000000000a";
export const generous = { maxBytes: 64 * 1024 * 1024 };

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

export async function* chunks(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

export async function listed(storage: BlobStorage, tenantId = tenant): Promise<string[]> {
  const ids: string[] = [];
  for await (const id of storage.list(tenantId)) ids.push(id);
  return ids.sort();
}

/** What is no UUID in lower case. */
const evilId = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    "",
    ".",
    "..",
    "../..",
    "/etc/passwd",
    `${blob}\n`,
    `${blob}/`,
    `../${tenant}/${blob}`,
    "C:\\x",
    `${blob}\0`,
  ),
  fc.constantFrom(blob, tenant).map((id) => id.toUpperCase().replace("0000", "A000")),
  fc
    .tuple(fc.string(), fc.uuid())
    .map(([text, id]) => `${text}${id}`)
    .filter((text) => text.length > 36),
);

export interface ContractSubject {
  /** One that is empty before each test. */
  readonly storage: () => BlobStorage;
  /** Everything that lies in it as `<tenant id>/<name>` in order, what unfinished writes left too. */
  readonly everything: () => Promise<readonly string[]>;
}

export function describeStorage(subject: ContractSubject): void {
  const { storage, everything } = subject;
  const blobName = `${tenant}/${blob}`;

  describe("a blob", () => {
    test("comes back as it was written, whatever the sizes of its chunks", async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 2_000 }), { maxLength: 8 }), async (parts) => {
          const whole = Buffer.concat(parts);
          const digest = await storage().write(tenant, blob, Readable.from(parts), generous);
          expect(digest).toEqual({ bytes: whole.length, sha256: sha256(whole) });
          expect(await buffer(await storage().read(tenant, blob))).toEqual(whole);
          expect(await storage().stat(tenant, blob)).toEqual({ bytes: whole.length });
          expect(await everything()).toEqual([blobName]);
        }),
        { numRuns: 30 },
      );
    });

    test("of one chunk larger than a piece is whole", async () => {
      const bytes = randomBytes(3 * 1024 * 1024 + 7);
      const digest = await storage().write(tenant, blob, chunks(bytes), generous);
      expect(digest).toEqual({ bytes: bytes.length, sha256: sha256(bytes) });
      expect(sha256(await buffer(await storage().read(tenant, blob)))).toBe(sha256(bytes));
    });

    test("is read in part as HTTP ranges count", async () => {
      await storage().write(tenant, blob, chunks("0123456789"), generous);
      const part = async (range: { start?: number; end?: number }) =>
        (await buffer(await storage().read(tenant, blob, range))).toString();
      expect(await part({ start: 2, end: 4 })).toBe("234");
      expect(await part({ start: 7 })).toBe("789");
      expect(await part({ end: 0 })).toBe("0");
      expect(await part({ start: 8, end: 99 })).toBe("89");
      expect(await part({ start: 10 })).toBe("");
      for (const range of [{ start: -1 }, { start: 1.5 }, { start: 3, end: 2 }, { end: Number.NaN }]) {
        await expect(storage().read(tenant, blob, range)).rejects.toMatchObject({ code: "storage_error" });
      }
    });

    test("that is empty is so in part and whole", async () => {
      const digest = await storage().write(tenant, blob, chunks(), generous);
      expect(digest).toEqual({ bytes: 0, sha256: sha256(Buffer.alloc(0)) });
      for (const range of [undefined, { start: 0 }, { end: 0 }, { start: 0, end: 9 }, { start: 5 }])
        expect(await buffer(await storage().read(tenant, blob, range))).toHaveLength(0);
      expect(await storage().stat(tenant, blob)).toEqual({ bytes: 0 });
    });

    test("is replaced at once by a second write, and a reader of the first reads on", async () => {
      await storage().write(tenant, blob, chunks("first"), generous);
      const reader = await storage().read(tenant, blob);
      await storage().write(tenant, blob, chunks("second"), generous);
      expect((await buffer(reader)).toString()).toBe("first");
      expect((await buffer(await storage().read(tenant, blob))).toString()).toBe("second");
    });

    test("that is missing is not found, and removing it is no error", async () => {
      const expectMissing = async () => {
        await expect(storage().read(tenant, blob)).rejects.toMatchObject({ code: "not_found" });
        await expect(storage().stat(tenant, blob)).rejects.toMatchObject({ code: "not_found" });
        await storage().remove(tenant, blob);
      };
      // Without the tenant's folder, then with it.
      await expectMissing();
      await storage().write(tenant, randomUUID(), chunks("other"), generous);
      await expectMissing();
    });

    test("of one tenant is not another's", async () => {
      const other = randomUUID();
      await storage().write(tenant, blob, chunks("mine"), generous);
      await expect(storage().read(other, blob)).rejects.toMatchObject({ code: "not_found" });
      await storage().remove(other, blob);
      expect(await listed(storage(), other)).toEqual([]);
      expect(await listed(storage())).toEqual([blob]);
    });

    test("that was removed is gone from the list and the storage", async () => {
      await storage().write(tenant, blob, chunks("x"), generous);
      await storage().remove(tenant, blob);
      await storage().remove(tenant, blob);
      expect(await listed(storage())).toEqual([]);
      expect(await everything()).toEqual([]);
    });
  });

  describe("a write that fails", () => {
    beforeEach(() => storage().write(tenant, blob, chunks("before"), generous));

    async function expectUnchanged(): Promise<void> {
      expect(await everything()).toEqual([blobName]);
      expect((await buffer(await storage().read(tenant, blob))).toString()).toBe("before");
    }

    test("because the source breaks leaves what was there, and throws the source's error", async () => {
      const failure = new Error("the client went away");
      async function* broken(): AsyncGenerator<Uint8Array> {
        yield Buffer.from("half");
        throw failure;
      }
      await expect(storage().write(tenant, blob, broken(), generous)).rejects.toBe(failure);
      await expectUnchanged();
    });

    test("because the source breaks before it is read does not end the process", async () => {
      const failure = new Error("the client went away early");
      const source = new Readable({ read() {} });
      const writing = storage().write(tenant, blob, source, generous);
      source.destroy(failure);
      await expect(writing).rejects.toBe(failure);
      await expectUnchanged();
    });

    test("because it is too large leaves what was there and stops the source", async () => {
      let sent = 0;
      const source = Readable.from(
        (async function* () {
          while (true) {
            sent += 1;
            yield Buffer.alloc(1_000);
          }
        })(),
      );
      await expect(storage().write(tenant, blob, source, { maxBytes: 9_999 })).rejects.toMatchObject({
        code: "request_too_large",
        details: { limitBytes: 9_999 },
      });
      expect(source.destroyed).toBe(true);
      expect(sent).toBeLessThan(100);
      await expectUnchanged();
      await expect(storage().write(tenant, blob, chunks("123", "456"), { maxBytes: 5 })).rejects.toThrow(
        "5 bytes",
      );
      await expectUnchanged();
      await expect(storage().write(tenant, blob, chunks("12345"), { maxBytes: 5 })).resolves.toBeDefined();
    });

    test.each(["a stream", "a generator"])(
      "because it is aborted while %s is silent ends at once",
      async (kind) => {
        const gate = Promise.withResolvers<void>();
        const silent = Promise.withResolvers<void>();
        const source =
          kind === "a stream"
            ? new Readable({
                read() {
                  gate.resolve();
                },
              })
            : (async function* (): AsyncGenerator<Uint8Array> {
                gate.resolve();
                await silent.promise;
                yield Buffer.from("too late");
              })();
        const controller = new AbortController();
        const writing = storage().write(tenant, blob, source, { ...generous, signal: controller.signal });
        await gate.promise;
        const reason = new Error("enough");
        controller.abort(reason);
        await expect(writing).rejects.toBe(reason);
        if (source instanceof Readable) expect(source.destroyed).toBe(true);
        silent.resolve();
        await expectUnchanged();
      },
    );

    test("because it was aborted before it began touches nothing", async () => {
      const reason = new Error("too late");
      const signal = AbortSignal.abort(reason);
      await expect(storage().write(randomUUID(), blob, chunks("x"), { ...generous, signal })).rejects.toBe(
        reason,
      );
      await expectUnchanged();
    });

    test("because the source yields text and not bytes says so", async () => {
      const source = Readable.from(["text"]).setEncoding("utf8");
      await expect(storage().write(tenant, blob, source, generous)).rejects.toThrow(TypeError);
      await expectUnchanged();
    });
  });

  test("an id that is not a UUID is refused before anything is touched", async () => {
    await storage().write(tenant, blob, chunks("x"), generous);
    const before = await everything();
    const refused = { code: "storage_error" };
    await fc.assert(
      fc.asyncProperty(evilId, fc.boolean(), async (evil, asTenant) => {
        const ids: [string, string] = asTenant ? [evil, blob] : [tenant, evil];
        await expect(storage().write(...ids, chunks("evil"), generous)).rejects.toMatchObject(refused);
        await expect(storage().read(...ids)).rejects.toMatchObject(refused);
        await expect(storage().stat(...ids)).rejects.toMatchObject(refused);
        await expect(storage().remove(...ids)).rejects.toMatchObject(refused);
        if (asTenant) await expect(listed(storage(), evil)).rejects.toMatchObject(refused);
      }),
    );
    expect(await everything()).toEqual(before);
  });
}
