// An instance that runs exports itself: they hold up neither its start nor its readiness nor its stop.
import pg from "pg";
import { afterEach, expect, test } from "vitest";
import { type Instance, startInstance } from "../monitoring/start-instance.ts";
import { until } from "../postgres/until.ts";

let instance: Instance | undefined;
let owner: pg.Client | undefined;
afterEach(async () => {
  await owner?.end();
  await instance?.stop();
});

test("Ctrl-C during an export ends an instance within seconds, and leaves the export to the next worker", async () => {
  // A byte a second: it would last for days.
  instance = await startInstance({ EXPORT_BYTES_PER_SECOND: "1" });
  owner = new pg.Client({ connectionString: instance.ownerUrl });
  await owner.connect();
  const { rows: tenants } = await owner.query<{ id: string }>(
    "select id from tenants where name <> 'platform' order by id desc limit 1",
  );
  const asked = await fetch(`${instance.url}/admin/tenants/${tenants[0]?.id}/exports`, {
    method: "POST",
    headers: { authorization: `Bearer ${instance.operatorKey}`, "content-type": "application/json" },
    body: "{}",
  });
  expect({ status: asked.status, text: await asked.text() }).toMatchObject({ status: 202 });
  const exportRow = async () =>
    (await owner?.query<{ state: string; phase: string; attempt: number }>("select * from exports"))?.rows[0];
  await until(async () => (await exportRow())?.phase === "tables");
  expect((await fetch(`${instance.url}/health/ready`)).status).toBe(200);

  const stoppedAt = performance.now();
  process.kill(instance.pid, "SIGINT");
  await until(() => instance?.lines.some(({ msg }) => msg === "export left to another worker") === true);
  await until(() => !isRunning(instance?.pid ?? 0));
  expect(performance.now() - stoppedAt).toBeLessThan(5_000);
  expect(await exportRow()).toMatchObject({ state: "queued", attempt: 1, interruptions: 0 });
}, 90_000);

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
