// How drills judge: one whose fault is not there fails, and so does each step that did not happen. Besides: servers that
// were there before, and Ctrl-C.
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { readRuleFile, shortenAlertmanagerConfig, shortenRules } from "@ectus/alerting";
import {
  type AlertDrill,
  allDrills,
  findPrograms,
  runDrill,
  type Step,
  startAlertmanager,
  startPrometheus,
  startReceiver,
} from "@ectus/drills";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { findFreePort } from "../free-port.ts";
import { type DrillHolder, openDrillHolder, processesOf } from "./held-drill.ts";

const timeoutMs = 240_000;
const root = new URL("../../", import.meta.url).pathname;
const main = join(root, "packages/cli/src/main.ts");

let holder: DrillHolder;
beforeAll(async () => {
  holder = await openDrillHolder();
}, 1_200_000);
afterAll(() => holder.close());

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-judged-drills-"));
  await mkdir(join(folder, "scratch"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Runs a changed drill in this process, and gives its failed steps. */
async function failuresOf(name: string, change: Partial<AlertDrill>): Promise<readonly Partial<Step>[]> {
  const drill = allDrills.find((each) => each.name === name);
  if (drill?.kind !== "alert") throw new Error(`there is no drill ${name} of an alert`);
  const steps: Step[] = [];
  const scratch = join(folder, "scratch");
  const reportFolder = join(folder, "report");
  const { passed } = await runDrill({
    drill: { ...drill, ...change },
    ectus: [process.execPath, main],
    scratch,
    reportFolder,
    onStep: (step) => steps.push(step),
    signal: new AbortController().signal,
  });
  const failures = steps.filter(({ ok }) => !ok);
  expect(passed).toBe(failures.length === 0);
  expect(await readFile(join(reportFolder, "report.md"), "utf8")).toContain("FAILED");
  expect(await readdir(join(reportFolder, "logs"))).toEqual(
    expect.arrayContaining(["alertmanager.log", "instance.log", "postgres.log", "prometheus.log"]),
  );
  expect(await readdir(folder)).toEqual(["report"]);
  expect(await processesOf(scratch)).toEqual([]);
  return failures;
}

test(
  "a drill whose fault is not there fails, and says what it saw instead",
  async () => {
    const failures = await failuresOf("high-error-rate", {
      inject: async () => async () => {},
      detectWithinMs: 10_000,
    });
    expect(failures).toEqual([
      expect.objectContaining({
        what: "HighErrorRate fires",
        expected: "it fires with severity page within 10 s",
        seen: "no alert",
      }),
    ]);
  },
  timeoutMs,
);

test(
  "each step that did not happen fails by itself, and those after it are judged",
  async () => {
    const failures = await failuresOf("service-down", {
      inhibits: ["InstanceDown", "HighLatency"],
      customersSee: "nothing",
      wakesNobody: true,
    });
    expect(failures).toEqual([
      expect.objectContaining({
        what: "HighLatency fires as well, and ServiceDown silences it",
        seen: "not raised; in Alertmanager: not there",
      }),
      expect.objectContaining({
        what: "Customers notice nothing",
        seen: expect.stringContaining("without an answer"),
      }),
      expect.objectContaining({
        what: "Nobody was woken",
        seen: expect.stringContaining("FIRING ServiceDown"),
      }),
    ]);
  },
  timeoutMs,
);

test(
  "a fault that cannot be brought about fails the drill, with the reason",
  async () => {
    const failures = await failuresOf("high-error-rate", {
      inject: () => Promise.reject(new Error("the disk is write-protected")),
    });
    expect(failures).toEqual([expect.objectContaining({ seen: "the disk is write-protected" })]);
  },
  timeoutMs,
);

test(
  "a drill can be held on a Prometheus and an Alertmanager that run already",
  async () => {
    const programs = await findPrograms(["prometheus", "alertmanager"]);
    await using stack = new AsyncDisposableStack();
    const [amFolder, promFolder] = [join(folder, "alertmanager"), join(folder, "prometheus")];
    await Promise.all([mkdir(amFolder), mkdir(promFolder)]);
    const receiver = await startReceiver();
    stack.defer(() => receiver.close());
    const alerting = join(root, "k8s/prometheus");
    const config = await readFile(join(alerting, "alertmanager/config.yaml"), "utf8");
    const templates = join(alerting, "alertmanager/templates");
    const names = await readdir(templates);
    const texts = await Promise.all(names.map((name) => readFile(join(templates, name), "utf8")));
    const alertmanager = await startAlertmanager({
      path: programs.alertmanager,
      folder: amFolder,
      config: shortenAlertmanagerConfig(config, {
        factor: 60,
        folder: amFolder,
        pagerDutyUrl: receiver.pagerDutyUrl,
      }),
      templates: Object.fromEntries(names.map((name, index) => [name, texts[index] ?? ""])),
      secrets: receiver.secrets,
    });
    stack.defer(alertmanager.stop);
    const ruleFiles = await Promise.all(
      ["alerts.yaml", "recording-rules.yaml", "objective-rules.yaml"].map(async (name) => {
        const file = await readRuleFile(join(alerting, name));
        return [basename(name), shortenRules(file, { windows: 60, objective: 120, ages: 1_440 })] as const;
      }),
    );
    const metricsPort = await findFreePort();
    const every = "500ms";
    const prometheus = await startPrometheus({
      path: programs.prometheus,
      folder: promFolder,
      ruleFiles: Object.fromEntries(ruleFiles),
      resendDelay: "2s",
      config: {
        global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
        alerting: { alertmanagers: [{ static_configs: [{ targets: [new URL(alertmanager.url).host] }] }] },
        scrape_configs: [{ job_name: "ectus", static_configs: [{ targets: [`127.0.0.1:${metricsPort}`] }] }],
      },
    });
    stack.defer(prometheus.stop);
    const { code, failed, done, left } = await holder.hold("service-down", {
      args: [
        ...["--prometheus", prometheus.url, "--alertmanager", alertmanager.url],
        ...["--metrics-port", String(metricsPort)],
      ],
    });
    expect(failed).toEqual([]);
    expect(code).toBe(0);
    expect(done).toEqual(
      expect.arrayContaining([
        "Alertmanager tells platform-page of ServiceDown",
        "InstanceDown fires as well, and ServiceDown silences it",
        "ServiceDown is over in Alertmanager",
      ]),
    );
    expect(left).toEqual([]);
  },
  timeoutMs,
);

test(
  "Ctrl-C ends a drill in the middle, and nothing stays but the report",
  async () => {
    const { code, failed, left } = await holder.hold("high-latency", {
      interruptAfter: "Fault: the vendor takes",
    });
    expect(code).toBe(1);
    expect(failed).toEqual([
      expect.objectContaining({
        what: "The drill was ended before it was over",
        seen: "stopped by a signal",
      }),
    ]);
    expect(left).toEqual([]);
  },
  timeoutMs,
);
