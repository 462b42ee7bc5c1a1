// Waiting, with a server that is away for a while as no real API is on demand.
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openApi } from "./api-client.ts";
import { createExportClient } from "./export-client.ts";
import { type WaitPauses, waitForExport } from "./wait-for-export.ts";

const id = `export-${"0".repeat(32)}`;
const progress = { rows_done: 0, rows_expected: null, bytes_done: 0, bytes_expected: null };
const exportIn = (state: string, phase = "tables") =>
  JSON.stringify({ id, object: "export", state, phase, attempt: 1, progress });
const fault = (code: string) =>
  JSON.stringify({ error: { message: `It is ${code}.`, type: "server_error", param: null, code } });

type Answer = (response: ServerResponse) => void;
const answer =
  (status: number, body: string): Answer =>
  (response) =>
    void response.writeHead(status).end(body);
const cut: Answer = (response) => void response.destroy();

let cleanUp: AsyncDisposableStack;
beforeEach(() => {
  cleanUp = new AsyncDisposableStack();
});
afterEach(() => cleanUp.disposeAsync());

const pauses: WaitPauses = { firstMs: 1, longestMs: 5, queuedMs: 10_000, giveUpAfterMs: 10_000 };

/** Waits while the server answers one after the other, and then always the last. */
async function wait(answers: readonly Answer[], options: Partial<WaitPauses> = {}) {
  let asked = 0;
  const server = createServer((_request, response) => {
    answers[Math.min(asked, answers.length - 1)]?.(response);
    asked += 1;
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  cleanUp.defer(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = new AbortController();
  const seen: string[] = [];
  const notes: string[] = [];
  const done = waitForExport({
    client: createExportClient(openApi({ url, key: "sk-test" })),
    id,
    signal: stop.signal,
    onState: ({ state }) => void seen.push(state),
    onNote: (text) => void notes.push(text),
    pauses: { ...pauses, ...options },
  });
  done.catch(() => {});
  return { done, stop, seen, notes, url };
}

test.each(["ready", "failed", "expired"])("ends when the export is %s", async (end) => {
  const { done, seen, notes } = await wait([
    answer(200, exportIn("queued")),
    answer(200, exportIn("running")),
    answer(200, exportIn(end)),
  ]);
  expect(await done).toMatchObject({ id, state: end });
  expect(seen).toEqual(["queued", "running", end]);
  expect(notes).toEqual([]);
});

test("outlasts a server that restarts, and says so once", async () => {
  const { done, notes } = await wait([
    answer(200, exportIn("running")),
    answer(503, fault("shutting_down")),
    cut,
    answer(502, "<html>Bad Gateway</html>"),
    answer(500, fault("internal_error")),
    answer(429, fault("rate_limit_exceeded")),
    answer(200, exportIn("running")),
    answer(200, exportIn("ready")),
  ]);
  expect(await done).toMatchObject({ state: "ready" });
  expect(notes).toEqual([
    "It is shutting_down. Trying again; the export goes on without this command.",
    "The API answers again.",
  ]);
});

test("that no worker takes it up is noted once", async () => {
  const queued = answer(200, exportIn("queued", "waiting"));
  const { done, notes } = await wait([queued, queued, queued, answer(200, exportIn("ready"))], {
    queuedMs: 0,
  });
  await done;
  expect(notes).toEqual([expect.stringContaining("No worker has taken it up yet")]);
});

test("gives up on a server that stays away", async () => {
  const { done, url } = await wait([answer(200, exportIn("running")), cut], { giveUpAfterMs: 50 });
  await expect(done).rejects.toMatchObject({ code: "api_unreachable" });
  await expect(done).rejects.toThrow(`${url} cannot be reached: `);
});

test("ends at once when the export is gone or the key is refused", async () => {
  const gone = await wait([answer(200, exportIn("running")), answer(404, fault("not_found"))]);
  await expect(gone.done).rejects.toMatchObject({ code: "not_found", status: 404 });
  const refused = await wait([answer(401, fault("invalid_api_key"))]);
  await expect(refused.done).rejects.toMatchObject({ code: "invalid_api_key" });
});

test.each([
  ["another program's page", answer(200, "<html>Welcome</html>"), "strange_answer"],
  ["another API's object", answer(200, '{"object":"list","data":[]}'), "strange_answer"],
  ["no object", answer(200, "null"), "strange_answer"],
  [
    "a redirection, which would take the key elsewhere",
    (response: ServerResponse) => void response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
    "redirected",
  ],
])("%s is told as such", async (_what, given, code) => {
  await expect((await wait([given])).done).rejects.toMatchObject({ code });
});

test("what a server says cannot steer the terminal", async () => {
  const { done } = await wait([answer(404, fault("\u001B[2J"))]);
  await expect(done).rejects.toThrow("It is \\u{1b}[2J.");
});

test("a stop ends it, also while it pauses or an answer is on its way", async () => {
  const pausing = await wait([answer(200, exportIn("running"))], { firstMs: 60_000, longestMs: 60_000 });
  await expect.poll(() => pausing.seen).toEqual(["running"]);
  pausing.stop.abort(new Error("stopped by a test"));
  await expect(pausing.done).rejects.toThrow("stopped by a test");

  const asked = Promise.withResolvers<void>();
  const asking = await wait([() => asked.resolve()]);
  await asked.promise;
  asking.stop.abort(new Error("stopped by a test"));
  await expect(asking.done).rejects.toThrow("stopped by a test");
});
