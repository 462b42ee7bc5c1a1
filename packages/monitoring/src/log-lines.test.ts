import { createLogging } from "@ectus/core";
import { expect, test } from "vitest";
import { countLogLines } from "./log-lines.ts";
import { createShown } from "./testing/shown.ts";

test("lines are shown by level from zero on, with those that were left out and those that were lost", async () => {
  let takes = true;
  const logging = createLogging({
    levels: { default: "info", modules: {} },
    format: "json",
    destination: { write: () => takes },
  });
  const shown = createShown();
  const end = countLogLines({ counts: logging.counts, instruments: shown.instruments });
  expect(await shown.value('log_lines_total{level="warn"}')).toBe(0);
  const log = logging.module("web-api");
  log.info("one");
  log.debug("not enabled");
  logging.writeLine("info", '{"level":"info","msg":"two"}\n');
  log.warn("three");
  logging.sampledOut();
  takes = false;
  log.error("lost");
  const values = await shown.scrape();
  expect(values.get('log_lines_total{level="info"}')).toBe(2);
  expect(values.get('log_lines_total{level="warn"}')).toBe(1);
  expect(values.get('log_lines_total{level="debug"}')).toBe(0);
  expect(values.get('log_lines_total{level="error"}')).toBe(0);
  expect(values.get("log_lines_sampled_out_total")).toBe(1);
  expect(values.get("log_lines_dropped_total")).toBe(1);
  expect(await shown.value('log_lines_total{level="info"}')).toBe(2);

  end();
  countLogLines({ counts: logging.counts, instruments: shown.instruments });
  expect(await shown.value('log_lines_total{level="info"}')).toBe(2);
});
