// Checks the servers that runbooks ask: the API with the operator's key, Prometheus with this project's alerts,
// Alertmanager with its receivers, Jaeger.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseAlertmanagerConfig, readRuleFile } from "@ectus/alerting";
import { type Environment, errorMessage } from "@ectus/core";
import { ApiFault, networkReason, openApi } from "../api-client.ts";
import { type Check, fail, ok, warn } from "./check.ts";
import { decoded, encodePassword, guide, patienceMs } from "./on-call-guide.ts";

const prometheusFolder = new URL("../../../../k8s/prometheus/", import.meta.url);

export async function checkApi(environment: Environment): Promise<Check[]> {
  const name = "API";
  const server = readServer(environment, name, "ECTUS_URL", "https://ai.example.com");
  if ("status" in server) return [server];
  // Clients of OpenAI's API are given it with /v1, runbooks are not.
  const url = server.url;
  if (url.endsWith("/v1"))
    return [fail(name, `ECTUS_URL ends with /v1, where runbooks add paths of their own`, "Leave /v1 out.")];
  const reached = await ask(server, "/health/ready").then(
    () => ok(name, `${url} is ready`),
    (error: unknown) =>
      error instanceof AnsweredBadly && error.status === 503
        ? warn(
            name,
            `${url}/health/ready answered with status 503`,
            "You reach it, but it is not ready: docs/runbooks/service-down.md.",
          )
        : fail(name, `${url} cannot be used: ${errorMessage(error)}`, `Check ECTUS_URL. ${guide}`),
  );
  if (reached.status === "fail") return [reached];
  return [reached, await checkOperatorKey(environment, url)];
}

async function checkOperatorKey({ ECTUS_OPERATOR_KEY: key = "" }: Environment, url: string): Promise<Check> {
  const name = "operator key";
  if (key === "")
    return fail(name, "ECTUS_OPERATOR_KEY is not set", `Set it to your own operator key. ${guide}`);
  if (!/^[\x21-\x7e]+$/.test(key))
    return fail(
      name,
      "ECTUS_OPERATOR_KEY has a value that is no key",
      "Set it to a key like sk-…, without spaces.",
    );
  try {
    // Of the operator's endpoints the one that needs no database: in many an incident there is none.
    await openApi({ url, key }, patienceMs).json("/admin/log-levels", {
      signal: new AbortController().signal,
    });
    return ok(name, "the API takes it as an operator's");
  } catch (error) {
    const refused = error instanceof ApiFault && (error.status === 401 || error.status === 403);
    return fail(
      name,
      errorMessage(error),
      refused
        ? `Set ECTUS_OPERATOR_KEY to an operator key of this API. ${guide}`
        : "Try again when the API is well.",
    );
  }
}

export async function checkPrometheus(environment: Environment): Promise<Check[]> {
  const name = "Prometheus";
  const server = readServer(environment, name, "PROMETHEUS_URL", "https://prometheus.example.com");
  if ("status" in server) return [server];
  try {
    const [{ groups }, { activeTargets }] = await Promise.all([
      askPrometheus<{ groups: readonly RuleGroup[] }>(server, "/api/v1/rules?type=alert"),
      askPrometheus<{ activeTargets: readonly Target[] }>(server, "/api/v1/targets?state=active"),
    ]);
    const loaded = new Set(groups.flatMap(({ rules }) => rules.map((rule) => rule.name)));
    return [ok(name, `${server.url} answers`), await judgeRules(loaded), judgeTargets(activeTargets)];
  } catch (error) {
    return [unreachable(name, "PROMETHEUS_URL", server, error)];
  }
}

interface RuleGroup {
  readonly rules: readonly { readonly name: string }[];
}

interface Target {
  readonly labels: Readonly<Record<string, string>>;
  readonly health: string;
}

async function askPrometheus<T>(server: Server, path: string): Promise<T> {
  const { status, data } = (await ask(server, path)) as { status?: string; data?: T };
  if (status !== "success" || data === undefined) throw new Error("what answers is no Prometheus");
  return data;
}

async function judgeRules(loaded: ReadonlySet<string>): Promise<Check> {
  const name = "alert rules";
  const files = await Promise.all(
    ["alerts.yaml", "objective-rules.yaml"].map((file) =>
      readRuleFile(fileURLToPath(new URL(file, prometheusFolder))),
    ),
  );
  const alerts = files
    .flatMap(({ groups }) => groups.flatMap(({ rules }) => rules))
    .filter(({ kind }) => kind === "alert")
    .map((rule) => rule.name.value);
  const missing = alerts.filter((alert) => !loaded.has(alert));
  if (missing.length === 0) return ok(name, `all ${alerts.length} of this project are loaded`);
  if (missing.length === alerts.length)
    return fail(
      name,
      "none of this project's is loaded",
      "Check that PROMETHEUS_URL is the one that watches this service.",
    );
  return warn(
    name,
    `not loaded: ${missing.join(", ")}`,
    "Your checkout and what is deployed differ: check out the version that runs, or deploy k8s/prometheus.",
  );
}

