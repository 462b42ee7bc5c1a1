// Portkey's AI gateway, which bench/gateway.ts measures beside Ectus-R in the same run; from npm.
import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage } from "@ectus/core";
import { runCommand } from "../command.ts";
import { definePeer, type Inspection } from "../peer.ts";

const version = "1.15.2";
const packageName = "@portkey-ai/gateway";
// Of the time of that version: with newer ones it answers 500 to every stream (its headers are immutable there).
const overrides = { hono: "4.9.7", "@hono/node-server": "1.3.3" };
const installTimeoutMs = 5 * 60_000;

export const portkey = definePeer({
  name: "portkey",
  version,
  about: "Portkey's AI gateway, started with: node start-server.js --port=N --headless",
  cost: "95 packages from npm",
  byDefault: false,
  provides: ["start-server.js"],
  systemFolders: [],
  onPath: false,
  within: `node_modules/${packageName}/build`,
  inspect,
  source: {
    kind: "cache",
    async fill(folder, { progress }) {
      progress(`npm install ${packageName}@${version}`);
      await writeFile(join(folder, "package.json"), JSON.stringify({ private: true, overrides }));
      // Its only install script applies patches that the published package does not have.
      await runCommand(
        "npm",
        [
          "install",
          "--prefix",
          folder,
          "--no-audit",
          "--no-fund",
          "--ignore-scripts",
          `${packageName}@${version}`,
        ],
        // In a folder of its own, or npm takes the checkout's settings.
        { timeoutMs: installTimeoutMs, cwd: folder },
      );
    },
  },
});

async function inspect(folder: string): Promise<Inspection> {
  try {
    await access(join(folder, "start-server.js"));
    const found: unknown = JSON.parse(await readFile(join(folder, "..", "package.json"), "utf8"));
    const foundVersion = (found as { version?: unknown }).version;
    return foundVersion === version
      ? { ok: true, version }
      : { ok: false, reason: `${folder} has version ${String(foundVersion)}` };
  } catch (error) {
    return { ok: false, reason: errorMessage(error) };
  }
}
