// The commands of docs/exports.md, on an instance as they are shown.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { openBag, verifyBag } from "@ectus/bag";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Instance, startInstance } from "../monitoring/start-instance.ts";
import { fencedBlocks } from "./fenced-blocks.ts";

const shownUrl = "http://127.0.0.1:8080";
let instance: Instance;
let folder: string;

beforeAll(async () => {
  instance = await startInstance({ OTEL_SDK_DISABLED: "true" });
  folder = await mkdtemp(join(tmpdir(), "ectus-exports-"));
}, 60_000);
afterAll(async () => {
  await instance.stop();
  await rm(folder, { recursive: true });
});

async function adminKey(): Promise<string> {
  const headers = { authorization: `Bearer ${instance.operatorKey}`, "content-type": "application/json" };
  const listed = await fetch(`${instance.url}/admin/tenants`, { headers });
  const tenants = (await listed.json()) as { data: [{ id: string }] };
  const made = await fetch(`${instance.url}/admin/tenants/${tenants.data[0].id}/keys`, {
    method: "POST",
    headers,
    body: JSON.stringify({ name: "Docs", scopes: ["admin"] }),
  });
  return ((await made.json()) as { key: string }).key;
}

test("the way of an export over HTTP runs as it is shown, and ends with a bag that is whole", async () => {
  const guide = await readFile(join(import.meta.dirname, "../../docs/exports.md"), "utf8");
  const blocks = fencedBlocks(guide).filter(({ info }) => info === "sh run");
  expect(blocks).toHaveLength(1);
  const script = (blocks[0]?.code ?? "").replaceAll(shownUrl, instance.url);
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", script], {
    cwd: folder,
    env: { ...process.env, ECTUS_API_KEY: await adminKey() },
    timeout: 50_000,
  });
  expect(stdout).toContain('"state":"ready"');
  expect(stdout).toMatch(/"name": "api_keys",\s+"rows": 3,\s+"digest": "[0-9a-f]{16}"/);
  expect(stdout).toMatch(/"deleted":true/);
  await using bag = await openBag(join(folder, "bag.tar"));
  const { faults, document } = await verifyBag(bag, { keys: [], signal: new AbortController().signal });
  expect(faults).toEqual([]);
  expect(document).toMatchObject({ rowFormat: "csv", compression: "gzip", tenant: { name: "Demo" } });
}, 90_000);
