// Downloading a bag from Ectus-R, and the same bytes as a file from nginx, which sends it by sendfile.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const timeoutMs = 300_000;

export interface StaticServer {
  readonly url: string;
  readonly version: string;
  stop(): Promise<void>;
}

/** nginx over a folder, on a free port of this machine. */
export async function startNginx(folder: string, root: string): Promise<StaticServer> {
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const configuration = `
    daemon off; worker_processes 1; pid ${join(folder, "pid")}; error_log ${join(folder, "error.log")};
    ${process.getuid?.() === 0 ? "user root;" : ""}
    events { worker_connections 64; }
    http { access_log off; sendfile on; tcp_nopush on;
      client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
      uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
      server { listen 127.0.0.1:${port}; root ${root}; } }`;
  const path = join(folder, "nginx.conf");
  await writeFile(path, configuration);
  const child = spawn("nginx", ["-c", path, "-e", join(folder, "error.log")], { stdio: "ignore" });
  const { stderr } = await run("nginx", ["-v"]);
  await untilAnswers(`http://127.0.0.1:${port}/`, child);
  return {
    url: `http://127.0.0.1:${port}`,
    version: stderr.replace(/^.*nginx\//s, "").trim(),
    async stop() {
      child.kill("SIGQUIT");
      await once(child, "exit");
    },
  };
}

async function untilAnswers(url: string, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (child.exitCode !== null) throw new Error("nginx did not start");
    const answer = await fetch(url).catch(() => undefined);
    if (answer !== undefined) return;
    await delay(25);
  }
  throw new Error("nginx does not answer");
}

/** Seconds that curl takes for a URL, and how much it read. */
export async function download(
  url: string,
  headers: readonly string[] = [],
): Promise<{ readonly seconds: number; readonly bytes: number }> {
  const options = [
    "--silent",
    "--fail",
    "--output",
    "/dev/null",
    "--write-out",
    "%{time_total} %{size_download}",
  ];
  const { stdout } = await run(
    "curl",
    [...options, ...headers.flatMap((header) => ["--header", header]), url],
    {
      timeout: timeoutMs,
    },
  );
  const [seconds = 0, bytes = 0] = stdout.split(" ").map(Number);
  return { seconds, bytes };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}
