// Runs what the README shows, on an instance with the real model, and compares what it says with what is there. The two
// set-up commands are covered by tests/newcomer.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fencedBlocks } from "./fenced-blocks.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..", "..");
const shownUrl = "http://127.0.0.1:8080";
const shownMetricsUrl = "http://127.0.0.1:9090/metrics";
const readText = (path: string) => readFile(join(root, path), "utf8");
const readme = await readText("README.md");
const model = await peer("model");

let folder: string;
let dataDir: string;
let url: string;
let metricsUrl: string;
let printed = "";
let instance: ChildProcess | undefined;

/** Resolves when the instance has printed all that a start prints. */
async function start(): Promise<void> {
  const child = spawn(process.execPath, ["packages/cli/src/main.ts", "up"], {
    cwd: root,
    env: {
      ...process.env,
      PORT: "0",
      METRICS_PORT: "0",
      HOST: "127.0.0.1",
      DATA_DIR: dataDir,
      LOG_LEVEL: "warn",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  instance = child;
  await new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        printed += text;
        if (printed.includes("Ctrl-C stops it.")) resolve();
      });
    }
    child.once("close", (code) => reject(new Error(`the instance ended with ${code}: ${printed}`)));
  });
  url = /answers at (\S+)/.exec(printed)?.[1] ?? "";
  metricsUrl = /Metrics for Prometheus are at (\S+)\./.exec(printed)?.[1] ?? "";
}

describe.skipIf(!model)("the README", () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-docs-"));
    dataDir = join(folder, "data");
    await start();
  });
  afterAll(async () => {
    if (instance?.exitCode === null) {
      const ended = once(instance, "close");
      instance.kill("SIGINT");
      await ended;
    }
    await rm(folder, { recursive: true, force: true });
  });

  test("has commands and a program that run, one after the other, and print what it says", async () => {
    const blocks = fencedBlocks(readme).filter(({ info }) => info.endsWith(" run"));
    expect(blocks.map(({ info }) => info)).toEqual([
      "sh run",
      "js run",
      "sh run",
      "sh run",
      "sh run",
      "sh run",
      "sh run",
    ]);
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    // One shell for all: a block goes on with what an earlier one has exported. curl fails where the API does.
    let script = 'curl() { command curl --fail-with-body "$@"; }\n';
    for (const { info, code } of blocks) {
      const here = code
        .replaceAll(shownMetricsUrl, metricsUrl)
        .replaceAll(shownUrl, url)
        .replaceAll("./.ectus/", `${dataDir}/`);
      if (info === "js run") await writeFile(join(folder, "hello.mjs"), here);
      script += info === "js run" ? `node '${join(folder, "hello.mjs")}'\n` : here;
      script += "printf '\\n=====\\n'\n";
    }
    const { stdout } = await run("bash", ["-euo", "pipefail", "-c", script], {
      cwd: root,
      env: { ...process.env, DATA_DIR: dataDir },
      timeout: 55_000,
    });
    const [models = "", answer, tenant = "", commands, exported, metrics, onCall] = stdout.split("\n=====\n");
    expect(JSON.parse(models)).toMatchObject({ data: [{ id: "smollm2-135m-instruct" }] });
    expect(readme).toContain(`\`node hello.mjs\` prints \`${answer}\``);
    expect(JSON.parse(tenant)).toMatchObject({ object: "tenant", name: "Umbrella" });
    expect(commands).toMatch(/^ {2}sk-[\w-]{43}$/m);
    expect(commands).toMatch(/ Acme Corp +active /);
    expect(commands).toContain("ok    database: ");
    expect(commands).not.toMatch(/^fail /m);
    expect(exported).toContain("and the signature is by a key of http:");
    expect(exported).toContain("the signature fits the\nkey that the bag itself names");
    expect(exported).toMatch(/^tenant .*Demo, a copy/m);
    expect(metrics).toContain('http_requests_total{method="GET",path="/v1/models",status="200"} 1');
    expect(onCall).toMatch(/^primary .*\+\d/m);
    expect(onCall).toMatch(/^secondary .* \d{4}-\d\d-\d\d 10:00 /m);
  }, 60_000);

  test("has a picture of what one sees", async () => {
    const svg = await readText("docs/first-answer.svg");
    const entities: Record<string, string> = { "&lt;": "<", "&gt;": ">", "&amp;": "&" };
    const lines = [...svg.matchAll(/<text [^>]*>(.*)<\/text>/g)].map(([, line = ""]) =>
      line.replace(/&(lt|gt|amp);/g, (entity) => entities[entity] ?? ""),
    );
    const { version, scripts } = JSON.parse(await readText("package.json"));
    expect(lines).toContain(`> ectus-r@${version} start`);
    expect(lines).toContain(`> ${scripts.start}`);
    expect(lines).toContainEqual(expect.stringContaining(` ready url=${shownUrl} version=${version}`));

    const seen = printed
      .replaceAll(metricsUrl, shownMetricsUrl)
      .replaceAll(url, shownUrl)
      .replaceAll(`${dataDir}/`, "/home/ada/ectus-r/.ectus/");
    const from = lines.findIndex((line) => line.startsWith("Ectus-R answers"));
    const to = lines.indexOf("Ctrl-C stops it.");
    for (const line of lines.slice(from, to + 1)) {
      // A line that is too long for the picture ends with a mark.
      const [begin = ""] = line.split(/…$/);
      expect(seen.split("\n").filter((one) => one.startsWith(begin))).toHaveLength(1);
    }

    const command = /^ {2}curl [\s\S]*?'$/m.exec(printed)?.[0] ?? "";
    const { stdout } = await run("bash", ["-c", `${command} -s`]);
    const shown = lines.slice(lines.findIndex((line) => line.startsWith('{"id"'))).join("");
    // What differs each time, and what a first answer has not had cached.
    const alike = (text: string) =>
      text
        .replace(/chatcmpl-[\da-f]{32}/, "chatcmpl-")
        .replace(/"(created|cached_tokens)":\d+/g, '"$1":0')
        .replace(/…\}\}$/, "");
    expect(alike(stdout).startsWith(alike(shown))).toBe(true);
  });

  test("lists the endpoints that there are, and no others", async () => {
    const document = (await (await fetch(`${url}/docs/json`)).json()) as { paths: Record<string, object> };
    const served = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const listed = [...readme.matchAll(/`((?:GET|POST|PUT|PATCH|DELETE) \/[^`]*)`/g)].map(
      ([, endpoint]) => endpoint,
    );
    expect(new Set(listed)).toEqual(new Set(served));
    expect(listed).toHaveLength(served.length);
    expect((await fetch(`${url}/docs`)).status).toBe(200);
  });

  test("shows the options of npm start", async () => {
    const { stdout } = await run(process.execPath, ["packages/cli/src/main.ts", "up", "--help"], {
      cwd: root,
    });
    const options = [...stdout.matchAll(/^ {2}(?:-h, )?(--[a-z-]+)/gm)].map(([, name]) => name);
    const table = readme.slice(readme.indexOf("| option |"), readme.indexOf("npm scripts run"));
    const listed = [...table.matchAll(/^\| `(--[a-z-]+)/gm)].map(([, name]) => name);
    expect(new Set([...listed, "--help"])).toEqual(new Set(options));
  });
});
