// Watches alerting die: the dead man's switch outside has its beats, they stop, it raises the alarm, and they come again.
import { checkCustomers } from "./customers.ts";
import type { SilenceDrill } from "./drill.ts";
import type { Findings } from "./findings.ts";
import type { Rig } from "./rig/rig.ts";

import { orAborted, StepFailed, type Timeline } from "./timeline.ts";
import { untilQuiet } from "./watch-alert.ts";

// docs/operations/alertmanager.md: a beat a minute, an alarm after three minutes without.
const alarmAfterMs = 3 * 60_000;
const noticedWithinMs = 40_000;
const beatsAgainWithinMs = 40_000;

export async function watchSilence(
  drill: SilenceDrill,
  rig: Rig,
  timeline: Timeline,
  findings: Findings,
): Promise<void> {
  const { receiver, factors, traffic, signal } = rig;
  if (receiver === undefined)
    throw new StepFailed({
      what: "The dead man's switch is watched",
      expected: "an Alertmanager of the drill's own",
      seen: "one that was there before",
    });
  findings.customers.push({ phase: "before", view: await untilQuiet([], rig, timeline) });
  const brokenAt = Date.now();
  const mitigate = await drill.inject(rig);
  timeline.done(`Fault: ${drill.fault}`);

  const silenceMs = alarmAfterMs / factors.windows;
  await orAborted(receiver.waitForSilence(silenceMs, noticedWithinMs), signal);
  const noticedAt = Date.now();
  timeline.done(`The dead man's switch has had no beat for ${silenceMs / 1_000} s and raises the alarm`);
  const view = traffic.take();
  findings.customers.push({ phase: "broken", view });
  checkCustomers("nothing", view, timeline);

  const mitigatedAt = Date.now();
  await mitigate();
  timeline.done(`Mitigation: ${drill.mitigation}`);
  const beat = await orAborted(
    receiver.waitFor(
      ({ service, at }) => service === "dead-mans-switch" && at > mitigatedAt,
      beatsAgainWithinMs,
    ),
    signal,
  );
  timeline.done("The dead man's switch has beats again");
  findings.durations = {
    detect: (noticedAt - brokenAt) / 1_000,
    // The switch is what tells people.
    notify: 0,
    resolve: (beat.at - mitigatedAt) / 1_000,
  };
}
