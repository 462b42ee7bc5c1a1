// Runs every block that documents for people on call mark so, in their order, against a live stack of the real programs.
// A command that fails at three in the morning fails here first.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findStackPeers, type LiveStack, startLiveStack } from "./live-stack.ts";
import { type KnownSeries, promqlFaults, readKnownSeries } from "./promql-faults.ts";
import { openShell, runShellBlock, runSqlBlock, type Shell } from "./run-block.ts";
import { type RunnableBlock, readRunnableBlocks } from "./runbook-blocks.ts";

const peers = await findStackPeers();
const blocks = await readRunnableBlocks(["runbooks", "operations"]);
const documents = Map.groupBy(blocks, ({ file }) => file);

describe.skipIf(peers === undefined)("documents for people on call", () => {
  let stack: LiveStack;
  let series: KnownSeries;

  beforeAll(async () => {
    if (peers === undefined) return;
    stack = await startLiveStack(peers);
    const rules = await stack.prometheus.rules();
    const recorded = rules.filter(({ type }) => type === "recording").map(({ name }) => name);
    series = await readKnownSeries(stack.prometheus.url, new Set(recorded));
  }, 240_000);
  afterAll(() => stack?.stop(), 120_000);

  async function run(block: RunnableBlock, shell: Shell): Promise<void> {
    switch (block.language) {
      case "promql": {
        const faults = await promqlFaults(block.code, stack.prometheus.url, series);
        if (faults.length > 0) throw new Error(faults.join("\n"));
        break;
      }
      case "sql":
        await runSqlBlock(block, shell);
        break;
      case "sh":
        await runShellBlock(block, shell, block.code.includes("$POD") ? await stack.pod() : "");
        break;
    }
  }

  describe("a block that cannot be relied on fails", () => {
    let shell: Shell;
    beforeAll(async () => {
      shell = await openShell(stack.folder, stack.environment);
    }, 120_000);

    const block = (
      language: RunnableBlock["language"],
      code: string,
      section = "Diagnosis",
    ): RunnableBlock => ({
      file: "test.md",
      line: 1,
      language,
      marks: [],
      section,
      code,
    });

    test.each([
      ["a metric that nobody has", "sum(rate(http_requets_total[5m]))", "http_requets_total has no series"],
      ["a label that a metric lacks", 'http_requests_total{route="/v1/models"}', "has no label route"],
      ["a label of a metric of another program", 'node_load1{cpu="0"}', "has no label cpu"],
      ["an expression that ends too early", "sum(", "the expression ends too early"],
      ["labels that match several times", 'up * on () up{job="ectus"}', "Prometheus says: "],
    ])("%s", async (_, code, fault) => {
      await expect(run(block("promql", code), shell)).rejects.toThrow(fault);
    });

    test.each([
      ["a column that is not there", "select nothing from usage", "Diagnosis", "does not exist"],
      ["a change outside of Mitigation", "delete from usage", "Diagnosis", "read-only transaction"],
      ["the second of two statements", "select 1; select 1 / 0", "Mitigation", "division by zero"],
    ])("%s", async (_, code, section, fault) => {
      await expect(run(block("sql", code, section), shell)).rejects.toThrow(fault);
    });

    test.each([
      ["a command that is not there", "no-such-command", "command not found"],
      ["a program that not everybody has", "echo '{}' | jq .", "not everybody on call has jq"],
      ["the first of a pipe", "false | cat", "it ended with 1"],
      ["a variable that nobody set", 'echo "$NOBODY"', "unbound variable"],
      [
        "a wrong key",
        'ECTUS_OPERATOR_KEY=x; curl -fsS "$ECTUS_URL/admin/tenants" -H "Authorization: Bearer $ECTUS_OPERATOR_KEY"',
        "401",
      ],
      ["an option that ectus lacks", "ectus tenant list --nothing", "unknown option"],
      ["a Deployment that is not there", "kubectl rollout history deployment/nothing", "NotFound"],
    ])("%s", async (_, code, fault) => {
      await expect(run(block("sh", code), shell)).rejects.toThrow(fault);
    });

    test("what a block exports, the next one finds", async () => {
      await run(block("sh", "FOUND=it"), shell);
      await run(block("sh", '[ "$FOUND" = it ]'), shell);
    });
  });

  describe.each([...documents])("%s", (document, itsBlocks) => {
    let shell: Shell;
    beforeAll(async () => {
      const commands = itsBlocks.filter(({ language }) => language === "sh").map(({ code }) => code);
      const environment = await stack.environmentFor(document, commands.join("\n"));
      shell = await openShell(stack.folder, environment);
    }, 120_000);

    test.each(itsBlocks)("$file:$line $language", (block) => run(block, shell), 90_000);
  });
});
