// What a real OpenTelemetry Collector makes of lines, with the configuration that Kubernetes uses: those of a container
// as the kubelet keeps them, those of a file, and those that are no JSON. Nothing is lost when what it sends to fails,
// when it is restarted or when a file is rotated.
import { execFile } from "node:child_process";
import { appendFile, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { peer } from "@ectus/peers";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import { type ContainerLog, openContainerLog } from "./container-log.ts";
import { type LogReceiver, type LogRecord, startLogReceiver } from "./log-receiver.ts";
import { scrapeMetrics } from "./read-metrics.ts";
import { type Collector, collectorConfig, startCollector } from "./start-collector.ts";

const program = (await peer("otel-collector"))?.files.otelcol ?? "";
const traceId = "0af7651916cd43dd8448eb211c80319c";
const spanId = "b7ad6b7169203331";

let folder: string;
let receiver: LogReceiver;
let cleanUp: AsyncDisposableStack;

beforeEach(async () => {
  cleanUp = new AsyncDisposableStack();
  folder = await mkdtemp(join(tmpdir(), "ectus-collector-"));
  cleanUp.defer(() => rm(folder, { recursive: true, force: true }));
  receiver = await startLogReceiver();
  cleanUp.defer(() => receiver.close());
});
afterEach(() => cleanUp.disposeAsync());

async function start(logFiles = join(folder, "pods", "ectus_*", "*", "*.log")): Promise<Collector> {
  const stateFolder = join(folder, "state");
  const collector = await startCollector({ program, logFiles, stateFolder, endpoint: receiver.endpoint });
  cleanUp.defer(() => collector.kill());
  return collector;
}

const pod = (name: string): Promise<ContainerLog> =>
  openContainerLog(join(folder, "pods"), { namespace: "ectus", name, uid: "49cc7c1f", container: "ectus-r" });

const line = (fields: object): string =>
  `${JSON.stringify({ level: "info", time: "2026-01-02T03:04:05.678Z", module: "test", ...fields })}\n`;

const received = (count: number): Promise<void> => until(() => receiver.records.length >= count, 20_000);
const bodies = (records: readonly LogRecord[] = receiver.records): readonly unknown[] =>
  records.map(({ body }) => body);
const numbered = (from: number, to: number): readonly string[] =>
  Array.from({ length: to - from }, (_, index) => `line ${from + index}`);
const linesOf = (messages: readonly string[]): string => messages.map((msg) => line({ msg })).join("");

describe.skipIf(program === "")("the collector of Kubernetes", () => {
  test("its configuration is valid as it is", async () => {
    await promisify(execFile)(program, ["validate", `--config=${collectorConfig}`], { env: {} });
  });

  test("the fields of a line get to their places, in a container's log and in a file", async () => {
    const plain = join(folder, "pods", "ectus_plain_1", "file", "0.log");
    const container = await pod("ectus-r-7d9f-abcde");
    await openContainerLog(join(folder, "pods"), {
      namespace: "ectus",
      name: "plain",
      uid: "1",
      container: "file",
    });
    const levels = { trace: 1, debug: 5, info: 9, warn: 13, error: 17, fatal: 21 };
    const text = Object.keys(levels)
      .map((level, index) =>
        line({
          level,
          time: `2026-01-02T03:04:05.00${index}Z`,
          correlationId: "caller-1",
          requestId: "req_0198",
          traceId,
          spanId,
          tenantId: "tenant-1",
          status: 200,
          durationMs: 1.25,
          big: Number.MAX_SAFE_INTEGER,
          err: { type: "Error", causes: [{ code: "x" }] },
          msg: `a line at ${level}`,
        }),
      )
      .join("");
    await container.append("stdout", text);
    await writeFile(plain, text);
    const collector = await start();
    await received(12);
    await collector.stop();
    expect(receiver.records).toHaveLength(12);
    for (const [index, [level, severity]] of Object.entries(levels).entries()) {
      const both = receiver.records.filter(({ body }) => body === `a line at ${level}`);
      expect(both.map(({ attributes }) => attributes["log.file.path"]).sort()).toEqual(
        [container.file, plain].sort(),
      );
      for (const record of both) {
        const {
          "log.file.path": file,
          "log.file.name": _,
          "log.iostream": stream,
          ...attributes
        } = record.attributes;
        expect(record).toMatchObject({
          timeMs: Date.parse("2026-01-02T03:04:05Z") + index,
          severity,
          severityText: level,
          traceId,
          spanId,
        });
        expect(attributes).toEqual({
          module: "test",
          correlationId: "caller-1",
          requestId: "req_0198",
          tenantId: "tenant-1",
          status: 200,
          durationMs: 1.25,
          big: Number.MAX_SAFE_INTEGER,
          err: { type: "Error", causes: [{ code: "x" }] },
        });
        const isContainer = file === container.file;
        expect(stream).toBe(isContainer ? "stdout" : undefined);
        expect(record.resource).toEqual({
          "service.name": "ectus",
          ...(isContainer && {
            "k8s.namespace.name": "ectus",
            "k8s.pod.name": "ectus-r-7d9f-abcde",
            "k8s.pod.uid": "49cc7c1f",
            "k8s.container.name": "ectus-r",
            "k8s.container.restart_count": "0",
          }),
        });
      }
    }
  });

  test("whatever text is in a line arrives as it was, also in a line that the kubelet keeps in parts", async () => {
    const texts = [
      ...fc.sample(fc.string({ unit: "binary", minLength: 1 }), 200),
      // Longer than a part, with characters of two and three bytes at every place where one may end.
      "ü€".repeat(20_000),
      `-${"ü€".repeat(20_000)}`,
      `--${"ü€".repeat(20_000)}`,
    ];
    const log = await pod("texts");
    await log.append("stdout", texts.map((msg, index) => line({ index, text: msg, msg })).join(""));
    const collector = await start();
    await received(texts.length);
    await collector.stop();
    const sorted = receiver.records.toSorted(
      (one, other) => Number(one.attributes.index) - Number(other.attributes.index),
    );
    expect(bodies(sorted)).toEqual(texts);
    expect(sorted.map(({ attributes }) => attributes.text)).toEqual(texts);
    for (const { timeMs } of sorted) expect(timeMs).toBe(Date.parse("2026-01-02T03:04:05.678Z"));
  });

  test("lines that are no JSON are kept together, at a level that fits", async () => {
    const outOfMemory = `<--- Last few GCs --->

[1:0x2d1b000]    12345 ms: Mark-Compact 2047.1 (2083.4) -> 2046.9 (2083.6) MB

FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory
----- Native stack trace -----

 1: 0xb8d0a3 node::OOMErrorHandler(char const*, v8::OOMDetails const&)`;
    const uncaught = `file:///app/packages/cli/src/main.ts:3
throw new Error("boom");
      ^

Error: boom
    at file:///app/packages/cli/src/main.ts:3:7 {
  code: 'X'
}

Node.js v26.10.0`;
    const warning =
      "(node:7) ExperimentalWarning: something\n(Use `node --trace-warnings ...` to show where it was)";
    const postgres = [
      "2026-11-24 19:44:59.713 UTC [123] LOG:  database system is ready to accept connections",
      "2026-11-24 19:44:59.714 UTC [124] ectus@ectus WARNING:  there is no transaction in progress",
      '2026-11-24 19:44:59.715 UTC [124] ectus@ectus ERROR:  relation "x" does not exist at character 15',
      "2026-11-24 19:44:59.716 UTC [124] ectus@ectus STATEMENT:  select *\n\tfrom x",
      "2026-11-24 19:44:59.717 UTC [124] FATAL:  terminating connection due to administrator command",
    ];
    const cases = [
      ["stderr", outOfMemory, 21],
      ["stderr", uncaught, 21],
      ["stderr", warning, 13],
      ["stderr", "exec: no such file", 17],
      ["stdout", "Ectus-R answers at http://localhost:8080", 9],
      ["stdout", '{"level":"info","msg":"cut off', 9],
    ] as const;
    for (const [index, [stream, text]] of cases.entries())
      await (await pod(`case-${index}`)).append(stream, `\n${text}\n`);
    await (await pod("postgres")).append("stderr", `${postgres.join("\n")}\n`);
    const plain = await pod("plain");
    await writeFile(plain.file, `${uncaught}\n`);
    const mixed = await pod("mixed");
    await mixed.append("stdout", line({ msg: "before" }));
    await mixed.append("stderr", `${uncaught}\n`);
    await mixed.append("stdout", line({ msg: "after" }));

    const collector = await start();
    await received(cases.length + postgres.length + 4);
    await collector.stop();
    const of = (name: string) =>
      receiver.records
        .filter(({ attributes }) => String(attributes["log.file.path"]).includes(`_${name}_`))
        .map(({ body, severity }) => [body, severity]);
    for (const [index, [, text, severity]] of cases.entries())
      expect(of(`case-${index}`)).toEqual([[text, severity]]);
    expect(of("postgres")).toEqual(postgres.map((text, index) => [text, [9, 13, 17, 9, 21][index]]));
    expect(of("mixed").sort()).toEqual(
      [
        ["after", 9],
        ["before", 9],
        [uncaught, 21],
      ].sort(),
    );
    // The receiver passes over empty lines.
    expect(of("plain")).toEqual([[uncaught.replaceAll("\n\n", "\n"), 21]]);
    // The kubelet's time stands in for that of the line.
    for (const { timeMs, attributes } of receiver.records)
      expect(timeMs > 0).toBe(attributes["log.iostream"] !== undefined);
  });

  test("while the receiver fails nothing is lost, not by a restart either, and each line comes once", async () => {
    const log = await pod("outage");
    receiver.answerWith(503);
    await log.append("stdout", linesOf(numbered(0, 300)));
    const first = await start();
    await until(() => receiver.requests > 0, 20_000);
    await first.stop();
    await log.append("stdout", linesOf(numbered(300, 600)));
    const second = await start();
    const before = receiver.requests;
    await until(() => receiver.requests > before, 20_000);
    receiver.answerWith(200);
    await received(600);
    await second.stop();
    expect(bodies().toSorted()).toEqual(numbered(0, 600).toSorted());
  });

  test("after it was killed no line is missing; what it had no time to note may come twice", async () => {
    const log = await pod("killed");
    await log.append("stdout", linesOf(numbered(0, 300)));
    const first = await start();
    await received(300);
    // Read or not, sent or not.
    await log.append("stdout", linesOf(numbered(300, 600)));
    await first.kill();
    await log.append("stdout", linesOf(numbered(600, 900)));
    const second = await start();
    const all = numbered(0, 900).toSorted();
    await until(() => new Set(bodies()).size >= all.length, 20_000);
    await second.stop();
    expect([...new Set(bodies())].toSorted()).toEqual(all);
  });

  test("it counts what it sent and what was refused", async () => {
    const collector = await start();
    const log = await pod("counted");
    await log.append("stdout", linesOf(numbered(0, 100)));
    await received(100);
    receiver.answerWith(400);
    await log.append("stdout", linesOf(numbered(100, 130)));
    await until(async () => {
      const metrics = await scrapeMetrics(collector.metricsUrl);
      return (
        metrics.valueOf("otelcol_exporter_sent_log_records") === 100 &&
        metrics.valueOf("otelcol_exporter_send_failed_log_records") === 30
      );
    }, 20_000);
  });

  test("a file that is rotated is read to its end, and once", async () => {
    const log = await pod("rotated");
    await log.append("stdout", linesOf(numbered(0, 100)));
    const collector = await start();
    await received(100);
    await log.append("stdout", linesOf(numbered(100, 200)));
    await rename(log.file, `${log.file}.20260102-030405`);
    await log.append("stdout", linesOf(numbered(200, 300)));
    await received(300);
    await appendFile(`${log.file}.20260102-030405.gz`, "not to be read\n");
    await collector.stop();
    expect(bodies().toSorted()).toEqual(numbered(0, 300).toSorted());
  });
});
