// Who is told what: the table of cases beside Alertmanager's configuration, asked of amtool, of a real Alertmanager, and
// of what the checked chain takes the configuration to mean.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  inhibits,
  matches,
  parseAlertmanagerConfig,
  type Rule,
  readRuleFile,
  routesOf,
} from "@ectus/alerting";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { until } from "../postgres/until.ts";
import {
  type AlertmanagerRig,
  configFile,
  configFolder,
  type Labels,
  pagerDutyConfigFile,
  startAlertmanagerRig,
} from "./alertmanager-rig.ts";

interface Cases {
  readonly routes: readonly {
    readonly name: string;
    readonly labels: Labels;
    readonly receivers: readonly string[];
  }[];
  readonly inhibitions: readonly {
    readonly name: string;
    readonly rule: string;
    readonly source: Labels;
    readonly target: Labels;
    readonly inhibited: boolean;
  }[];
}

const programs = await peer("alertmanager");
const cases = parse(await readFile(join(configFolder, "routes.test.yaml"), "utf8")) as Cases;
const config = parseAlertmanagerConfig("config.yaml", await readFile(configFile, "utf8"));
const run = promisify(execFile);

/** The labels that rules give to their alerts. */
const alerts = (
  await Promise.all(
    ["alerts.yaml", "objective-rules.yaml"].map((name) => readRuleFile(join(configFolder, "..", name))),
  )
).flatMap(({ groups }) =>
  groups.flatMap(({ rules }) => rules.filter(({ kind }) => kind === "alert").map(labelsOf)),
);

function labelsOf({
  name,
  labels,
}: Rule): Labels & { readonly alertname: string; readonly severity: string } {
  const given = Object.fromEntries([...labels].map(([label, { value }]) => [label, value]));
  return { ...given, alertname: name.value, severity: given.severity ?? "" };
}

test.each(alerts)("$alertname is told by its severity", (labels) => {
  const receiver = labels.alertname === "Watchdog" ? "dead-mans-switch" : `platform-${labels.severity}`;
  expect(routesOf(config.route, labels).map((route) => route.receiver)).toEqual([receiver]);
});

test.each(config.inhibitions)("no ticket silences a page by $name", ({ source, target }) => {
  const ranks = ["info", "ticket", "page"];
  // Of something, whatever it is.
  const somewhere = alerts.map((labels) => ({ node: "one", pod: "one", ...labels }));
  const least = Math.min(
    ...somewhere.filter((each) => matches(source, each)).map(({ severity }) => ranks.indexOf(severity)),
  );
  const most = Math.max(
    ...somewhere.filter((each) => matches(target, each)).map(({ severity }) => ranks.indexOf(severity)),
  );
  expect(most).toBeGreaterThanOrEqual(0);
  expect(least).toBeGreaterThanOrEqual(most);
});

describe.skipIf(!programs)("Alertmanager's configuration", () => {
  const amtool = (...args: readonly string[]) => run(programs?.files.amtool ?? "", args);
  let rig: AlertmanagerRig;
  beforeAll(async () => {
    // Nothing is to be sent while cases come and go.
    rig = await startAlertmanagerRig(programs?.files.alertmanager ?? "", 0.01);
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  test.each([configFile, pagerDutyConfigFile])("amtool finds no fault in %s", async (path) => {
    const { stdout } = await amtool("check-config", path);
    expect(stdout).toContain(`${config.inhibitions.length} inhibit rules`);
  });

  test("both variants route alike", async () => {
    const withPagerDuty = parseAlertmanagerConfig("pagerduty", await readFile(pagerDutyConfigFile, "utf8"));
    const withoutLines = (value: unknown): unknown =>
      JSON.parse(JSON.stringify(value, (key, inner: unknown) => (key === "line" ? undefined : inner)));
    expect(withoutLines(withPagerDuty.route)).toEqual(withoutLines(config.route));
    expect(withoutLines(withPagerDuty.inhibitions)).toEqual(withoutLines(config.inhibitions));
  });

  test.each(cases.routes)("$name", async ({ labels, receivers }) => {
    const pairs = Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    const verify = `--verify.receivers=${receivers.join(",")}`;
    await amtool("config", "routes", "test", `--config.file=${pagerDutyConfigFile}`, verify, ...pairs);
    expect(routesOf(config.route, labels).map(({ receiver }) => receiver)).toEqual(receivers);
    await rig.alertmanager.post([{ labels }]);
    const received = (await rig.alertmanager.alerts()).find((alert) => same(alert.labels, labels));
    expect(received?.receivers.map(({ name }) => name)).toEqual(receivers);
    await resolve(labels);
  });

  test.each(cases.inhibitions)("$name", async ({ rule, source, target, inhibited }) => {
    await rig.alertmanager.post([{ labels: source }, { labels: target }]);
    // It takes alerts in their order: once it knows of the second pair, it has judged the first.
    await rig.alertmanager.post([{ labels: lastSource }, { labels: lastTarget }]);
    const inhibitedBy = async (labels: Labels): Promise<readonly string[]> => {
      const found = (await rig.alertmanager.alerts()).find((alert) => same(alert.labels, labels));
      if (found === undefined) throw new Error(`there is no alert ${JSON.stringify(labels)}`);
      return found.status.inhibitedBy;
    };
    await until(async () => (await inhibitedBy(lastTarget)).length > 0);
    expect((await inhibitedBy(target)).length > 0).toBe(inhibited);
    await resolve(source, target, lastSource, lastTarget);

    const named = config.inhibitions.find(({ name }) => name === rule);
    if (named === undefined) throw new Error(`no inhibition is called ${rule}`);
    expect(inhibits(named, source, target)).toBe(inhibited);
  });

  test("every receiver of the configuration is reached by a case", () => {
    expect([...new Set(cases.routes.flatMap(({ receivers }) => receivers))].sort()).toEqual(
      [...config.receivers].sort(),
    );
  });

  async function resolve(...all: readonly Labels[]): Promise<void> {
    // An alert that ends before it began is refused.
    const [startsAt, endsAt] = [2_000, 1_000].map((ms) => new Date(Date.now() - ms).toISOString());
    await rig.alertmanager.post(
      all.map((labels) => ({ labels, startsAt: startsAt ?? "", endsAt: endsAt ?? "" })),
    );
    await until(async () => {
      const open = await rig.alertmanager.alerts();
      return !open.some((alert) => all.some((labels) => same(alert.labels, labels)));
    });
  }
});

const lastSource = { alertname: "ServiceDown", severity: "page", team: "platform", area: "api", job: "last" };
const lastTarget = {
  alertname: "HighErrorRate",
  severity: "page",
  team: "platform",
  area: "api",
  job: "last",
};

function same(one: Labels, other: Labels): boolean {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}
