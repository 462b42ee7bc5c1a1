// What the metrics exporter answers to a request: who may ask, which pages there are, and how many scrapes at once.
import type { IncomingMessage, ServerResponse } from "node:http";
import { contentTypeOf, negotiate, type Registry } from "@ectus/metrics";
import { challenges, mayPass, type ScrapeCredentials } from "./exporter-credentials.ts";
import type { FaultLog } from "./fault-log.ts";
import type { HistogramHandle } from "./instruments.ts";
import { answerScrape, scrapeHeaders, wantsGzip } from "./scrape-answer.ts";

export interface ExporterRequestOptions {
  readonly registry: Registry;
  readonly credentials: ScrapeCredentials;
  readonly maxScrapes: number;
  readonly scrapeSeconds: HistogramHandle;
  readonly faults: FaultLog;
}

/** What `/-/healthy` answers; `ectus doctor` knows an exporter by it. */
export const healthyText = "The metrics exporter of Ectus-R is healthy.\n";

const startPage = `<!doctype html>
<html lang="en">
<title>Ectus-R metrics</title>
<h1>Ectus-R metrics</h1>
<p><a href="/metrics">/metrics</a> for Prometheus: text, OpenMetrics or protobuf, as it asks for.</p>
<p><a href="/-/healthy">/-/healthy</a> says whether this exporter runs.</p>
</html>
`;

export function createExporterRequests(
  options: ExporterRequestOptions,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const { registry, credentials, maxScrapes, scrapeSeconds, faults } = options;
  const demands = challenges(credentials);
  let scrapes = 0;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = pathOf(request.url);
    const reads = request.method === "GET" || request.method === "HEAD";
    if (path === "/-/healthy" && reads) return send(response, 200, healthyText);
    if (!mayPass(credentials, request.headers.authorization)) {
      return send(response, 401, `Credentials are missing or wrong.\n`, { "www-authenticate": [...demands] });
    }
    if (path !== "/" && path !== "/metrics" && path !== "/-/healthy") {
      return send(response, 404, `There is nothing at ${path}. Metrics are at /metrics.\n`);
    }
    if (!reads) {
      return send(response, 405, `${request.method} is not allowed here. Use GET or HEAD.\n`, {
        allow: "GET, HEAD",
        // What it sends on top is not read.
        connection: "close",
      });
    }
    if (path === "/") return send(response, 200, startPage, { "content-type": "text/html; charset=utf-8" });
    if (request.method === "HEAD") {
      const type = contentTypeOf(negotiate(request.headers.accept));
      response.writeHead(200, scrapeHeaders(type, wantsGzip(request.headers["accept-encoding"]))).end();
      return;
    }
    if (scrapes >= maxScrapes) {
      return send(response, 503, `${maxScrapes} scrapes are under way, the most at once. Try again.\n`, {
        "retry-after": "1",
      });
    }
    scrapes += 1;
    try {
      await answerMetrics(request, response);
    } finally {
      scrapes -= 1;
    }
  }

  async function answerMetrics(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = performance.now();
    const left = new Set<string>();
    const result = await answerScrape(request, response, {
      registry,
      onCollectError(metric, error) {
        left.add(metric);
        faults.failed(collectFault(metric), { metric, err: error }, "a metric is left out of scrapes");
      },
    });
    if (result.outcome === "failed") {
      const { status, text, error } = result;
      faults.failed("scrape", { err: error }, "a scrape failed");
      if (!response.headersSent) send(response, status, `${text}\n`);
    }
    scrapeSeconds.observe((performance.now() - startedMs) / 1000);
    if (result.outcome !== "done") return;
    faults.mended("scrape", {}, "scrapes succeed again");
    for (const fault of faults.open) {
      const metric = metricOf(fault);
      if (metric === undefined || left.has(metric)) continue;
      faults.mended(fault, { metric }, "a metric is in scrapes again");
    }
  }

  return async (request, response) => {
    try {
      await answer(request, response);
      faults.mended("request", {}, "requests to the metrics exporter are answered again");
    } catch (error) {
      faults.failed("request", { err: error }, "a request to the metrics exporter failed");
      if (response.headersSent) response.destroy();
      else send(response, 500, "Something failed here that should not have.\n");
    }
  };
}

const collectPrefix = "collect ";
const collectFault = (metric: string): string => collectPrefix + metric;
const metricOf = (fault: string): string | undefined =>
  fault.startsWith(collectPrefix) ? fault.slice(collectPrefix.length) : undefined;

const pathOf = (url = "/"): string => url.replace(/[?#].*$/s, "");

function send(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string | string[]>> = {},
): void {
  response
    .writeHead(status, {
      "content-type": "text/plain; charset=utf-8",
      "content-length": Buffer.byteLength(text),
      ...headers,
    })
    .end(text);
}
