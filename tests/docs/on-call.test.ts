// The on-call documents against what they are about: the example of a contacts file, the alerts' teams, Alertmanager's
// business hours, the objective, the drills.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { readRuleFile } from "@ectus/alerting";
import { readContacts } from "@ectus/on-call";
import { expect, test } from "vitest";
import { parse } from "yaml";

const root = join(import.meta.dirname, "..", "..");
const now = Temporal.Instant.from("2026-12-01T12:00:00Z");
const { contacts, warnings } = await readContacts(join(root, "docs/operations/contacts.yaml"), now);
const guide = await readFile(join(root, "docs/operations/on-call.md"), "utf8");

test("the example of a contacts file is valid, and warns of each person in it and of nothing else", () => {
  const ids = Object.keys(contacts.people);
  expect(warnings).toHaveLength(2 * ids.length);
  for (const id of ids)
    for (const field of ["email", "phone"])
      expect(warnings.some((warning) => warning.includes(` people.${id}.${field} is `))).toBe(true);
});

test("every team of an alert is in it", async () => {
  const files = await Promise.all(
    ["alerts.yaml", "objective-rules.yaml"].map((name) => readRuleFile(join(root, "k8s/prometheus", name))),
  );
  const teams = files.flatMap(({ groups }) =>
    groups.flatMap(({ rules }) => rules.map(({ labels }) => labels.get("team")?.value)),
  );
  expect(new Set(teams.filter((team) => team !== undefined))).toEqual(new Set(Object.keys(contacts.teams)));
});

test("its business hours are those in which Alertmanager tells tickets", async () => {
  const config = parse(await readFile(join(root, "k8s/prometheus/alertmanager/config.yaml"), "utf8"), {
    merge: true,
  });
  const [hours] = config.time_intervals;
  const { days, from, to, timeZone } = contacts.businessHours;
  expect(hours).toEqual({
    name: "business-hours",
    time_intervals: [
      {
        weekdays: [`${days[0]}:${days.at(-1)}`],
        times: [{ start_time: from, end_time: to }],
        location: timeZone,
      },
    ],
  });
});

test("the guide has the business hours that the file has", () => {
  const capital = (day = "") => day.charAt(0).toUpperCase() + day.slice(1);
  const { days, from, to } = contacts.businessHours;
  expect(guide).toContain(
    `from ${capital(days[0])} to ${capital(days.at(-1))}, ${hourOf(from)} to ${hourOf(to)} o'clock`,
  );

  function hourOf(time: string): number {
    expect(time).toMatch(/:00$/);
    return Number.parseInt(time, 10);
  }
});

test("the share of failures that the handoff asks about is that which the objective allows", async () => {
  const { groups } = await readRuleFile(join(root, "k8s/prometheus/objective-rules.yaml"));
  const [, allowed] = /failed_ratio_rate3d > 1 \* ([\d.]+)/.exec(
    groups.flatMap(({ rules }) => rules.map(({ expression }) => expression.text)).join("\n"),
  ) ?? ["", "none"];
  expect(guide).toContain(`the objective being at most ${allowed}?`);
});

test("the guide has the escalation that the file has", () => {
  const rows = [...guide.matchAll(/^\| (\d+) \| (\w+) \| /gm)].map(([, minutes, tier]) => ({
    tier,
    afterMinutes: Number(minutes),
  }));
  expect(rows).toEqual(contacts.escalation);
});

test("every drill that there is has its month, and every drill of the calendar is one", async () => {
  const main = join(root, "packages/cli/src/main.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [main, "drill", "list", "--json"]);
  const drills = (JSON.parse(stdout) as { data: { name: string }[] }).data.map(({ name }) => name);
  const months = guide.slice(guide.indexOf("| month |"), guide.indexOf("```text\nectus drill run"));
  const planned = [...months.matchAll(/^\| [A-Z][a-z]+ \| (.*?) \|/gm)].flatMap(([, names = ""]) =>
    [...names.matchAll(/`([a-z-]+)`/g)].map(([, name]) => name),
  );
  expect([...months.matchAll(/^\| [A-Z]/gm)]).toHaveLength(12);
  expect(planned.toSorted()).toEqual(drills.toSorted());
});
