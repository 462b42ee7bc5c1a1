import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { type StallingProxy, startStallingProxy } from "../../../tests/postgres/stalling-proxy.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { type Listener, type ListenOptions, listen } from "./listener.ts";

const { log, lines } = recordingLog();
let database: TestDatabase;
let owner: pg.Client;
let proxy: StallingProxy | undefined;
const listeners: Listener[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  owner = new pg.Client({ connectionString: database.ownerUrl });
  await owner.connect();
});
afterEach(async () => {
  for (const listener of listeners.splice(0)) await listener.close();
  await proxy?.close();
  proxy = undefined;
});
afterAll(async () => {
  await owner.end();
  await database.drop();
});

function start(url: string, options: Partial<ListenOptions> = {}) {
  const heard: string[] = [];
  const connections: pg.Client[] = [];
  let gaps = 0;
  const listener = listen({
    log,
    connect: () => {
      const client = new pg.Client({ connectionString: url, application_name: "listener-test" });
      connections.push(client);
      return client;
    },
    onGap: () => void gaps++,
    handlers: { news: (payload) => void heard.push(payload) },
    ...options,
  });
  listeners.push(listener);
  return { listener, heard, connections, gaps: () => gaps };
}

const notify = (payload: string) => owner.query("select pg_notify('news', $1)", [payload]);
const isAlive = (listener: Listener) => performance.now() - listener.deliveredUpTo() < 700;

test("a notification arrives, and a time after it is vouched for", async () => {
  const { listener, heard, gaps } = start(database.appUrl);
  expect(listener.deliveredUpTo()).toBe(Number.NEGATIVE_INFINITY);
  await listener.ready;
  expect(gaps()).toBe(1);
  await notify("one");
  const committedAt = performance.now();
  await until(() => listener.deliveredUpTo() > committedAt);
  expect(heard).toEqual(["one"]);
});

test("whatever time is vouched for, all that was committed before has been delivered", async () => {
  const { listener, heard } = start(database.appUrl);
  await listener.ready;
  for (let round = 0; round < 20; round++) {
    await notify(String(round));
    const committedAt = performance.now();
    await until(() => heard.includes(String(round)) || listener.deliveredUpTo() > committedAt);
    expect(heard).toContain(String(round));
  }
});

test("a connection that the server ends is replaced, and the gap is told before anything is vouched for", async () => {
  const { listener, heard, connections, gaps } = start(database.appUrl);
  await listener.ready;
  await owner.query(
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'listener-test'",
  );
  await until(() => gaps() === 2 && isAlive(listener));
  expect(connections).toHaveLength(2);
  await notify("heard");
  await until(() => heard.includes("heard"));
  expect(lines.some(({ msg }) => msg === "notification connection lost")).toBe(true);
});

test("a connection that falls silent is noticed within a second and replaced when the network is back", async () => {
  proxy = await startStallingProxy(database.appUrl);
  const { listener, gaps } = start(proxy.through(database.appUrl), { openTimeoutMs: 200 });
  await listener.ready;
  proxy.stall();
  const stalledAt = performance.now();
  await until(() => !isAlive(listener));
  expect(performance.now() - stalledAt).toBeLessThan(1_000);
  // New connections get no answer either, and are given up in turn.
  const before = proxy.connections;
  await until(() => (proxy?.connections ?? 0) >= before + 2);
  proxy.resume();
  await until(() => isAlive(listener));
  expect(gaps()).toBe(2);
});

test("close ends the connection, also one that is not there yet or has fallen silent", async () => {
  const one = start(database.appUrl);
  await one.listener.close();
  await one.listener.ready;
  const two = start(database.appUrl);
  await two.listener.ready;
  await two.listener.close();
  proxy = await startStallingProxy(database.appUrl);
  const three = start(proxy.through(database.appUrl));
  await three.listener.ready;
  proxy.stall();
  const startedAt = performance.now();
  await three.listener.close();
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  await until(async () => {
    const { rowCount } = await owner.query(
      "select from pg_stat_activity where application_name = 'listener-test'",
    );
    return rowCount === 1;
  });
  proxy.cut();
  await until(async () => {
    const { rowCount } = await owner.query(
      "select from pg_stat_activity where application_name = 'listener-test'",
    );
    return rowCount === 0;
  });
});

test("a server that cannot be reached is tried again with growing pauses", async () => {
  const { listener, connections } = start("postgres://nobody:nothing@127.0.0.1:1/nowhere");
  await until(() => connections.length >= 3);
  expect(listener.deliveredUpTo()).toBe(Number.NEGATIVE_INFINITY);
});
