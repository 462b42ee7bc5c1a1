import { expect, test } from "vitest";
import { answerFailure, createMask, parseRetryAfter } from "./failures.ts";

const now = (): number => Date.parse("2026-01-01T00:00:00Z");
const mask = createMask(["sk-secret-of-the-platform", "plain-secret-value"]);

function failure(status: number, body: unknown = {}, headers = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return answerFailure("up", { status, headers, body: text }, mask, now);
}

test.each([400, 404, 409, 413, 422])(
  "status %i is a request that the provider refused, with its reason",
  (status) => {
    const error = failure(status, {
      error: { message: "bad temperature", param: "temperature", code: "out_of_range" },
    });
    expect(error.code).toBe("upstream_rejected");
    expect(error.status).toBe(400);
    expect(error.message).toContain("bad temperature");
    expect(error.details).toMatchObject({
      param: "temperature",
      upstreamCode: "out_of_range",
      upstreamStatus: status,
    });
  },
);

test.each([401, 403])(
  "status %i is the platform's own key, so the client sees a failed upstream and no 401",
  (status) => {
    const error = failure(status, {
      error: { message: "Incorrect API key provided: sk-secret-of-the-platform" },
    });
    expect(error.code).toBe("upstream_error");
    expect(error.status).toBe(502);
    expect(error.message).toBe(
      `The provider 'up' failed: it refused this platform's credentials with status ${status}.`,
    );
  },
);

test("status 429 says when to come back", () => {
  const error = failure(429, {}, { "retry-after": "7" });
  expect(error.code).toBe("upstream_rate_limited");
  expect(error.details.retryAfterSeconds).toBe(7);
});

test.each([300, 307, 402, 405, 418, 500, 502, 503, 599])("status %i is a failed upstream", (status) => {
  const error = failure(status, "<html>");
  expect(error.code).toBe("upstream_error");
  expect(error.message).toContain(String(status));
});

test("what a 5xx says stays in the cause, for logs", () => {
  const error = failure(500, { error: { message: "db7.internal is down" } });
  expect(error.message).not.toContain("db7");
  expect((error.cause as Error).message).toBe("db7.internal is down");
});

test.each([
  [{ error: { message: "openai" } }, "openai"],
  [{ error: "ollama" }, "ollama"],
  [{ object: "error", message: "vllm" }, "vllm"],
  [{ detail: "fastapi" }, "fastapi"],
  ["not json", "it answered 400 without a reason"],
  ["null", "it answered 400 without a reason"],
])("the reason is found in %j", (body, reason) => {
  expect(failure(400, body).details.reason).toBe(reason);
});

test("keys are masked in what an upstream says, and its length is bounded", () => {
  const said = `key sk-secret-of-the-platform, plain-secret-value, sk-proj-abcdef123, Bearer abc.def ${"x".repeat(5000)}`;
  const { message } = failure(400, { error: { message: said } });
  for (const secret of ["sk-secret", "plain-secret", "sk-proj", "abc.def"])
    expect(message).not.toContain(secret);
  expect(message.length).toBeLessThan(700);
});

test.each([
  ["5", 5],
  ["0", 0],
  ["1.2", 2],
  ["Thu, 01 Jan 2026 00:00:30 GMT", 30],
  ["Wed, 31 Dec 2025 23:00:00 GMT", 0],
  ["soon", undefined],
  ["-3", undefined],
  ["2026", 2026],
  ["", undefined],
  [undefined, undefined],
])("Retry-After %j is %j seconds", (header, seconds) => {
  expect(parseRetryAfter(header, now)).toBe(seconds);
});

test("of several Retry-After headers the first one counts", () => {
  expect(parseRetryAfter(["3", "9"], now)).toBe(3);
});
