// Documents that are made from code, in part or whole: which blocks there are, and whether they are up to date.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { alertsTable } from "./alerts-table.ts";
import { bucketTables, catalogueTables } from "./catalogue-tables.ts";
import { configTable } from "./config-table.ts";
import { dataMapOverview, dataMapTables, retentionTable } from "./data-map-tables.ts";
import { type ErrorRegistry, errorsTable, listedCodes } from "./errors-table.ts";
import { type Generators, rewriteBlocks } from "./generated-blocks.ts";
import { listFiles } from "./source-files.ts";

/** Every block that a document may hold. A new one is a line here. */
const generators: Generators = {
  alerts: makeAlertsTable,
  buckets: async () => bucketTables((await import("@ectus/monitoring")).catalogue),
  catalogue: async () => catalogueTables((await import("@ectus/monitoring")).catalogue),
  config: async () => configTable((await import("@ectus/core")).variables),
  "data-map": async () => dataMapTables((await import("@ectus/database")).dataMap),
  "data-map-overview": async () => dataMapOverview((await import("@ectus/database")).dataMap),
  "data-map-retention": async () => {
    const { dataMap, retentionClasses } = await import("@ectus/database");
    return retentionTable(retentionClasses, dataMap);
  },
  errors: async () => errorsTable((await import("@ectus/core")).errorCodes),
};

async function makeAlertsTable(): Promise<string> {
  const { readRuleFile } = await import("@ectus/alerting");
  const { allDrills } = await import("@ectus/drills");
  const { catalogue, externalSeries } = await import("@ectus/monitoring");
  const files = ["alerts", "objective-rules", "recording-rules"].map((name) =>
    readRuleFile(join(import.meta.dirname, "../../../k8s/prometheus", `${name}.yaml`)),
  );
  const groups = (await Promise.all(files)).flatMap((file) => file.groups);
  return alertsTable({
    rules: groups.flatMap(({ rules }) => rules),
    programOf(metric) {
      const name = metric.replace(/_(bucket|count|sum)$/, "");
      if (Object.hasOwn(catalogue, metric) || Object.hasOwn(catalogue, name)) return "Ectus-R";
      return (externalSeries[metric] ?? externalSeries[name])?.program;
    },
    drills: allDrills.map((drill) => ({ inhibits: [], ...drill })),
  });
}

const errorsDoc = "docs/errors.md";

const errorsDocStart = `# Errors

Every error answer has the shape of OpenAI's API, so its clients raise their own error classes:

\`\`\`json
{ "error": { "message": "…", "type": "invalid_request_error", "param": null, "code": "model_not_found" } }
\`\`\`

The code is stable: programs may rely on it. The message is for people and may change. Words in braces are replaced
by the facts of the case. Where a retry makes sense at a known time, the answer has a \`Retry-After\` header in
seconds. Codes about the configuration and the start appear on the command line, not in answers.

<!-- generated:errors -->
<!-- /generated -->
`;

/** Blocks of all Markdown files that differ from what the code makes. */
export async function checkGeneratedBlocks(root: string, blocks = generators): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const path of await listFiles(root, [".md"])) {
    const rewritten = await rewriteBlocks(await readFile(join(root, path), "utf8"), blocks);
    faults.push(...rewritten.faults.map((fault) => `${path}: ${fault}`));
    faults.push(
      ...rewritten.stale.map(
        (name) =>
          `${path}: block ${name} is not what the code makes; run: node tools/check/generated.ts --write`,
      ),
    );
  }
  return faults;
}

/** Makes all blocks anew. Gives the paths of the files that changed. */
export async function writeGeneratedBlocks(root: string, blocks = generators): Promise<readonly string[]> {
  const changed: string[] = [];
  for (const path of await listFiles(root, [".md"])) {
    if (await rewriteFile(join(root, path), blocks)) changed.push(path);
  }
  return changed;
}

/** Codes that docs/errors.md lacks or that exist no more. */
export async function checkErrorsDoc(root: string, registry?: ErrorRegistry): Promise<readonly string[]> {
  const codes: ErrorRegistry = registry ?? (await import("@ectus/core")).errorCodes;
  const fix = "run: node tools/check/errors-doc.ts --write";
  const text = await readFile(join(root, errorsDoc), "utf8").catch(() => undefined);
  if (text === undefined) return [`${errorsDoc} is missing; ${fix}`];
  const listed = listedCodes(text);
  const missing = Object.keys(codes).filter((code) => !listed.has(code));
  const gone = [...listed].filter((code) => !Object.hasOwn(codes, code));
  const faults = [
    ...missing.map((code) => `${errorsDoc}: lacks the code ${code}; ${fix}`),
    ...gone.map((code) => `${errorsDoc}: lists ${code}, which is no code; ${fix}`),
  ];
  if (faults.length === 0 && !text.includes(errorsTable(codes))) {
    return [`${errorsDoc}: status, type, message or order of a code is another in the code; ${fix}`];
  }
  return faults;
}

/** Makes docs/errors.md anew; text around its block stays. */
export async function writeErrorsDoc(root: string, blocks = generators): Promise<void> {
  const path = join(root, errorsDoc);
  await writeFile(path, errorsDocStart, { flag: "wx" }).catch(ignoreExisting);
  await rewriteFile(path, blocks);
}

async function rewriteFile(path: string, blocks: Generators): Promise<boolean> {
  const before = await readFile(path, "utf8");
  const { text } = await rewriteBlocks(before, blocks);
  if (text === before) return false;
  await writeFile(path, text);
  return true;
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}
