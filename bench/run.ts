// npm run bench [-- names…]: measures, prints tables, writes bench/results, and rewrites the tables in the docs.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { errorMessage } from "@ectus/core";
import { exports } from "./export.ts";
import { gateway } from "./gateway.ts";
import { http } from "./http.ts";
import { logging } from "./logging.ts";
import { metrics } from "./metrics.ts";
import { observability } from "./observability.ts";
import { aimsTable, type Bench, rewriteDocs, toText, writeResults } from "./report.ts";
import { tracing } from "./tracing.ts";

const benches: readonly Bench[] = [gateway, metrics, logging, http, observability, tracing, exports];

const stopping = new AbortController();
// What was started is ended in order, also when somebody presses Ctrl-C.
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => stopping.abort(new Error(`stopped by ${signal}`)));

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`bench: ${errorMessage(error)}\n`);
  process.exitCode = 1;
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter((name) => !benches.some((bench) => bench.name === name));
  if (unknown.length > 0) {
    const known = benches.map(({ name }) => name).join(", ");
    process.stderr.write(`bench: no bench is called ${unknown.join(", ")}. Benches are: ${known}.\n`);
    return 2;
  }
  let missed = 0;
  for (const bench of benches.filter(({ name }) => names.length === 0 || names.includes(name))) {
    missed += await measure(bench);
  }
  return missed === 0 ? 0 : 1;
}

/** Returns how many aims were missed. */
async function measure(bench: Bench): Promise<number> {
  const { report, tables } = await bench.run({
    note: (line) => void process.stderr.write(`${bench.name}: ${line}\n`),
    signal: stopping.signal,
  });
  for (const table of [...tables, aimsTable(report.aims)]) process.stdout.write(toText(table));
  const path = await writeResults(bench.name, report);
  const docs = await rewriteDocs(bench.name, tables, report.machine, markdownFiles());
  process.stdout.write(`\nWritten: ${[path, ...docs].join(", ")}\n`);
  return report.aims.filter(({ met }) => !met).length;
}

function markdownFiles(): readonly string[] {
  const listed = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "--", "*.md"], {
    cwd: join(import.meta.dirname, ".."),
    encoding: "utf8",
  });
  return listed.split("\n").filter((path) => path !== "");
}
