import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Mistake, mistakesIn } from "../testing/planted-project.ts";
import { readChainFiles } from "./chain-files.ts";

const original = await readChainFiles(join(import.meta.dirname, "..", "..", "..", ".."));
const faultsOf = mistakesIn(original);

const alerts = "k8s/prometheus/alerts.yaml";
const runbook = "docs/runbooks/high-error-rate.md";

const mistakes: readonly Mistake[] = [
  {
    what: "an alert without a runbook",
    plant: ({ remove }) => remove(runbook),
    says: [`${alerts}:`, `HighErrorRate has no runbook. Add ${runbook} with the sections What it means,`],
  },
  {
    what: "a runbook without a section",
    plant: ({ edit }) => edit(runbook, "## Rollback\n", "## Roll back\n"),
    says: [`${runbook}:1: The runbook lacks "## Rollback". Add it.`],
  },
  {
    what: "a query that cannot be parsed",
    plant: ({ edit }) => edit(runbook, "## Rollback\n", "## Rollback\n\n```promql run\nsum(up\n```\n"),
    says: [`${runbook}:`, "This is no PromQL: the expression ends too early."],
  },
  {
    what: "a runbook without a query for while its alert fires",
    plant: ({ edit }) => edit(runbook, /promql run firing/g, "promql run"),
    says: [`${runbook}:1: No query here answers while HighErrorRate fires. Mark the one that does`],
  },
  {
    what: "a runbook without an alert",
    plant: ({ write }) =>
      write(
        "docs/runbooks/planted.md",
        [
          "What it means",
          "Impact",
          "First five minutes",
          "Diagnosis",
          "Mitigation",
          "Rollback",
          "Escalation",
          "Afterwards",
          "Why this threshold",
        ]
          .map((section) => `## ${section}\n\nText.\n\n`)
          .join(""),
      ),
    says: ['docs/runbooks/planted.md:1: No alert leads to this runbook: none is called "planted"'],
  },
  {
    what: "a block that no test runs",
    plant: ({ edit }) =>
      edit(runbook, "## Rollback\n", "## Rollback\n\n1. Look:\n\n   ```bash\n   ls\n   ```\n"),
    says: [`${runbook}:`, 'This block is marked "bash", so no test runs it. Mark it "sh run"'],
  },
  {
    what: "a query for a label that is not there, in a list",
    plant: ({ edit }) =>
      edit(
        runbook,
        "## Rollback\n",
        '## Rollback\n\n1. Look:\n\n   ```promql run\n   up\n   and up{jop="ectus"}\n   ```\n',
      ),
    says: [`${runbook}:`, ":11: up has no label jop. It has job, instance, node"],
  },

  {
    what: "a query that a shell block asks promtool",
    plant: ({ edit }) =>
      edit(
        runbook,
        "## Rollback\n",
        "## Rollback\n\n1. Look:\n\n   ```sh run\n   promtool query range --step=1m \"$PROMETHEUS_URL\" \\\n     'upp == 0' | head\n   ```\n",
      ),
    says: [`${runbook}:`, ":7: Nothing exposes upp. Is up meant?"],
  },
  {
    what: "a block that says nothing of what it is",
    plant: ({ edit }) => edit(runbook, "## Rollback\n", "## Rollback\n\n```\nls\n```\n"),
    says: [`${runbook}:`, 'This block is not marked, so no test runs it. Mark it "promql run" or'],
  },
  {
    what: "sections in another order",
    plant: ({ edit }) => edit(runbook, /(## Rollback\n[\s\S]*?)(## Escalation\n[\s\S]*?)(?=## )/, "$2$1"),
    says: [
      `${runbook}:1: The sections are not in their order, each once, in which all runbooks are read: What`,
    ],
  },
  {
    what: "a section without a word",
    plant: ({ edit }) => edit(runbook, /## Escalation\n[\s\S]*?(?=## )/, "## Escalation\n\n"),
    says: [`${runbook}:1: Nothing is below "## Escalation".`],
  },
  {
    what: "the last section without a word",
    plant: ({ edit }) => edit(runbook, /## Why this threshold\n[\s\S]*/, "## Why this threshold\n"),
    says: [`${runbook}:1: Nothing is below "## Why this threshold".`],
  },
  {
    what: "a list of runbooks that lacks one",
    plant: ({ edit }) => edit("docs/runbooks/README.md", /\| \[HighErrorRate\].*\n/, ""),
    says: [
      'docs/runbooks/README.md:1: The list of runbooks lacks HighErrorRate. Add the row "| [HighErrorRate](high-error-rate.md) | page | … |".',
    ],
  },
  {
    what: "a list of runbooks with another severity",
    plant: ({ edit }) =>
      edit("docs/runbooks/README.md", "(high-error-rate.md) | page |", "(high-error-rate.md) | ticket |"),
    says: ["The list of runbooks lacks HighErrorRate."],
  },
];

describe("the check names exactly", () => {
  test.each(mistakes)("$what", (mistake) => {
    const planted = faultsOf(mistake);
    expect(planted).toHaveLength(1);
    for (const part of mistake.says) expect(planted[0]).toContain(part);
  });
});
