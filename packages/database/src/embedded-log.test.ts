import { PassThrough } from "node:stream";
import { createLogging } from "@ectus/core";
import { expect, test } from "vitest";
import { readServerLog } from "./embedded-log.ts";

async function read(...chunks: (string | Buffer)[]) {
  const logged: { level: string; msg: string }[] = [];
  const destination = { write: (line: string) => void logged.push(JSON.parse(line)) };
  const log = createLogging({
    levels: { default: "debug", modules: {} },
    format: "json",
    destination,
  }).module("x");
  const stream = new PassThrough();
  const output = readServerLog(stream, log);
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  await new Promise((resolve) => stream.once("close", resolve));
  return { output, logged: logged.map(({ level, msg }) => `${level} ${msg}`) };
}

test("lines are put together again from pieces, also within a character", async () => {
  const bytes = Buffer.from("LOG:  Zürich\nLOG:  two\nlast");
  const cut = bytes.indexOf(0xc3) + 1;
  const { logged } = await read(bytes.subarray(0, cut), bytes.subarray(cut));
  expect(logged).toEqual(["debug LOG:  Zürich", "debug LOG:  two", "debug last"]);
});

test("levels say what an operator has to look at", async () => {
  const { logged } = await read("LOG:  a\nWARNING:  b\nERROR:  c\nFATAL:  d\nPANIC:  e\n");
  expect(logged).toEqual([
    "debug LOG:  a",
    "warn WARNING:  b",
    "warn ERROR:  c",
    "warn FATAL:  d",
    "error PANIC:  e",
  ]);
});

test("readiness is told by postgres' own line", async () => {
  const { output } = await read("LOG:  database system is ready to accept connections\n");
  await expect(output.ready).resolves.toBeUndefined();
});

test("a line without an end and many lines take bounded memory", async () => {
  const endless = Array.from({ length: 50 }, () => "x".repeat(10_000));
  const { output, logged } = await read(...endless, "\n", "line\n".repeat(100));
  expect(logged[0]?.length).toBeLessThan(5_000);
  expect(output.recent()).toHaveLength(20);
});

test("a broken pipe does not end the process", async () => {
  const stream = new PassThrough();
  const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("x");
  const output = readServerLog(stream, log);
  stream.destroy(new Error("EPIPE"));
  await new Promise((resolve) => stream.once("close", resolve));
  expect(output.recent()).toEqual([]);
});
