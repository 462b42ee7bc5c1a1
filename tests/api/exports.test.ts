// Exports as clients ask for them and look after them, through both doors; what a worker makes of them is put there by
// hand. Downloads are in export-downloads.test.ts.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { dataMap, exportedTables } from "@ectus/database";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { insertExport, makeReadyExport } from "./ready-export.ts";
import { type Answer, type RequestOptions, startApi, type TestApi } from "./start-api.ts";

let api: TestApi;
let tenantId: string;
let adminKey: string;

beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());
beforeEach(async () => {
  tenantId = (await api.makeTenant()).id;
  adminKey = (await api.makeKey(tenantId, ["admin"])).key;
});

const request = (method: string, path = "", options: RequestOptions = {}): Promise<Answer> =>
  api.request(method, `/v1/exports${path}`, { key: adminKey, ...options });
const create = (body?: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  request("POST", "", { ...(body === undefined ? {} : { body }), headers });
const subjectTables = exportedTables.filter((table) => dataMap[table].subject !== null);

/** The tenant's audit log about exports, the oldest first. */
const audited = () =>
  api.sql<{ action: string; actor_type: string; target_id: string; details: Record<string, unknown> }>(
    "select action, actor_type, target_id, details from audit_log where tenant_id = $1 and action like 'export.%' order by id",
    [tenantId],
  );

async function forget(): Promise<void> {
  await api.sql("delete from exports where tenant_id = $1", [tenantId]);
}

describe("asking for an export", () => {
  test("takes no body, gives all there is, and says where it is", async () => {
    const answer = await create();
    expect(answer.status, answer.text).toBe(202);
    const { id, created_at, ...rest } = answer.json;
    expect(id).toMatch(/^export-[0-9a-f]{32}$/);
    expect(Math.abs(created_at - Date.now() / 1_000)).toBeLessThan(60);
    expect(rest).toEqual({
      object: "export",
      format: "ndjson",
      compression: "zstd",
      scope: { tables: exportedTables, files: true, audit_log: true },
      state: "queued",
      phase: "waiting",
      attempt: 0,
      progress: {
        rows_done: 0,
        rows_expected: null,
        bytes_done: 0,
        bytes_expected: null,
        rows_per_second: null,
        bytes_per_second: null,
        seconds_left: null,
      },
      started_at: null,
      finished_at: null,
      expires_at: null,
      notice: null,
      bag: null,
      error: null,
    });
    expect(answer.headers.get("location")).toBe(`/v1/exports/${id}`);
    const shown = await api.request("GET", String(answer.headers.get("location")), { key: adminKey });
    expect(shown.json).toEqual(answer.json);
    expect(await audited()).toMatchObject([
      { action: "export.requested", actor_type: "api_key", details: { format: "ndjson", files: true } },
    ]);
  });

  test("takes every format and compression", async () => {
    for (const format of ["ndjson", "csv"])
      for (const compression of ["none", "gzip", "zstd"]) {
        const { json, status } = await create({ format, compression });
        expect([status, json.format, json.compression]).toEqual([202, format, compression]);
        await forget();
      }
  });

  const all = { tables: exportedTables, files: true, audit_log: true };
  const nothing = { tables: [], files: false, audit_log: false };
  test.each<[string, object, object]>([
    ["{}", {}, all],
    ["a table", { tables: ["messages"] }, { ...nothing, tables: ["messages"] }],
    [
      "tables twice and in another order",
      { tables: ["usage", "tenants", "usage"] },
      { ...nothing, tables: ["tenants", "usage"] },
    ],
    ["files", { files: true }, { ...nothing, files: true }],
    ["the audit log and no files", { audit_log: true, files: false }, { ...nothing, audit_log: true }],
    [
      "a table and the audit log",
      { tables: ["users"], audit_log: true },
      { tables: ["users"], files: false, audit_log: true },
    ],
    [
      "times of any zone",
      { from: "2026-01-01T00:00:00+02:00", to: "2026-02-01T00:00:00.5Z" },
      { ...all, from: "2025-12-31T22:00:00.000Z", to: "2026-02-01T00:00:00.500Z" },
    ],
    ["a person", { subject: "Grüße 🦀" }, { ...nothing, tables: subjectTables, subject: "Grüße 🦀" }],
    [
      "a long one",
      { subject: "🦀".repeat(320) },
      { ...nothing, tables: subjectTables, subject: "🦀".repeat(320) },
    ],
    [
      "a person in a table",
      { subject: "x", tables: ["messages"], files: false },
      { ...nothing, tables: ["messages"], subject: "x" },
    ],
  ])("with %s for its scope selects just that", async (_, scope, expected) => {
    const { json, status, text } = await create({ scope });
    expect(status, text).toBe(202);
    expect(json.scope).toEqual(expected);
    const [row] = await api.sql<{ scope: object }>("select scope from exports where tenant_id = $1", [
      tenantId,
    ]);
    const { audit_log: auditLog, ...rest } = expected as Record<string, unknown>;
    expect(row?.scope).toEqual({ ...rest, auditLog });
  });

  test("names no person in the audit log", async () => {
    await create({ scope: { subject: "ada@example.com" } });
    expect(JSON.stringify(await audited())).not.toContain("ada@");
  });

  test.each<[unknown, string | null, string]>([
    ["[]", null, "The request body is not valid: it must be object."],
    ["null", null, "The request body is not valid: it must be object."],
    [{ fromat: "csv" }, "fromat", "The field 'fromat' is not valid: it is not known here."],
    [{ format: "xml" }, "format", `The field 'format' is not valid: accepted are "ndjson", "csv".`],
    [{ format: null }, "format", `The field 'format' is not valid: accepted are "ndjson", "csv".`],
    [
      { compression: "brotli" },
      "compression",
      `The field 'compression' is not valid: accepted are "none", "gzip", "zstd".`,
    ],
    [{ scope: "all" }, "scope", "The field 'scope' is not valid: it must be object."],
    [
      { scope: { users: true } },
      "scope.users",
      "The field 'scope.users' is not valid: it is not known here.",
    ],
    [
      { scope: { tables: "users" } },
      "scope.tables",
      "The field 'scope.tables' is not valid: it must be array.",
    ],
    [
      { scope: { tables: ["users", "audit_log"] } },
      "scope.tables[1]",
      `The field 'scope.tables[1]' is not valid: accepted are ${exportedTables.map((table) => `"${table}"`).join(", ")}.`,
    ],
    [
      { scope: { tables: Array(101).fill("users") } },
      "scope.tables",
      "The field 'scope.tables' is not valid: it must NOT have more than 100 items.",
    ],
    [{ scope: { files: "yes" } }, "scope.files", "The field 'scope.files' is not valid: it must be boolean."],
    [
      { scope: { from: "yesterday" } },
      "scope.from",
      `The field 'scope.from' is not valid: it must match format "date-time".`,
    ],
    [
      { scope: { from: "2016-12-31T23:59:60Z" } },
      "scope.from",
      "The field 'scope.from' is not valid: it is no time that this platform knows.",
    ],
    [
      { scope: { to: "0000-06-01T00:00:00Z" } },
      "scope.to",
      "The field 'scope.to' is not valid: it is no time that this platform knows.",
    ],
    [
      { scope: { to: "9999-12-31T23:59:59-01:00" } },
      "scope.to",
      "The field 'scope.to' is not valid: it is no time that this platform knows.",
    ],
    [
      { scope: { from: "2026-01-01T01:00:00+01:00", to: "2026-01-01T00:00:00Z" } },
      "scope.to",
      "The field 'scope.to' is not valid: it must be later than 'scope.from'.",
    ],
    [
      { scope: { subject: "" } },
      "scope.subject",
      "The field 'scope.subject' is not valid: it must NOT have fewer than 1 characters.",
    ],
    [
      { scope: { subject: "x".repeat(321) } },
      "scope.subject",
      "The field 'scope.subject' is not valid: it must NOT have more than 320 characters.",
    ],
    [
      { scope: { subject: "x", files: true } },
      "scope.files",
      "The field 'scope.files' is not valid: with a subject there are no files, since none says whom it is about.",
    ],
    [
      { scope: { subject: "x", audit_log: true } },
      "scope.audit_log",
      "The field 'scope.audit_log' is not valid: with a subject there is no audit log, since it says nothing of a person's data.",
    ],
    [
      { scope: { subject: "x", tables: ["users", "usage"] } },
      "scope.tables[1]",
      `The field 'scope.tables[1]' is not valid: the table usage has no rows about persons; with a subject accepted are ${subjectTables.join(", ")}.`,
    ],
    ...[
      { tables: [] },
      { files: false },
      { audit_log: false, files: false, tables: [] },
      { tables: [], subject: "x" },
    ].map((scope): [unknown, string, string] => [
      { scope },
      "scope",
      "The field 'scope' is not valid: it selects nothing; name tables, set files or audit_log to true, or leave it out.",
    ]),
  ])("as %j is refused with the reason", async (body, param, message) => {
    const { status, json } = await create(body);
    expect(json.error).toEqual({ message, type: "invalid_request_error", param, code: "invalid_request" });
    expect(status).toBe(400);
    expect(await api.sql("select 1 from exports where tenant_id = $1", [tenantId])).toEqual([]);
    expect(await audited()).toEqual([]);
  });

  test("about a text that cannot be stored is refused", async () => {
    for (const [escaped, character] of [
      ["a\\u0000b", "the character U+0000"],
      ["a\\ud800b", "half of a surrogate pair"],
    ]) {
      const { status, json } = await create(`{"scope":{"subject":"${escaped}"}}`);
      expect(status).toBe(400);
      expect(json.error).toMatchObject({ code: "invalid_text", param: "scope.subject" });
      expect(json.error.message).toContain(character);
    }
  });

  test("in what is no JSON is refused", async () => {
    expect((await create("{")).json.error).toMatchObject({ code: "invalid_json" });
    const form = await create("format=csv", { "content-type": "application/x-www-form-urlencoded" });
    expect(form.json.error).toMatchObject({ code: "unsupported_media_type" });
  });
});

describe("the Idempotency-Key", () => {
  const key = { "idempotency-key": "!a-key~" };

  test("gives the first request's export again, also when it is over, and once in the audit log", async () => {
    const first = await create({ format: "csv", scope: { tables: ["usage", "users"] } }, key);
    const same = await create({ format: "csv", scope: { tables: ["users", "usage", "users"] } }, key);
    expect(same.status).toBe(202);
    expect(same.json).toEqual(first.json);
    expect(same.headers.get("location")).toBe(first.headers.get("location"));
    await api.sql(
      "update exports set state = 'failed', error_code = 'export_incomplete' where tenant_id = $1",
      [tenantId],
    );
    const over = await create({ format: "csv", scope: { tables: ["users", "usage"] } }, key);
    expect(over.json).toMatchObject({ id: first.json.id, state: "failed" });
    expect(await audited()).toHaveLength(1);
  });

  test("of requests at once makes one export", async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => create({}, key)));
    expect(new Set(answers.map(({ status, json }) => `${status} ${json.id}`)).size).toBe(1);
    expect(answers[0]?.status).toBe(202);
  });

  test("of another request is refused", async () => {
    await create({}, key);
    for (const body of [{ format: "csv" }, { compression: "none" }, { scope: { files: true } }]) {
      const { status, json } = await create(body, key);
      expect([status, json.error.code]).toEqual([409, "idempotency_mismatch"]);
    }
  });

  test("of another tenant is another key", async () => {
    const mine = await create({}, key);
    const other = await api.makeTenant();
    const { key: otherKey } = await api.makeKey(other.id, ["admin"]);
    const theirs = await create({ format: "csv" }, { ...key, authorization: `Bearer ${otherKey}` });
    expect(theirs.status).toBe(202);
    expect(theirs.json.id).not.toBe(mine.json.id);
  });

  test("may have 255 visible ASCII characters and nothing else", async () => {
    expect((await create({}, { "idempotency-key": "k".repeat(255) })).status).toBe(202);
    for (const wrong of ["", "k".repeat(256), "a b", "a, b", "\u00e9"]) {
      const { status, json } = await create({}, { "idempotency-key": wrong });
      expect(json.error, wrong).toEqual({
        code: "invalid_request",
        type: "invalid_request_error",
        param: "Idempotency-Key",
        message:
          "The header 'Idempotency-Key' is not valid: it must have 1 to 255 visible ASCII characters, and be sent once.",
      });
      expect(status).toBe(400);
    }
  });
});

