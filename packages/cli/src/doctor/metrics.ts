// Checks of the metrics exporter: its files can be used, and its port is free or an exporter answers there.
import { once } from "node:events";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { text } from "node:stream/consumers";
import { type Config, errorMessage } from "@ectus/core";
import { checkExporterFiles, healthyText } from "@ectus/monitoring";
import { clientUrl } from "../client-url.ts";
import { tryPort } from "../try-port.ts";
import { type Check, fail, ok, warn } from "./check.ts";

const healthTimeoutMs = 3_000;

export async function checkMetrics(config: Config): Promise<Check[]> {
  if (!config.METRICS_ENABLED) return [ok("metrics port", "METRICS_ENABLED is false; none is used")];
  return [...checkFiles(config), await checkMetricsPort(config)];
}

function checkFiles(config: Config): Check[] {
  const name = "metrics files";
  try {
    const count = checkExporterFiles(config);
    return count === 0 ? [] : [ok(name, `${count} can be used`)];
  } catch (error) {
    return [fail(name, errorMessage(error), "Correct the files; an instance does not start with these.")];
  }
}

async function checkMetricsPort(config: Config): Promise<Check> {
  const name = "metrics port";
  const { METRICS_PORT: port, METRICS_HOST: host = config.HOST } = config;
  if (port === 0) return ok(name, "a free one is taken at start");
  const error = await tryPort(host, port);
  if (error === undefined) return ok(name, `${port} is free`);
  // An instance works without, so none of these is a failure.
  const choose =
    "Choose another with METRICS_PORT, or stop the program that has it; until then nothing can be scraped.";
  if (error.code !== "EADDRINUSE")
    return warn(
      name,
      `cannot listen at ${host}:${port} (${errorMessage(error)})`,
      `${choose} Check METRICS_HOST and HOST as well.`,
    );
  const scheme = config.METRICS_TLS_CERT_FILE === undefined ? "http" : "https";
  const url = clientUrl(host, `${scheme}://127.0.0.1:${port}`);
  return (await isExporter(`${url}/-/healthy`))
    ? ok(name, `an instance serves metrics at ${url}/metrics`)
    : warn(name, `${port} is used by another program`, choose);
}

/** Whether what answers there is an exporter; Prometheus, which likes the same port, answers with another text. */
async function isExporter(url: string): Promise<boolean> {
  const signal = AbortSignal.timeout(healthTimeoutMs);
  // The certificate is for the name that Prometheus uses, not for this one.
  const request = url.startsWith("https:")
    ? requestHttps(url, { signal, agent: false, rejectUnauthorized: false })
    : requestHttp(url, { signal, agent: false });
  try {
    const answered = once(request, "response");
    request.end();
    const [response] = await answered;
    return (await text(response)) === healthyText;
  } catch {
    return false;
  } finally {
    request.destroy();
  }
}
