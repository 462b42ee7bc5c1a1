// Checks a parsed providers file: each entry against its schema, and what schemas cannot say, such as that a route's
// provider exists.
import { type Fault, findFaults, type Path } from "./file-faults.ts";
import {
  llamaCppSchema,
  type ModelEntry,
  modelSchema,
  type OpenAiEntry,
  openAiSchema,
} from "./providers-schema.ts";

/** All faults but those of the variables in `missing`, of whose values nothing is known. */
export function fileFaults(value: unknown, missing: readonly Fault[]): Fault[] {
  const faults: Fault[] = [];
  const root = asMapping(value);
  if (root === undefined) return [{ path: [], accepts: "a mapping with providers and models" }];
  for (const key of Object.keys(root)) {
    if (key !== "providers" && key !== "models")
      faults.push({ path: [key], problem: "is not known here", accepts: "providers, models" });
  }
  const providers = section(root, "providers", "names to providers", faults);
  const models = section(root, "models", "names to models", faults);
  for (const [name, provider] of Object.entries(providers))
    faults.push(...nameFaults(["providers", name]), ...providerFaults(name, provider));
  for (const [name, model] of Object.entries(models))
    faults.push(...nameFaults(["models", name]), ...modelFaults(name, model, providers));
  // Where a variable is missing, what it would have made of the value is not known.
  const unknown = new Set(missing.map(({ path }) => path.join("\0")));
  return faults.filter(({ path }) => !unknown.has(path.join("\0")));
}

function section(
  root: Record<string, unknown>,
  name: string,
  of: string,
  faults: Fault[],
): Record<string, unknown> {
  const value = asMapping(root[name]);
  if (value !== undefined && Object.keys(value).length > 0) return value;
  const problem = name in root ? {} : { problem: "is missing" };
  faults.push({ path: [name], ...problem, accepts: `a mapping of ${of}, with at least one` });
  return {};
}

// Names become labels of metrics and parts of URLs.
function nameFaults(path: readonly [string, string]): Fault[] {
  return /^[\w][\w./:@+-]{0,127}$/.test(path[1])
    ? []
    : [
        {
          path,
          problem: "has a name that is not usable",
          accepts: "1 to 128 letters, digits and any of _ . / : @ + -",
        },
      ];
}

function providerFaults(name: string, provider: unknown): Fault[] {
  const path = ["providers", name];
  const type = asMapping(provider)?.type;
  if (type === "openai") {
    const { headers } = provider as OpenAiEntry;
    const headerFaults = Object.keys(asMapping(headers) ?? {})
      .filter((header) => !isHeaderName(header))
      .map((header) => ({
        path: [...path, "headers", header],
        problem: "is no header that can be set",
        accepts: "names of HTTP headers, except those of the connection and the body",
      }));
    return [...findFaults(openAiSchema, provider, path), ...headerFaults];
  }
  if (type === "llama.cpp") return findFaults(llamaCppSchema, provider, path);
  return [
    asMapping(provider) === undefined
      ? { path, accepts: "a mapping with type and more" }
      : {
          path: [...path, "type"],
          ...(type === undefined ? { problem: "is missing" } : {}),
          accepts: "openai or llama.cpp",
        },
  ];
}

const reservedHeaders = new Set([
  "connection",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

function isHeaderName(name: string): boolean {
  return /^[!#$%&'*+\-.^_`|~\w]+$/.test(name) && !reservedHeaders.has(name.toLowerCase());
}

function modelFaults(name: string, model: unknown, providers: Record<string, unknown>): Fault[] {
  const path = ["models", name];
  const faults = findFaults(modelSchema, model, path);
  const { routes, contextTokens, maxOutputTokens, price, operations } = (asMapping(model) ??
    {}) as Partial<ModelEntry>;
  if (Array.isArray(routes)) {
    for (const [index, route] of routes.entries())
      faults.push(...routeFaults([...path, "routes", index], route, providers));
  }
  if (
    typeof contextTokens === "number" &&
    typeof maxOutputTokens === "number" &&
    maxOutputTokens > contextTokens
  )
    faults.push({
      path: [...path, "maxOutputTokens"],
      accepts: `no more than contextTokens, which is ${contextTokens}`,
    });
  if (
    asMapping(price) !== undefined &&
    price?.outputPerMillionUsd === undefined &&
    Array.isArray(operations) &&
    operations.includes("chat")
  )
    faults.push({
      path: [...path, "price", "outputPerMillionUsd"],
      problem: "is missing",
      accepts: "US dollars per million output tokens, which a model for chat has",
    });
  return faults;
}

function routeFaults(path: Path, route: unknown, providers: Record<string, unknown>): Fault[] {
  const { provider, model } = (asMapping(route) ?? {}) as { provider?: unknown; model?: unknown };
  if (typeof provider !== "string" || typeof model !== "string") return [];
  if (!Object.hasOwn(providers, provider))
    return [
      {
        path: [...path, "provider"],
        accepts: `a provider of this file: ${Object.keys(providers).join(", ")}`,
      },
    ];
  const entry = asMapping(providers[provider]);
  const files = entry?.type === "llama.cpp" ? asMapping(entry.models) : undefined;
  return files === undefined || Object.hasOwn(files, model)
    ? []
    : [{ path: [...path, "model"], accepts: `a model of '${provider}': ${Object.keys(files).join(", ")}` }];
}

export function asMapping(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
