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
  const by = (service: Message["service"], alert: string) => (message: Message) =>
    message.service === service && announces(message, alert, "firing");
  const refusals = (status: number) => rig.receiver.refusals.filter((refusal) => refusal.status === status);

  test("answers 500 is sent again until it is taken, once, while PagerDuty has it at once", async () => {
    rig.receiver.behave({ kind: "fail", status: 500 }, "slack");
    await post("Refused");
    await until(() => refusals(500).length >= 2, timeoutMs);
    await rig.receiver.waitFor(by("pagerduty", "Refused"), timeoutMs);
    rig.receiver.behave({ kind: "accept" }, "slack");
    await rig.receiver.waitFor(by("slack", "Refused"), timeoutMs);
    for (const service of ["slack", "pagerduty"] as const)
      expect(rig.receiver.messages.filter(by(service, "Refused"))).toHaveLength(1);
  });

  test.each([
    ["slack", "pagerduty"],
    ["pagerduty", "slack"],
  ] as const)(
    "does not answer (%s) is asked again after five seconds, while %s has it at once",
    async (mute, other) => {
      const alert = `Unanswered${mute}`;
      const unanswered = () => refusals(0).filter(({ service }) => service === mute);
      rig.receiver.behave({ kind: "hang" }, mute);
      await post(alert);
      await until(() => unanswered().length > 0, timeoutMs);
      const told = by(other, alert);
      await rig.receiver.waitFor(told, timeoutMs);
      rig.receiver.behave({ kind: "accept" }, mute);
      const { at } = await rig.receiver.waitFor(by(mute, alert), timeoutMs);
      expect(at - (unanswered()[0]?.at ?? 0)).toBeGreaterThan(4_500);
      expect(rig.alertmanager.log()).toContain(`configured ${mute} timeout reached (5s)`);
      expect(rig.receiver.messages.filter(told)).toHaveLength(1);
    },
  );

  // Alertmanager does not ask Slack again within one turn then; its next comes after the group's interval.
  test("says that there is too much is sent to again at the group's next turn", async () => {
    rig.receiver.behave({ kind: "limit", retryAfterSeconds: 1 }, "slack");
    await post("Limited");
    await until(() => refusals(429).length > 0, timeoutMs);
    rig.receiver.behave({ kind: "accept" }, "slack");
    const { at } = await rig.receiver.waitFor(by("slack", "Limited"), timeoutMs);
    expect(at - (refusals(429)[0]?.at ?? 0)).toBeGreaterThan(1_500);
  });
});
