import { describe, expect, test } from "vitest";
import { checkPagerDuty } from "./pagerduty.ts";

const trigger = {
  routing_key: "0123456789abcdef0123456789ABCDEF",
  event_action: "trigger",
  dedup_key: "a",
  payload: { summary: "HighErrorRate", source: "ectus", severity: "critical" },
  links: [{ href: "https://r.example", text: "Runbook" }],
};

describe("PagerDuty's Events API", () => {
  test.each([
    trigger,
    { ...trigger, dedup_key: undefined },
    { ...trigger, event_action: "resolve", payload: undefined },
  ])("takes event %#", (event) => {
    const answer = checkPagerDuty(JSON.stringify(event));
    expect(answer).toMatchObject({ status: 202, body: { status: "success" } });
    expect(answer.event).toEqual(JSON.parse(JSON.stringify(event)));
  });

  test.each([
    ["routing_key", { routing_key: "short" }],
    ["event_action", { event_action: "open" }],
    ["dedup_key", { event_action: "resolve", dedup_key: undefined }],
    ["dedup_key", { dedup_key: "x".repeat(256) }],
    ["payload", { payload: undefined }],
    ["payload.summary", { payload: { ...trigger.payload, summary: "" } }],
    ["payload.summary", { payload: { ...trigger.payload, summary: "x".repeat(1_025) } }],
    ["payload.source", { payload: { ...trigger.payload, source: "" } }],
    ["payload.severity", { payload: { ...trigger.payload, severity: "page" } }],
    ["links", { links: [{ href: "" }] }],
  ])("refuses a wrong %s and names it", (field, change) => {
    const answer = checkPagerDuty(JSON.stringify({ ...trigger, ...change }));
    expect(answer).toMatchObject({ status: 400, body: { status: "invalid event" } });
    expect(answer.event).toBeUndefined();
    expect(JSON.stringify(answer.body)).toContain(`'${field}'`);
  });

  test.each(["{", "[]", "null"])("refuses %s", (body) => {
    expect(checkPagerDuty(body).status).toBe(400);
  });

  test("refuses more than 512 KiB", () => {
    const event = { ...trigger, payload: { ...trigger.payload, custom_details: { a: "x".repeat(600_000) } } };
    expect(checkPagerDuty(JSON.stringify(event)).status).toBe(413);
  });
});
