// Checks the metrics exporter's port beside a real exporter, and beside other programs.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createLogging, loadConfig } from "@ectus/core";
import { createInstruments, Registry, startExporter } from "@ectus/monitoring";
import { afterEach, expect, test } from "vitest";
import { newCertificate } from "../../../../tests/monitoring/certificate.ts";
import { checkMetrics } from "./metrics.ts";

const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("metrics");
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

const check = (environment: Record<string, string>) =>
  checkMetrics(loadConfig({ HOST: "127.0.0.1", ...environment }));

async function exporter(files: Record<string, string>): Promise<Record<string, string>> {
  const registry = new Registry();
  const started = await startExporter({
    registry,
    instruments: createInstruments(registry),
    host: "127.0.0.1",
    port: 0,
    files,
    log,
  });
  closing.push(() => started.close());
  return { ...files, METRICS_PORT: new URL(started.url ?? "").port };
}

async function otherProgram(): Promise<string> {
  const server: Server = createServer((_request, response) =>
    response.end("Prometheus Server is Healthy.\n"),
  );
  closing.push(() => server.close());
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return String((server.address() as AddressInfo).port);
}

test("without metrics there is no port to check", async () => {
  expect(await check({ METRICS_ENABLED: "false", METRICS_BEARER_TOKEN_FILE: "/nowhere" })).toEqual([
    expect.objectContaining({ name: "metrics port", status: "ok" }),
  ]);
});

test("port 0 and an exporter that answers are well", async () => {
  expect(await check({ METRICS_PORT: "0" })).toMatchObject([{ status: "ok" }]);
  const environment = await exporter({});
  expect(await check(environment)).toMatchObject([
    {
      status: "ok",
      detail: `an instance serves metrics at http://127.0.0.1:${environment.METRICS_PORT}/metrics`,
    },
  ]);
});

test("an exporter with TLS and credentials is known too", async () => {
  const { certFile, keyFile } = await newCertificate("localhost");
  const files = { METRICS_TLS_CERT_FILE: certFile, METRICS_TLS_KEY_FILE: keyFile };
  expect(await check(await exporter(files))).toMatchObject([
    { name: "metrics files", status: "ok", detail: "2 can be used" },
    { status: "ok", detail: expect.stringContaining("serves metrics at https://") },
  ]);
});

test("another program's port is a warning, since an instance works without metrics", async () => {
  const port = await otherProgram();
  expect(await check({ METRICS_PORT: port })).toMatchObject([
    {
      status: "warn",
      detail: `${port} is used by another program`,
      fix: expect.stringContaining("METRICS_PORT"),
    },
  ]);
});

test("an address that is not this machine's is a warning", async () => {
  expect(await check({ METRICS_HOST: "192.0.2.1" })).toMatchObject([
    { status: "warn", detail: expect.stringContaining("cannot listen at 192.0.2.1:9090") },
  ]);
});
