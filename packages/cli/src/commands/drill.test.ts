// The command's own part; that drills do what they say is shown in tests/drills.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allDrills, findPrograms, startOwnAlertmanager, startPrometheus } from "@ectus/drills";
import { peer } from "@ectus/peers";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { findFreePort } from "../../../../tests/free-port.ts";
import { runProgram } from "../program.ts";
import { recordContext, runRecorded } from "../recorded-context.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-drill-command-"));
  vi.stubEnv("TMPDIR", folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

const run = (...args: string[]) => runRecorded({ DATA_DIR: folder }, "drill", ...args);

test("the list names each drill, its alert and its severity", async () => {
  const { code, out } = await run("list");
  expect(code).toBe(0);
  expect(out.split("\n").filter((line) => line !== "")).toHaveLength(allDrills.length + 1);
  expect(out).toMatch(/^high-error-rate +HighErrorRate +page +a vendor that answers 500/m);
});

test("the list as JSON says which programs each needs", async () => {
  const { out } = await run("list", "--json");
  const { data } = JSON.parse(out);
  expect(data.map(({ name }: { name: string }) => name)).toEqual(allDrills.map(({ name }) => name));
  expect(data[0]).toEqual({
    name: "high-error-rate",
    alert: "HighErrorRate",
    severity: "page",
    shows: expect.any(String),
    programs: ["prometheus", "alertmanager"],
  });
});

test("a drill that there is none of is used wrongly, and the message names those that there are", async () => {
  const { code, err } = await run("run", "high-eror-rate");
  expect(code).toBe(2);
  expect(err).toContain("Accepts high-error-rate, broken-streams");
});

test.each([
  ["--prometheus", "localhost", "Accepts a URL such as http://127.0.0.1:9091."],
  ["--metrics-port", "0", "Accepts a port from 1 to 65535."],
  ["--metrics-port", "9090", "belong together"],
])("%s %s is used wrongly: %s", async (option, value, message) => {
  const { code, err } = await run("run", "service-down", option, value);
  expect(code).toBe(2);
  expect(err).toContain(message);
});

test("the rules of a drill are written with its own factor, and said where", async () => {
  const { code, out } = await run("rules", "pool-exhausted", join(folder, "of", "mine"));
  expect(code).toBe(0);
  expect(out).toContain(`Rules with times divided by 20 are in ${join(folder, "of", "mine")}`);
  const names = ["alerts.yaml", "objective-rules.yaml", "recording-rules.yaml"];
  expect((await readdir(join(folder, "of", "mine"))).toSorted()).toEqual(names);
  const alerts = await readFile(join(folder, "of", "mine", "alerts.yaml"), "utf8");
  // Two minutes.
  expect(/alert: DatabaseConnectionErrors[\s\S]*?for: (\w+)/.exec(alerts)?.[1]).toBe("6s");
});

test("a folder that cannot be made is told", async () => {
  await writeFile(join(folder, "file"), "");
  const { code, err } = await run("rules", "high-latency", join(folder, "file", "rules"));
  expect(code).toBe(1);
  expect(err).toContain(join(folder, "file"));
});

test("a drill that stops Prometheus cannot be held on one that was there before", async () => {
  const servers = ["--prometheus", "http://127.0.0.1:1", "--alertmanager", "http://127.0.0.1:2"];
  const { code, err } = await run("run", "watchdog", ...servers, "--metrics-port", "3");
  expect(code).toBe(2);
  expect(err).toContain("The drill watchdog needs a Prometheus of its own");
});

test("programs that are missing are named, with how to get them, and nothing is left", async () => {
  vi.stubEnv("PATH", "");
  vi.stubEnv("ECTUS_PEERS_CACHE", join(folder, "peers"));
  const { code, err } = await run("run", "high-error-rate");
  expect(code).toBe(1);
  expect(err).toContain("prometheus 3.9 or later");
  expect(err).toContain("npm run peers prometheus alertmanager");
  expect(await readdir(folder)).toEqual([]);
});

describe("with the programs", () => {
  beforeAll(() => Promise.all([peer("prometheus"), peer("alertmanager")]), 1_200_000);

  test("watchdog shows its steps, keeps a report in DATA_DIR, and leaves nothing else", async () => {
    await mkdir(join(folder, "scratch"));
    vi.stubEnv("TMPDIR", join(folder, "scratch"));
    const { code, out } = await run("run", "watchdog");
    expect(out).toContain("The dead man's switch has had no beat for 3 s and raises the alarm");
    expect(out).toContain("The dead man's switch has beats again");
    expect(out).toMatch(/\nPassed\. Noticed in \d/);
    expect(code).toBe(0);
    const [report = ""] = await readdir(join(folder, "drills"));
    expect(report).toMatch(/^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-watchdog$/);
    expect(out).toContain(`Report: ${join(folder, "drills", report, "report.md")}`);
    expect(await readdir(join(folder, "scratch"))).toEqual([]);
  }, 180_000);

  test("Ctrl-C while it starts ends it, and nothing stays but the report", async () => {
    await mkdir(join(folder, "scratch"));
    vi.stubEnv("TMPDIR", join(folder, "scratch"));
    const recorded = recordContext({ DATA_DIR: folder });
    const running = runProgram(
      ["drill", "run", "high-error-rate", "--report", join(folder, "kept")],
      recorded.context,
    );
    await recorded.printed("Drill high-error-rate: ");
    recorded.signal();
    expect(await running).toBe(1);
    expect(recorded.out()).toMatch(
      /FAILED {2}The drill was ended before it was over\n.*\n +seen: +stopped by a signal\n/,
    );
    expect(await readdir(join(folder, "kept"))).toContain("report.md");
    expect(await readdir(join(folder, "scratch"))).toEqual([]);
  }, 180_000);

  test("a drill can be held on a Prometheus and an Alertmanager that run already", async () => {
    const [scratch, ofAlertmanager, ofPrometheus] = ["scratch", "alertmanager", "prometheus"].map((name) =>
      join(folder, name),
    ) as [string, string, string];
    await Promise.all([scratch, ofAlertmanager, ofPrometheus].map((path) => mkdir(path)));
    vi.stubEnv("TMPDIR", scratch);
    const paths = await findPrograms(["prometheus", "alertmanager"]);
    const written = await run("rules", "service-down", join(folder, "rules"), "--json");
    expect(written.code).toBe(0);
    const { factors, files } = JSON.parse(written.out);
    expect(factors).toEqual({ windows: 60, objective: 120, ages: 1_440 });
    const texts = (files as readonly string[]).map(
      async (name) => [name, await readFile(join(folder, "rules", name), "utf8")] as const,
    );
    await using stack = new AsyncDisposableStack();
    const own = await startOwnAlertmanager({ path: paths.alertmanager, folder: ofAlertmanager, factors });
    stack.defer(own.stop);
    const { alertmanager } = own;
    const metricsPort = await findFreePort();
    const prometheus = await startPrometheus({
      path: paths.prometheus,
      folder: ofPrometheus,
      ruleFiles: Object.fromEntries(await Promise.all(texts)),
      resendDelay: "2s",
      config: {
        global: { scrape_interval: "500ms", scrape_timeout: "500ms", evaluation_interval: "500ms" },
        alerting: { alertmanagers: [{ static_configs: [{ targets: [new URL(alertmanager.url).host] }] }] },
        scrape_configs: [{ job_name: "ectus", static_configs: [{ targets: [`127.0.0.1:${metricsPort}`] }] }],
      },
    });
    stack.defer(prometheus.stop);
    const { code, out } = await run(
      ...["run", "service-down", "--prometheus", prometheus.url, "--alertmanager", alertmanager.url],
      ...["--metrics-port", String(metricsPort)],
    );
    expect(out).not.toContain("FAILED");
    expect(code).toBe(0);
    expect(out).toContain("Alertmanager tells platform-page of ServiceDown");
    expect(out).toContain("InstanceDown fires as well, and ServiceDown silences it");
    expect(out).toContain("ServiceDown is over in Alertmanager");
    expect(await readdir(scratch)).toEqual([]);
    // They go on.
    expect(await prometheus.alerts()).toContainEqual(
      expect.objectContaining({ labels: expect.objectContaining({ alertname: "Watchdog" }) }),
    );
  }, 240_000);
});