describe("exports at a time", () => {
  test("are two, of each tenant, and one that is over or deleted makes room", async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => create()));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([202, 202, 429, 429, 429, 429]);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.json.error).toMatchObject({ code: "too_many_exports", type: "rate_limit_error" });
    expect(refused?.json.error.message).toContain("There are 2 exports");
    expect(refused?.headers.get("retry-after")).toBe("60");

    const other = await api.makeTenant();
    const { key } = await api.makeKey(other.id, ["admin"]);
    expect((await request("POST", "", { key })).status).toBe(202);

    const [first, second] = answers.filter(({ status }) => status === 202);
    expect((await request("DELETE", `/${first?.json.id}`)).status).toBe(200);
    expect((await create()).status).toBe(202);
    expect((await create()).status).toBe(429);
    await api.sql("update exports set state = 'failed' where 'export-' || replace(id::text, '-', '') = $1", [
      second?.json.id,
    ]);
    expect((await create()).status).toBe(202);
  });
});

describe("an export", () => {
  const day = 24 * 60 * 60_000;
  const show = async (columns: object) => {
    const { id } = await insertExport(api, tenantId, { ...columns });
    return (await request("GET", `/${id}`)).json;
  };

  test("that runs says how far it is, how fast, and how long it will take", async () => {
    const json = await show({
      state: "running",
      phase: "tables",
      attempt: 2,
      lease_until: new Date(Date.now() + 60_000),
      started_at: new Date(Date.now() - 10_000),
      rows_done: 1_000,
      rows_expected: 4_000,
      bytes_done: 1_000_000,
      bytes_expected: 3_000_000,
    });
    expect(json).toMatchObject({ state: "running", phase: "tables", attempt: 2, bag: null, error: null });
    const { rows_per_second, bytes_per_second, seconds_left, ...progress } = json.progress;
    expect(progress).toEqual({
      rows_done: 1_000,
      rows_expected: 4_000,
      bytes_done: 1_000_000,
      bytes_expected: 3_000_000,
    });
    // It goes on while it is asked for.
    expect(rows_per_second).toBeGreaterThan(60);
    expect(rows_per_second).toBeLessThanOrEqual(100);
    expect(bytes_per_second).toBeGreaterThan(60_000);
    expect(bytes_per_second).toBeLessThanOrEqual(100_000);
    expect(seconds_left).toBeGreaterThanOrEqual(20);
    expect(seconds_left).toBeLessThan(34);
  });

  test("that does not know yet how much there is says nothing of the time left", async () => {
    const running = { state: "running", lease_until: new Date(Date.now() + 60_000), started_at: new Date() };
    expect((await show({ ...running, bytes_done: 5 })).progress).toMatchObject({
      bytes_expected: null,
      seconds_left: null,
    });
    const begun = { started_at: new Date(Date.now() - 1_000), bytes_expected: 100 };
    expect((await show({ ...running, ...begun })).progress).toMatchObject({
      bytes_per_second: 0,
      seconds_left: null,
    });
  });

  test("that failed says why", async () => {
    const json = await show({
      state: "failed",
      error_code: "export_incomplete",
      error_message: "The export was given up.",
    });
    expect(json).toMatchObject({
      state: "failed",
      bag: null,
      error: { code: "export_incomplete", message: "The export was given up." },
    });
  });

  test("that is ready says what there is to download, and tells a day before that it will go", async () => {
    const made = await makeReadyExport(api, tenantId);
    const { json } = await request("GET", `/${made.id}`);
    const { bytes, ...bag } = json.bag;
    expect(bag).toEqual({ name: made.bagName, files: 4, digest: made.digest });
    const head = await request("HEAD", `/${made.id}/download`);
    expect(head.headers.get("content-length")).toBe(String(bytes));
    expect(json).toMatchObject({ state: "ready", notice: null, error: null });
    expect(json.finished_at).toBe(Math.floor(made.finishedAt.getTime() / 1_000));
    expect(json.progress.rows_per_second).toBe(0);

    const soon = new Date(Date.now() + day - 1_000);
    await api.sql("update exports set expires_at = $1 where id = $2", [soon, made.uuid]);
    expect((await request("GET", `/${made.id}`)).json).toMatchObject({
      state: "ready",
      notice: `This export is removed at ${soon.toISOString()}; download it before then.`,
      expires_at: Math.floor(soon.getTime() / 1_000),
    });
  });

  test("whose time is over has expired, also before somebody has removed it", async () => {
    const past = new Date(Date.now() - 1_000);
    const made = await makeReadyExport(api, tenantId, [], { expires_at: past });
    const expired = {
      state: "expired",
      bag: null,
      notice: `This export expired at ${past.toISOString()} and was removed. Ask for a new one.`,
    };
    expect((await request("GET", `/${made.id}`)).json).toMatchObject(expired);
    await api.sql("update exports set state = 'expired' where id = $1", [made.uuid]);
    await api.sql("delete from export_parts where export_id = $1", [made.uuid]);
    expect((await request("GET", `/${made.id}`)).json).toMatchObject(expired);
  });
});

