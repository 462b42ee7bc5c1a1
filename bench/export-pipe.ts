// The peer of bench/export.ts: psql and zstd in a pipe, into a file that is on the disk at the end.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

export interface PipeResult {
  readonly seconds: number;
  /** Of psql and zstd. */
  readonly cpuSeconds: number;
}

const timeoutMs = 600_000;
const columns = "completion_id, position, direction, role, body, finish_reason, logprobs";

/** Copies a tenant's messages to a file. @param psql path of the program */
export async function runPipe(
  psql: string,
  {
    url,
    tenantId,
    format,
    folder,
  }: { url: string; tenantId: string; format: "csv" | "ndjson"; folder: string },
): Promise<PipeResult> {
  const rows = `select ${columns} from messages where tenant_id = '${tenantId}'`;
  const copy =
    format === "csv"
      ? `copy (${rows}) to stdout csv`
      : `copy (select row_to_json(line) from (${rows}) line) to stdout`;
  // The second line of what `times` prints is of the children that have ended.
  const script = `set -o pipefail; "$PSQL" "$URL" -qc "set ectus.tenants = '{$TENANT}'" -c "$COPY" | zstd -3 -q -f -o "$OUT" && sync "$OUT" && times`;
  const started = performance.now();
  const { stdout } = await promisify(execFile)("bash", ["-c", script], {
    timeout: timeoutMs,
    env: {
      ...process.env,
      PSQL: psql,
      URL: url,
      TENANT: tenantId,
      COPY: copy,
      OUT: join(folder, "pipe.zst"),
    },
  });
  const seconds = (performance.now() - started) / 1_000;
  const children = stdout.split("\n")[1] ?? "";
  const cpu = [...children.matchAll(/(\d+)m([\d.]+)s/g)].map(
    (match) => Number(match[1]) * 60 + Number(match[2]),
  );
  return { seconds, cpuSeconds: cpu.reduce((sum, each) => sum + each, 0) };
}
