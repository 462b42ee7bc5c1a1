import { describe, expect, test } from "vitest";
import { checkSlack, readSlack } from "./slack.ts";

const json = "application/json";

describe("Slack's incoming webhook", () => {
  test.each([
    { text: "hello" },
    { attachments: [{ title: "FIRING", text: "*page*", mrkdwn_in: ["text"], fields: [] }] },
    { attachments: [{ fallback: "in short" }] },
  ])("takes %j", (payload) => {
    expect(checkSlack(json, JSON.stringify(payload))).toEqual({ status: 200, body: "ok", payload });
  });

  test.each([
    ["{", "invalid_payload"],
    ["[]", "invalid_payload"],
    ['{"text":1}', "invalid_payload"],
    ['{"attachments":{}}', "invalid_payload"],
    ['{"attachments":[{"title":1}]}', "invalid_payload"],
    ["{}", "no_text"],
    ['{"text":"  ","attachments":[{"color":"good"}]}', "no_text"],
    [JSON.stringify({ text: "é".repeat(40_001) }), "msg_too_long"],
    [
      JSON.stringify({ attachments: Array.from({ length: 101 }, () => ({ text: "a" })) }),
      "too_many_attachments",
    ],
  ])("refuses %.60s: %s", (body, word) => {
    expect(checkSlack(json, body)).toEqual({ status: 400, body: word });
  });

  test("refuses what is not said to be JSON", () => {
    expect(checkSlack("text/plain", '{"text":"a"}')).toEqual({ status: 400, body: "invalid_payload" });
  });

  test("counts characters, not units of them", () => {
    expect(checkSlack(json, JSON.stringify({ text: "😀".repeat(40_000) })).status).toBe(200);
  });
});

test("a message is read as people see it", () => {
  const text =
    "a &lt;b&gt; &amp;amp; <https://r.example/?a=1&amp;b=2|Runbook> <https://plain.example> since <!date^1^{time}|01:00 UTC>";
  expect(readSlack({ text: "top", attachments: [{ title: "A &amp; B", pretext: "before", text }] })).toEqual({
    title: "A & B",
    text: "top\nbefore\na <b> &amp; Runbook (https://r.example/?a=1&b=2) https://plain.example since 01:00 UTC",
  });
});
