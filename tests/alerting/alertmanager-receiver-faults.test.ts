// Receivers that fail: a real Alertmanager with the project's configuration sends to one that answers as it is told.
import { announces, type Message } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import { type AlertmanagerRig, startAlertmanagerRig } from "./alertmanager-rig.ts";

const programs = await peer("alertmanager");
const timeoutMs = 25_000;

describe.skipIf(!programs)("a page whose receiver", () => {
  let rig: AlertmanagerRig;
  beforeAll(async () => {
    rig = await startAlertmanagerRig(programs?.files.alertmanager ?? "", 60);
  });
  afterAll(() => rig[Symbol.asyncDispose]());
  afterEach(() => rig.receiver.behave({ kind: "accept" }));

  const post = (alertname: string): Promise<void> =>
    rig.alertmanager.post([{ labels: { alertname, severity: "page", team: "platform", area: "api" } }]);
  const slack = (alert: string) => (message: Message) =>
    message.service === "slack" && announces(message, alert, "firing");
  const refusals = (status: number) => rig.receiver.refusals.filter((refusal) => refusal.status === status);
  const firing = (alert: string, service: Message["service"]) =>
    rig.receiver.messages.filter((each) => each.service === service && announces(each, alert, "firing"));

  test("answers 500 is sent again until it is taken, once, while PagerDuty has it at once", async () => {
    rig.receiver.behave({ kind: "fail", status: 500 }, "slack");
    await post("Refused");
    await until(() => refusals(500).length >= 2, timeoutMs);
    expect(firing("Refused", "pagerduty")).toHaveLength(1);
    rig.receiver.behave({ kind: "accept" }, "slack");
    await rig.receiver.waitFor(slack("Refused"), timeoutMs);
    expect(firing("Refused", "slack")).toHaveLength(1);
  });

  test("does not answer is asked again after five seconds", async () => {
    rig.receiver.behave({ kind: "hang" }, "slack");
    await post("Unanswered");
    await until(() => refusals(0).length === 1, timeoutMs);
    rig.receiver.behave({ kind: "accept" }, "slack");
    const { at } = await rig.receiver.waitFor(slack("Unanswered"), timeoutMs);
    expect(at - (refusals(0)[0]?.at ?? 0)).toBeGreaterThan(4_500);
    expect(rig.alertmanager.log()).toContain("configured slack timeout reached (5s)");
    expect(firing("Unanswered", "pagerduty")).toHaveLength(1);
  });

  // Alertmanager does not ask Slack again within one turn then; its next comes after the group's interval.
  test("says that there is too much is sent to again at the group's next turn", async () => {
    rig.receiver.behave({ kind: "limit", retryAfterSeconds: 1 }, "slack");
    await post("Limited");
    await until(() => refusals(429).length === 1, timeoutMs);
    rig.receiver.behave({ kind: "accept" }, "slack");
    const { at } = await rig.receiver.waitFor(slack("Limited"), timeoutMs);
    expect(at - (refusals(429)[0]?.at ?? 0)).toBeGreaterThan(1_500);
  });
});
