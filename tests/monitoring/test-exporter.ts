// An exporter with a registry of its own for a test, and requests to it over real connections.
import { once } from "node:events";
import { type IncomingHttpHeaders, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { PeerCertificate, TLSSocket } from "node:tls";
import { createLogging } from "@ectus/core";
import {
  createInstruments,
  type Exporter,
  type ExporterOptions,
  Registry,
  startExporter,
} from "@ectus/monitoring";
import { onTestFinished } from "vitest";

export interface TestExporter {
  readonly exporter: Exporter;
  readonly registry: Registry;
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  readonly ask: (path: string, options?: AskOptions) => Promise<Answer>;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Trusted; the name is that of `newCertificate("localhost")`. */
  readonly ca?: string;
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
  readonly certificate: PeerCertificate | undefined;
}

/** Closed when the test that asked for it is over. */
export async function startTestExporter(
  options: Partial<Omit<ExporterOptions, "log" | "instruments">> = {},
): Promise<TestExporter> {
  const lines: Record<string, unknown>[] = [];
  const log = createLogging({
    levels: { default: "debug", modules: {} },
    format: "json",
    destination: { write: (line: string) => void lines.push(JSON.parse(line)) },
  }).module("metrics");
  const { registry = new Registry() } = options;
  const instruments = createInstruments(registry);
  const exporter = await startExporter({
    host: "127.0.0.1",
    port: 0,
    ...options,
    registry,
    instruments,
    log,
  });
  onTestFinished(() => exporter.close(0));
  return { exporter, registry, lines, ask: (path, how) => ask(`${exporter.url}${path}`, how) };
}

/** One request on a connection of its own. */
export async function ask(url: string, options: AskOptions = {}): Promise<Answer> {
  const { method = "GET", headers = {}, ca, signal } = options;
  const send = url.startsWith("https:") ? requestHttps : requestHttp;
  const request = send(url, {
    method,
    headers,
    agent: false,
    ...(signal === undefined ? {} : { signal }),
    ...(ca === undefined ? {} : { ca, servername: "localhost" }),
  });
  const answered = once(request, "response") as Promise<[IncomingMessage]>;
  request.end();
  const [response] = await answered;
  const certificate = (response.socket as Partial<TLSSocket>).getPeerCertificate?.();
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  return {
    status: response.statusCode,
    headers: response.headers,
    body,
    text: body.toString(),
    certificate,
  };
}