describe("the list", () => {
  test("has pages in both orders, with the bags of those that are ready", async () => {
    const ids: string[] = [];
    for (const state of ["queued", "failed", "expired"])
      ids.push((await insertExport(api, tenantId, { state })).id);
    ids.push((await makeReadyExport(api, tenantId)).id);
    const sorted = ids.toSorted();
    const page = async (query: string) => (await request("GET", query)).json;
    const asc = await page("?order=asc");
    expect(asc.data.map(({ id }: { id: string }) => id)).toEqual(sorted);
    expect(asc).toMatchObject({ object: "list", first_id: sorted[0], last_id: sorted[3], has_more: false });
    expect(asc.data.filter(({ bag }: { bag: unknown }) => bag !== null)).toHaveLength(1);
    const desc = await page("?limit=3");
    expect(desc.data.map(({ id }: { id: string }) => id)).toEqual(sorted.toReversed().slice(0, 3));
    expect(desc.has_more).toBe(true);
    const rest = await page(`?limit=3&after=${desc.last_id}`);
    expect(rest.data.map(({ id }: { id: string }) => id)).toEqual([sorted[0]]);
    expect(rest.has_more).toBe(false);
  });

  test("refuses what is no page", async () => {
    for (const query of ["?limit=0", "?limit=101", "?order=up"])
      expect((await request("GET", query)).status, query).toBe(400);
    expect((await request("GET", "?after=nowhere")).status).toBe(404);
  });
});

