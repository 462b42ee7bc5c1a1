// The way from a request id to its trace and its log lines that MONITORING.md shows, run as it is shown.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { peer } from "@ectus/peers";
import { afterAll, expect, test } from "vitest";
import { readJaeger } from "../monitoring/read-jaeger.ts";
import { chatModel, startInstance } from "../monitoring/start-instance.ts";
import { startJaeger } from "../monitoring/start-jaeger.ts";
import { until } from "../postgres/until.ts";
import { fencedBlocks } from "./fenced-blocks.ts";

const programs = await peer("jaeger");
const started = new AsyncDisposableStack();
afterAll(() => started.disposeAsync());

test.skipIf(!programs)(
  "a request id leads to the trace and the lines of a request that failed",
  async () => {
    const jaeger = await startJaeger({ program: programs?.files.jaeger as string });
    started.defer(() => jaeger.stop());
    const instance = await startInstance({ OTEL_EXPORTER_OTLP_ENDPOINT: jaeger.otlpUrl });
    started.defer(() => instance.stop());
    instance.upstream.next({ status: 500 });
    const answer = await fetch(`${instance.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${instance.key}`, "content-type": "application/json" },
      body: JSON.stringify({ model: chatModel, messages: [{ role: "user", content: "Hi" }] }),
    });
    expect(answer.status).toBe(502);
    const requestId = answer.headers.get("x-request-id") as string;
    const traceId = requestId.replace("req_", "");
    await readJaeger(jaeger).waitForTrace(traceId);
    await until(() => instance.lines.some((line) => line.requestId === requestId && line.msg === "request"));

    const folder = await mkdtemp(join(tmpdir(), "ectus-traces-"));
    started.defer(() => rm(folder, { recursive: true, force: true }));
    await writeFile(join(folder, "ectus.log"), instance.stdout());
    const guide = await readFile(join(import.meta.dirname, "../../MONITORING.md"), "utf8");
    const blocks = fencedBlocks(guide).filter(({ info }) => info === "sh traces");
    expect(blocks).toHaveLength(1);
    const shown = blocks[0]?.code ?? "";
    const script = shown.replace("http://localhost:16686", jaeger.url);
    expect(script).not.toBe(shown);
    const { stdout } = await promisify(execFile)("bash", ["-euc", script], {
      cwd: folder,
      env: { ...process.env, REQUEST_ID: requestId },
    });
    const [trace = "", ...lines] = stdout.trim().split("\n");
    expect(trace).toContain('"POST /v1/chat/completions"');
    const [line] = lines.map((text) => JSON.parse(text)).filter(({ msg }) => msg === "request");
    expect(line).toMatchObject({ requestId, traceId, status: 502, code: "upstream_error", kept: "error" });
  },
  90_000,
);
