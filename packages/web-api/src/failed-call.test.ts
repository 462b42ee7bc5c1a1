import { EctusError } from "@ectus/core";
import { beforeEach, expect, test } from "vitest";
import type { Account, Ending } from "./accounting.ts";
import { endFailedCall } from "./failed-call.ts";

let endings: (Ending | "dropped")[];
const account: Account = {
  id: "00000000-0000-7000-8000-000000000000",
  startedAt: new Date(0),
  settle: async (ending) => void endings.push(ending),
  drop: () => void endings.push("dropped"),
};
const left = new EctusError("client_closed_request");
const aborted = (reason: EctusError): AbortSignal => AbortSignal.abort(reason);

beforeEach(() => {
  endings = [];
});

test("a provider's failure costs nothing, and is what the client is told", async () => {
  const error = new EctusError("upstream_error", { provider: "p", reason: "it broke" });
  await expect(endFailedCall(account, error, new AbortController().signal)).rejects.toBe(error);
  expect(endings).toEqual(["dropped"]);
});

test("a client that left before a provider was asked pays nothing", async () => {
  await expect(endFailedCall(account, left, aborted(left))).rejects.toBe(left);
  expect(endings).toEqual(["dropped"]);
});

test("a client that left after a provider was asked pays what was reserved", async () => {
  const asked = new EctusError("client_closed_request", { provider: "p" });
  await expect(endFailedCall(account, asked, aborted(left))).rejects.toBe(left);
  expect(endings).toEqual([
    { answeredBy: { provider: "p", providerModel: "" }, outcome: "client_closed", usage: null },
  ]);
});

test("a client that left a provider that counts pays what it had used by then", async () => {
  const usage = { prompt_tokens: 7, completion_tokens: 2, total_tokens: 9 };
  const asked = new EctusError("client_closed_request", { provider: "p", usage });
  await expect(endFailedCall(account, asked, aborted(left))).rejects.toBe(left);
  expect(endings).toMatchObject([{ usage: { inputTokens: 7, outputTokens: 2 } }]);
});

test("a call that this server cut is interrupted, and the client is told why", async () => {
  const asked = new EctusError("client_closed_request", { provider: "p" });
  const stopping = new EctusError("shutting_down");
  await expect(endFailedCall(account, asked, aborted(stopping))).rejects.toBe(stopping);
  expect(endings).toMatchObject([{ outcome: "interrupted", usage: null }]);
});

test("what is no coded error is passed on as it is", async () => {
  const error = new TypeError("a fault of this program");
  await expect(endFailedCall(account, error, new AbortController().signal)).rejects.toBe(error);
  expect(endings).toEqual(["dropped"]);
});
