import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { announces } from "./messages.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

let receiver: Receiver;
beforeEach(async () => {
  receiver = await startReceiver();
});
afterEach(() => receiver.close());

const post = (url: string | undefined, body: object, method = "POST"): Promise<Response> =>
  fetch(url ?? "", { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
const event = (action: string): object => ({
  routing_key: receiver.secrets["pagerduty-routing-key"],
  event_action: action,
  dedup_key: "a",
  payload: { summary: "HighErrorRate", source: "ectus", severity: "critical", class: "HighErrorRate" },
});
const title = (text: string): object => ({ attachments: [{ title: text }] });

describe("the receiver", () => {
  test("keeps what it accepts, with the channel and the time", async () => {
    const before = Date.now();
    const answer = await post(receiver.secrets["slack-tickets-url"], title("FIRING SlowQueries: slow"));
    expect([answer.status, await answer.text()]).toEqual([200, "ok"]);
    expect((await post(receiver.pagerDutyUrl, event("resolve"))).status).toBe(202);
    expect((await post(receiver.secrets["dead-mans-switch-url"], {})).status).toBe(200);
    const [slack, pagerDuty, beat] = receiver.messages;
    expect(slack).toMatchObject({ service: "slack", channel: "tickets", title: "FIRING SlowQueries: slow" });
    expect(slack?.at).toBeGreaterThanOrEqual(before);
    expect(pagerDuty).toMatchObject({ service: "pagerduty", event: { event_action: "resolve" } });
    expect(beat?.service).toBe("dead-mans-switch");
    expect(receiver.refusals).toEqual([]);
  });

  test("keeps what it refuses apart, with the reason", async () => {
    expect((await post(receiver.secrets["slack-pages-url"], {})).status).toBe(400);
    expect((await post(receiver.pagerDutyUrl, {})).status).toBe(400);
    expect((await post(new URL("/services/T/B/other", receiver.pagerDutyUrl).href, {})).status).toBe(404);
    expect((await post(receiver.pagerDutyUrl, {}, "PUT")).status).toBe(405);
    const huge = title("x".repeat(5 * 1024 * 1024));
    expect((await post(receiver.secrets["slack-pages-url"], huge)).status).toBe(413);
    expect(receiver.messages).toEqual([]);
    expect(receiver.refusals.map(({ service, status }) => [service, status])).toEqual([
      ["slack", 400],
      ["pagerduty", 400],
      ["pagerduty", 405],
      ["slack", 413],
    ]);
  });

  test("gives a message that came before it was waited for, and one that comes after", async () => {
    await post(receiver.secrets["slack-pages-url"], title("FIRING One: a"));
    const one = await receiver.waitFor((message) => announces(message, "One", "firing"), 5_000);
    expect(one.service).toBe("slack");
    const two = receiver.waitFor((message) => announces(message, "HighErrorRate", "firing"), 5_000);
    await post(receiver.pagerDutyUrl, event("resolve"));
    await post(receiver.pagerDutyUrl, event("trigger"));
    expect(await two).toMatchObject({ event: { event_action: "trigger" } });
  });

  test("says what came instead when a message does not come", async () => {
    await post(receiver.secrets["slack-pages-url"], title("FIRING One: a"));
    await post(receiver.secrets["slack-pages-url"], {});
    await expect(receiver.waitFor((message) => announces(message, "Two", "firing"), 10)).rejects.toThrow(
      "The notification did not come within 10 ms. What came: Slack pages: FIRING One: a; slack was answered 400 no_text.",
    );
  });

  test("fails, limits and hangs as it is told, by service", async () => {
    receiver.behave({ kind: "fail", status: 503 }, "pagerduty");
    receiver.behave({ kind: "limit", retryAfterSeconds: 7 }, "slack");
    expect((await post(receiver.pagerDutyUrl, event("trigger"))).status).toBe(503);
    const limited = await post(receiver.secrets["slack-pages-url"], title("a"));
    expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "7"]);
    receiver.behave({ kind: "hang" });
    const hanging = fetch(receiver.pagerDutyUrl, { method: "POST", signal: AbortSignal.timeout(200) });
    await expect(hanging).rejects.toThrow(/timeout/);
    expect(receiver.messages).toEqual([]);
    expect(receiver.refusals.map(({ status }) => status)).toEqual([503, 429, 0]);
    receiver.behave({ kind: "accept" });
    expect((await post(receiver.pagerDutyUrl, event("trigger"))).status).toBe(202);
  });

  test("notices when the dead man's switch gets no beats, and only then", async () => {
    const beat = () => post(receiver.secrets["dead-mans-switch-url"], {});
    await beat();
    const beats = setInterval(beat, 20);
    await expect(receiver.waitForSilence(2_000, 300)).rejects.toThrow("still got its beats");
    clearInterval(beats);
    const last = receiver.messages.at(-1)?.at ?? 0;
    await receiver.waitForSilence(300, 10_000);
    expect(Date.now() - last).toBeGreaterThanOrEqual(290);
  });
});

describe("a message announces", () => {
  const slack = (text: string) =>
    ({ service: "slack", at: 0, channel: "pages", title: text, text: "", payload: {} }) as const;

  test("an alert by its whole name and state", () => {
    expect(announces(slack("FIRING HighErrorRate: a"), "HighErrorRate", "firing")).toBe(true);
    expect(announces(slack("FIRING HighErrorRate: a"), "HighErrorRate", "resolved")).toBe(false);
    expect(announces(slack("FIRING HighErrorRate: a"), "HighError", "firing")).toBe(false);
    expect(announces(slack("RESOLVED HighErrorRate after 1s"), "HighErrorRate", "resolved")).toBe(true);
    expect(announces({ service: "dead-mans-switch", at: 0 }, "Watchdog", "firing")).toBe(false);
  });
});