describe("deleting", () => {
  test("removes the export with its blobs, and is in the audit log", async () => {
    const made = await makeReadyExport(api, tenantId, [
      { path: "data/tables/users/part-00001.ndjson", content: Buffer.from("{}\n") },
    ]);
    const stored = () => readdir(join(api.storageDir, tenantId));
    expect(await stored()).toHaveLength(5);
    const { status, json } = await request("DELETE", `/${made.id}`);
    expect([status, json]).toEqual([200, { id: made.id, object: "export", deleted: true }]);
    expect(await stored()).toEqual([]);
    expect((await request("GET", `/${made.id}`)).status).toBe(404);
    expect((await request("DELETE", `/${made.id}`)).status).toBe(404);
    expect(await audited()).toMatchObject([
      { action: "export.deleted", target_id: made.uuid, details: { state: "ready" } },
    ]);
  });

  test("cancels one that waits, runs, has failed or expired", async () => {
    for (const state of ["queued", "running", "failed", "expired"]) {
      const { id } = await insertExport(api, tenantId, {
        state,
        lease_until: state === "running" ? new Date(Date.now() + 60_000) : null,
      });
      expect((await request("DELETE", `/${id}`)).status, state).toBe(200);
    }
  });

  test("is done although the storage fails, which is logged once", async () => {
    const { storage } = api.serverOptions;
    const failing = Object.assign(Object.create(storage), {
      remove: () => Promise.reject(new Error("the disk is gone")),
    });
    await using other = await startApi({ storage: failing });
    const tenant = await other.makeTenant();
    const { key } = await other.makeKey(tenant.id, ["admin"]);
    const made = await makeReadyExport(other, tenant.id);
    const { status } = await other.request("DELETE", `/v1/exports/${made.id}`, { key });
    expect(status).toBe(200);
    const warnings = other.logLines.filter((line) => line.includes("stored files could not be removed"));
    expect(warnings.map((line) => JSON.parse(line))).toMatchObject([{ level: "warn", left: 4 }]);
  });
});

