// What MONITORING.md shows is accepted by the real programs: the scrape configuration by promtool, each query by a
// Prometheus that has scraped an instance.
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chatModel, type Instance, startInstance } from "../monitoring/start-instance.ts";
import { type Prometheus, startPrometheus } from "../monitoring/start-prometheus.ts";
import { fencedBlocks } from "./fenced-blocks.ts";

const programs = await peer("prometheus");
const blocks = fencedBlocks(await readFile(join(import.meta.dirname, "../../MONITORING.md"), "utf8"));
const configs = blocks.filter(({ info }) => info === "yaml prometheus").map(({ code }) => code);
const [config = ""] = configs;
const rules = new URL("../../k8s/prometheus", import.meta.url);
const queries = blocks
  .filter(({ info }) => info === "promql")
  .flatMap(({ code }) => code.split("\n"))
  .filter((line) => line !== "" && !line.startsWith("#"));

let folder: string;
let instance: Instance;
let prometheus: Prometheus;

describe.skipIf(!programs)("MONITORING.md", () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-monitoring-"));
    instance = await startInstance();
    const { host } = new URL(instance.metricsUrl);
    // As shown, but for where the instance is and how often it is scraped.
    const here = config
      .replace("127.0.0.1:9090", host)
      .replace("scrape_interval: 15s", "scrape_interval: 1s");
    expect(here).not.toBe(config);
    prometheus = await startPrometheus({ program: programs?.files.prometheus as string, config: here });
    await prometheus.scraped();
    const chat = (body: object): Promise<Response> =>
      fetch(`${instance.url}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${instance.key}`, "content-type": "application/json" },
        body: JSON.stringify({ model: chatModel, messages: [{ role: "user", content: "Hi" }], ...body }),
      });
    await (await chat({ stream: true })).text();
    instance.upstream.next({ status: 500 });
    await (await chat({})).text();
    await prometheus.scraped();
    // A rate needs two scrapes that saw the series, since what was not there before has no increase.
    await (await chat({ stream: true })).text();
    instance.upstream.next({ status: 500 });
    await (await chat({})).text();
    await prometheus.scraped();
  }, 90_000);
  afterAll(async () => {
    await prometheus?.stop();
    await instance?.stop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  test.each(configs)("has a configuration that promtool accepts: %s", async (shown) => {
    // promtool looks for the files that it names, beside it.
    for (const [, name = ""] of shown.matchAll(/_file: (\S+)/g)) await writeFile(join(folder, name), "");
    await cp(rules, join(folder, "k8s", "prometheus"), { recursive: true });
    const file = join(folder, "prometheus.yml");
    await writeFile(file, shown);
    const { stdout } = await promisify(execFile)(programs?.files.promtool as string, [
      "check",
      "config",
      file,
    ]);
    expect(stdout).toContain("is valid prometheus config file syntax");
  });

  test("has configurations and queries", () => {
    expect(configs).toHaveLength(3);
    expect(queries.length).toBeGreaterThan(5);
  });

  test.each(queries)("has a query that has an answer: %s", async (query) => {
    const samples = await prometheus.query(query);
    expect(samples.length).toBeGreaterThan(0);
    for (const { value, histogram } of samples) {
      expect(histogram).toBeUndefined();
      expect(Number.isNaN(Number(value?.[1]))).toBe(false);
    }
  });
});
