// Tickets are told in business hours. Drills are held at any hour, so their configuration lacks that: it is put back here
// as config.yaml has it, with other days in the place of Monday to Friday.
import { readFile } from "node:fs/promises";
import { announces } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { until } from "../postgres/until.ts";
import { type Labels, pagerDutyConfigFile, startAlertmanagerRig } from "./alertmanager-rig.ts";

interface Route {
  readonly receiver: string;
  active_time_intervals?: readonly string[];
  readonly routes?: readonly Route[];
}

interface Config {
  readonly route: Route;
  time_intervals: readonly {
    readonly name: string;
    readonly time_intervals: {
      weekdays: readonly string[];
      times: readonly object[];
      readonly location: string;
    }[];
  }[];
}

interface Group {
  readonly alerts: readonly {
    readonly labels: Labels;
    readonly status: { readonly mutedBy: readonly string[] };
  }[];
}

const written = parse(await readFile(pagerDutyConfigFile, "utf8"), { merge: true }) as Config;
const programs = await peer("alertmanager");
const timeoutMs = 20_000;
const dayMs = 86_400_000;

/** Names of days in a zone, so many days from now. */
const days = (zone: string, from: readonly number[]): readonly string[] =>
  from.map((offset) =>
    new Intl.DateTimeFormat("en-US", { weekday: "long", timeZone: zone })
      .format(Date.now() + offset * dayMs)
      .toLowerCase(),
  );

/** The hours of config.yaml, on routes that have them there, on the given days. */
function withHours(shortened: string, offsets: readonly number[]): string {
  const config = parse(shortened, { merge: true }) as Config;
  for (const each of config.time_intervals.flatMap(({ time_intervals }) => time_intervals)) {
    each.weekdays = days(each.location, offsets);
    each.times = [{ start_time: "00:00", end_time: "24:00" }];
  }
  const putBack = (route: Route, as: Route): void => {
    if (as.active_time_intervals !== undefined) route.active_time_intervals = as.active_time_intervals;
    for (const [index, child] of (route.routes ?? []).entries()) {
      const other = as.routes?.[index];
      if (other !== undefined) putBack(child, other);
    }
  };
  putBack(config.route, written.route);
  return stringify(config);
}

describe.skipIf(!programs)("a ticket", () => {
  const labels = { severity: "ticket", team: "platform", area: "process", job: "ectus" };
  const page = { alertname: "HighErrorRate", severity: "page", team: "platform", area: "api", job: "ectus" };

  test.each([
    ["is told within business hours", [0, 1], true],
    ["waits outside of them, and a page does not", [3, 4], false],
  ] as const)("%s", async (_, offsets, told) => {
    await using rig = await startAlertmanagerRig(programs?.files.alertmanager ?? "", 600, (config) =>
      withHours(config, offsets),
    );
    await rig.alertmanager.post([{ labels: { alertname: "MemoryHigh", ...labels } }, { labels: page }]);
    await rig.receiver.waitFor((message) => announces(message, "HighErrorRate", "firing"), timeoutMs);
    // What holds an alert back is said of groups only.
    const heldBackBy = async (): Promise<readonly string[]> => {
      const groups = (await (
        await fetch(`${rig.alertmanager.url}/api/v2/alerts/groups`)
      ).json()) as readonly Group[];
      const alerts = groups.flatMap((group) => group.alerts);
      return alerts.find((alert) => alert.labels.alertname === "MemoryHigh")?.status.mutedBy ?? [];
    };
    if (told) {
      await rig.receiver.waitFor((message) => announces(message, "MemoryHigh", "firing"), timeoutMs);
    } else {
      await until(async () => (await heldBackBy()).includes("business-hours"), timeoutMs);
      expect(rig.receiver.messages.some((message) => announces(message, "MemoryHigh", "firing"))).toBe(false);
    }
  });
});