function judgeTargets(targets: readonly Target[]): Check {
  const name = "scrape of ectus";
  const own = targets.filter(({ labels }) => labels.job === "ectus");
  if (own.length === 0)
    return fail(
      name,
      "it has no target with the job ectus",
      "Check that PROMETHEUS_URL is the one that watches this service.",
    );
  const up = own.filter(({ health }) => health === "up").length;
  const detail = `${up} of ${own.length} instances are up`;
  return up > 0
    ? ok(name, detail)
    : warn(name, detail, "Your access is well; the service may not be: docs/runbooks/service-down.md.");
}

export async function checkAlertmanager(environment: Environment): Promise<Check[]> {
  const name = "Alertmanager";
  const server = readServer(environment, name, "ALERTMANAGER_URL", "https://alertmanager.example.com");
  if ("status" in server) return [server];
  try {
    const receivers = (await ask(server, "/api/v2/receivers")) as readonly { readonly name: string }[];
    if (!Array.isArray(receivers)) throw new Error("what answers is no Alertmanager");
    return [
      ok(name, `${server.url} answers`),
      await judgeReceivers(receivers.map((receiver) => receiver.name)),
    ];
  } catch (error) {
    return [unreachable(name, "ALERTMANAGER_URL", server, error)];
  }
}

async function judgeReceivers(found: readonly string[]): Promise<Check> {
  const name = "receivers";
  const path = fileURLToPath(new URL("alertmanager/config.yaml", prometheusFolder));
  const { receivers } = parseAlertmanagerConfig(path, await readFile(path, "utf8"));
  const missing = receivers.filter((receiver) => !found.includes(receiver));
  return missing.length === 0
    ? ok(name, `it has ${receivers.join(", ")}`)
    : fail(
        name,
        `it lacks ${missing.join(", ")}`,
        "Check that ALERTMANAGER_URL is the one of this service, and that k8s/prometheus/alertmanager/config.yaml is deployed.",
      );
}

export async function checkJaeger(environment: Environment): Promise<Check[]> {
  const name = "Jaeger";
  const server = readServer(environment, name, "JAEGER_URL", "https://jaeger.example.com");
  if ("status" in server) return [server];
  try {
    const { data } = (await ask(server, "/api/services")) as { data?: readonly string[] | null };
    if (data === undefined) throw new Error("what answers is no Jaeger");
    return [
      data?.includes("ectus")
        ? ok(name, `${server.url} answers and has traces of ectus`)
        : warn(
            name,
            `${server.url} answers and has no trace of ectus`,
            "Check that JAEGER_URL is the one of this service; traces may be dropped, too: docs/runbooks/trace-spans-dropped.md.",
          ),
    ];
  } catch (error) {
    return [unreachable(name, "JAEGER_URL", server, error)];
  }
}

interface Server {
  /** Without a slash at its end, and without credentials. */
  readonly url: string;
  /** Of its URL, as curl and promtool take them. */
  readonly authorization: string | undefined;
}

/** The server that a variable names, or what is wrong with the variable. */
function readServer(
  environment: Environment,
  name: string,
  variable: string,
  example: string,
): Server | Check {
  const text = environment[variable] ?? "";
  if (text === "")
    return fail(name, `${variable} is not set`, `Set it to an address like ${example}. ${guide}`);
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "")
    return fail(
      name,
      `${variable} is no http or https URL without a query`,
      `Set it to an address like ${example}.`,
    );
  const [username, password] = [decoded(url.username), decoded(url.password)];
  if (username === undefined || password === undefined)
    return fail(name, `${variable} has a user or password that is not encoded`, encodePassword);
  const credentials = `${username}:${password}`;
  const authorization =
    credentials === ":" ? undefined : `Basic ${Buffer.from(credentials).toString("base64")}`;
  // Runbooks put paths behind it, and two slashes lead nowhere.
  if (text.endsWith("/"))
    return fail(name, `${variable} ends with a slash, to which runbooks add another`, "Leave it out.");
  return { url: url.origin + url.pathname.replace(/\/$/, ""), authorization };
}

class AnsweredBadly extends Error {
  readonly status: number;

  constructor({ status, headers }: Response) {
    const location = headers.get("location");
    const onward = location === null ? "" : ` and sends on to ${location}, perhaps to log in`;
    super(`it answered with status ${status}${onward}`);
    this.status = status;
  }
}

async function ask({ url, authorization }: Server, path: string): Promise<unknown> {
  const signal = AbortSignal.timeout(patienceMs);
  try {
    const headers = authorization === undefined ? {} : { authorization };
    const response = await fetch(url + path, { signal, redirect: "manual", headers });
    const text = await response.text();
    if (!response.ok) throw new AnsweredBadly(response);
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof AnsweredBadly) throw error;
    if (signal.aborted) throw new Error(`it did not answer within ${patienceMs / 1_000} seconds`);
    if (error instanceof SyntaxError) throw new Error("it answered with something else than JSON");
    throw new Error(networkReason(error), { cause: error });
  }
}

function unreachable(name: string, variable: string, { url }: Server, error: unknown): Check {
  return fail(
    name,
    `${url} cannot be used: ${errorMessage(error)}`,
    `Check ${variable}, and that you are in the network from which it is reached. ${guide}`,
  );
}
