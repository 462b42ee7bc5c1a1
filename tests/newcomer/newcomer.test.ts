// What a newcomer does: npm start in a fresh checkout, the printed curl line, an official client, Ctrl-C, and again.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtemp, readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { listModels } from "@ectus/ai-engine";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeCheckout } from "./checkout.ts";

const run = promisify(execFile);

// mkdtemp's folder is closed to other users (0700): PostgreSQL's user must get through all the same.
let parent: string;
let checkout: string;

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), "ectus-newcomer-"));
  checkout = join(parent, "ectus-r");
  await makeCheckout(checkout);
});
afterAll(async () => {
  await rm(parent, { recursive: true, force: true });
});

// Only looked for: a folder that finds it would keep a copy.
const model = (await listModels(join(tmpdir(), "ectus-no-models")))[0]?.path;
if (model === undefined && process.env.CI !== "true") {
  process.stderr.write("Skipped: the model is not here; get it with: npm run peers model\n");
}

interface Started {
  readonly npm: ChildProcess;
  readonly output: () => string;
  /** Resolves when `text` is in the output. */
  readonly printed: (text: string) => Promise<void>;
}

/** Runs `npm start` as a shell on a terminal does: in a process group of its own. */
async function npmStart(): Promise<Started> {
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|VITEST|NODE_|TEST|INIT_CWD)/i.test(name)),
  );
  const npm = spawn("npm", ["start"], {
    cwd: checkout,
    env: { ...environment, PORT: "0", METRICS_PORT: "0" },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let closed: string | undefined;
  const changed = new EventEmitter();
  for (const stream of [npm.stdout, npm.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      changed.emit("change");
    });
  }
  npm.once("close", (code, signal) => {
    closed = `npm start ended with ${code ?? signal}:\n${output}`;
    changed.emit("change");
  });
  async function printed(text: string): Promise<void> {
    while (!output.includes(text)) {
      if (closed !== undefined) throw new Error(closed);
      await once(changed, "change");
    }
  }
  await printed("Ctrl-C stops it.");
  return { npm, output: () => output, printed };
}

/** Ctrl-C: the terminal signals every process of the group, and npm passes the signal on to its script once more. */
async function pressCtrlC({ npm, output }: Started): Promise<string> {
  const ended = once(npm, "close");
  process.kill(-(npm.pid as number), "SIGINT");
  // The start script has no shell between npm and the program (`exec`), which would die of the signal and npm of that.
  const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null];
  const orderly =
    output().includes("Stopping. Once more") &&
    !/"level":"(error|fatal)"|at once\.\n\nStopping/.test(output());
  return code === 0 && orderly ? "in order" : `${code ?? signal}:\n${output()}`;
}

/** The curl command in what was printed, as it is to be pasted. */
function curlLine(output: string): string {
  return /^ {2}curl [\s\S]*?'$/m.exec(output.slice(output.indexOf("Ask the model:")))?.[0].trim() ?? "";
}

/** Processes that work in the checkout or have it in their command line. */
async function processesOf(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const command = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => "");
    if (command.includes(folder) || cwd.startsWith(folder)) found.push(`${pid} ${command}`);
  }
  return found;
}

async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const open = await Promise.race([
    once(socket, "connect").then(
      () => true,
      () => false,
    ),
    once(socket, "error").then(() => false),
  ]);
  socket.destroy();
  return open;
}

describe.skipIf(model === undefined && process.env.CI !== "true")("npm start in a fresh checkout", () => {
  let firstKey: string;

  test("prints a curl line that gets an answer of the real model, and Ctrl-C leaves nothing behind", async () => {
    const started = await npmStart();
    try {
      const { stdout } = await run("sh", [
        "-c",
        `${curlLine(started.output())} --silent --show-error --fail`,
      ]);
      const answer = JSON.parse(stdout);
      expect(answer.object).toBe("chat.completion");
      expect(answer.choices[0].message.content.length).toBeGreaterThan(0);
      expect(answer.usage.completion_tokens).toBeGreaterThan(0);

      const file = join(checkout, ".ectus", "credentials.json");
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      const credentials = JSON.parse(await readFile(file, "utf8"));
      firstKey = credentials.tenants[0].key;
      const client = new OpenAI({ apiKey: firstKey, baseURL: `${credentials.baseUrl}/v1`, maxRetries: 0 });
      const models = await client.models.list();
      const stream = await client.chat.completions.create({
        model: models.data[0]?.id ?? "",
        messages: [{ role: "user", content: "Say hello." }],
        max_tokens: 8,
        stream: true,
      });
      let text = "";
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
      expect(text).not.toBe("");

      expect(await pressCtrlC(started)).toBe("in order");
      expect(await processesOf(checkout)).toEqual([]);
      expect(await isOpen(Number(new URL(credentials.baseUrl).port))).toBe(false);
    } finally {
      started.npm.kill("SIGKILL");
    }
  }, 60_000);

  test("starts again on the same data, with the same key", async () => {
    const started = await npmStart();
    try {
      const { baseUrl, tenants } = JSON.parse(
        await readFile(join(checkout, ".ectus", "credentials.json"), "utf8"),
      );
      expect(tenants[0].key).toBe(firstKey);
      // What is printed may be kept: it shows no key.
      expect(started.output()).not.toContain("sk-");
      const answer = await fetch(`${baseUrl}/v1/models`, {
        headers: { authorization: `Bearer ${firstKey}` },
      });
      expect(answer.status).toBe(200);
      // Its loader tests the native library in a process of its own, which the signal would reach as well.
      await started.printed("model loaded");
      expect(await pressCtrlC(started)).toBe("in order");
      expect(await processesOf(checkout)).toEqual([]);
    } finally {
      started.npm.kill("SIGKILL");
    }
  }, 60_000);
});