describe("the operator", () => {
  test("does all of it for any tenant, also one that is suspended, and is named in the audit log", async () => {
    await api.suspend(tenantId);
    expect((await request("GET")).json.error.code).toBe("tenant_suspended");
    const path = `/admin/tenants/${tenantId}/exports`;
    const key = api.operatorKey;
    const asked = await api.request("POST", path, { key, body: { format: "csv" } });
    expect(asked.status).toBe(202);
    expect(asked.headers.get("location")).toBe(`${path}/${asked.json.id}`);
    const list = await api.request("GET", path, { key });
    expect(list.json.data).toEqual([asked.json]);
    expect((await api.request("GET", `${path}/${asked.json.id}`, { key })).json).toEqual(asked.json);
    expect((await api.request("DELETE", `${path}/${asked.json.id}`, { key })).status).toBe(200);
    const made = await makeReadyExport(api, tenantId);
    expect((await api.request("GET", `${path}/${made.id}/download`, { key })).status).toBe(200);
    expect((await audited()).map(({ action, actor_type }) => [action, actor_type])).toEqual([
      ["export.requested", "operator"],
      ["export.deleted", "operator"],
      ["export.downloaded", "operator"],
    ]);
  });

  test("is told when there is no such tenant, and does not reach an export through another", async () => {
    const made = await makeReadyExport(api, tenantId);
    const other = await api.makeTenant();
    const key = api.operatorKey;
    for (const id of [
      "00000000-0000-0000-0000-000000000000",
      "0190a000-0000-7000-8000-000000000000",
      "none",
    ]) {
      for (const [method, rest] of [
        ["POST", ""],
        ["GET", ""],
        ["GET", `/${made.id}`],
        ["DELETE", `/${made.id}`],
        ["GET", `/${made.id}/download`],
        ["GET", `/${made.id}/files/bagit.txt`],
      ] as const) {
        const { status, json } = await api.request(method, `/admin/tenants/${id}/exports${rest}`, { key });
        expect([status, json.error.message], `${method} ${rest}`).toEqual([
          404,
          `No tenant with id '${id}'.`,
        ]);
      }
    }
    for (const rest of ["", "/download", "/files/bagit.txt"]) {
      const path = `/admin/tenants/${other.id}/exports/${made.id}${rest}`;
      expect((await api.request("GET", path, { key })).json.error.message).toBe(
        `No export with id '${made.id}'.`,
      );
    }
  });
});
