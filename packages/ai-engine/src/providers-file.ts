// Reads AI_PROVIDERS: a YAML file of providers, models, prices and routes. It is checked as a whole: each fault is
// reported with its line, what the file says there and what is accepted. Secrets are in no message.
import { readFile } from "node:fs/promises";
import { EctusError, errorMessage } from "@ectus/core";
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from "yaml";
import type { Fault, Path } from "./file-faults.ts";
import { asMapping, fileFaults } from "./providers-checks.ts";
import type { ModelConfig, ProviderConfig, ProvidersConfig } from "./providers-config.ts";
import type { LlamaCppEntry, ModelEntry, OpenAiEntry } from "./providers-schema.ts";
import type { ModelPrice } from "./usage.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads and checks the file at `path`; `${NAME}` in its texts is replaced from `environment`.
 *
 * @throws EctusError `invalid_config` that lists every fault
 */
export async function readProvidersFile(path: string, environment: Environment): Promise<ProvidersConfig> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw invalid([
      `AI_PROVIDERS: got ${JSON.stringify(path)}, which cannot be read (${errorMessage(error)})`,
    ]);
  }
  return parseProviders(text, environment, path);
}

/** The same for the text of a file; `name` is the file's name in faults. */
export function parseProviders(text: string, environment: Environment, name: string): ProvidersConfig {
  const lines = new LineCounter();
  const document = parseDocument(maskVariables(text), {
    lineCounter: lines,
    // The errors' own messages are not used: they may quote the line, which may hold a key.
    prettyErrors: false,
    stringKeys: true,
    logLevel: "silent",
  });
  if (document.errors.length > 0) {
    throw invalid(
      document.errors.map(({ code, pos }) => {
        const { line, col } = lines.linePos(pos[0]);
        return `${name}:${line}: is not valid YAML at column ${col} (${code.toLowerCase().replaceAll("_", " ")})`;
      }),
    );
  }
  let raw: unknown;
  try {
    raw = document.toJS();
  } catch (error) {
    throw invalid([`${name}: is not valid YAML (${errorMessage(error)})`]);
  }
  const missing: Fault[] = [];
  const value = expand(raw, environment, [], missing);
  const faults = [...missing, ...fileFaults(value, missing)];
  if (faults.length > 0) {
    const lineOf = (path: Path): number => lineAt(document, lines, path);
    const sorted = faults
      .map((fault) => ({ fault, line: lineOf(fault.path) }))
      .sort((a, b) => a.line - b.line);
    throw invalid(sorted.map(({ fault, line }) => `${name}:${line}: ${describe(fault, raw)}`));
  }
  return normalize(value as CheckedFile);
}

interface CheckedFile {
  readonly providers: Readonly<Record<string, OpenAiEntry | LlamaCppEntry>>;
  readonly models: Readonly<Record<string, ModelEntry>>;
}

function invalid(faults: readonly string[]): EctusError {
  return new EctusError("invalid_config", { faults: faults.map((fault) => `  ${fault}`).join("\n") });
}

// YAML takes the braces of ${NAME} for a flow mapping. Two characters of the private use area in their place keep the
// text's length, so that lines and columns stay true.
const open = "\ue000";
const close = "\ue001";
const maskedVariable = /\$\ue000([A-Za-z_][A-Za-z0-9_]*)\ue001/g;

function maskVariables(text: string): string {
  return text.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, `$$${open}$1${close}`);
}

function unmask(text: string): string {
  return text.replaceAll(open, "{").replaceAll(close, "}");
}

function expand(value: unknown, environment: Environment, path: Path, faults: Fault[]): unknown {
  if (typeof value === "string") {
    return value.replace(maskedVariable, (_all, name: string) => {
      const found = environment[name];
      if (found !== undefined && found !== "") return found;
      faults.push({
        path,
        problem: `names the environment variable ${name}, which is not set`,
        accepts: "variables that are set",
      });
      return "";
    });
  }
  if (Array.isArray(value))
    return value.map((item, index) => expand(item, environment, [...path, index], faults));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, expand(item, environment, [...path, key], faults)]),
    );
  }
  return value;
}

/** The line of the key or list item at `path`, or of the nearest one around it. */
function lineAt(document: Document, lines: LineCounter, path: Path): number {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = document.getIn(path.slice(0, length - 1), true);
    const last = path[length - 1];
    const pair = isMap(parent)
      ? parent.items.find(({ key }) => isScalar(key) && key.value === last)
      : undefined;
    const node = pair?.key ?? document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

function describe({ path, problem, accepts }: Fault, raw: unknown): string {
  const place = path.length === 0 ? "the file" : unmask(path.join("."));
  return `${place}: ${problem ?? `got ${got(path, raw)}`}, accepts ${accepts}`;
}

function got(path: Path, raw: unknown): string {
  let value = raw;
  for (const key of path) value = (value as Record<string | number, unknown> | undefined)?.[key];
  const isSecret =
    path.includes("apiKey") ||
    path.includes("headers") ||
    (path.includes("baseUrl") && String(value).includes("@"));
  if (isSecret) return "a value that is not shown because it is secret";
  if (asMapping(value) !== undefined) return "a mapping";
  if (Array.isArray(value) && value.length > 0) return `a list of ${value.length}`;
  const text = unmask(JSON.stringify(value) ?? "nothing");
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

function normalize({ providers, models }: CheckedFile): ProvidersConfig {
  return {
    providers: new Map(Object.entries(providers).map(([name, entry]) => [name, providerOf(entry)])),
    models: new Map(Object.entries(models).map(([name, entry]) => [name, modelOf(entry)])),
  };
}

function providerOf(entry: OpenAiEntry | LlamaCppEntry): ProviderConfig {
  if (entry.type === "openai") {
    return {
      type: "openai",
      baseUrl: entry.baseUrl,
      apiKey: entry.apiKey,
      headers: entry.headers ?? {},
      timeoutMs: entry.timeoutMs ?? 60_000,
      streamIdleTimeoutMs: entry.streamIdleTimeoutMs ?? 60_000,
      maxConcurrent: entry.maxConcurrent ?? 256,
      queue: entry.queue ?? 512,
      retries: entry.retries ?? 2,
    };
  }
  return {
    type: "llama.cpp",
    models: entry.models,
    sequences: entry.sequences ?? 4,
    queue: entry.queue ?? 64,
    contextTokens: entry.contextTokens ?? 2048,
    preload: entry.preload ?? true,
  };
}

function modelOf(entry: ModelEntry): ModelConfig {
  return {
    operations: entry.operations,
    contextTokens: entry.contextTokens,
    maxOutputTokens: entry.maxOutputTokens,
    price: entry.price === undefined ? undefined : priceOf(entry.price),
    ownedBy: entry.ownedBy,
    routes: entry.routes,
  };
}

function priceOf(price: NonNullable<ModelEntry["price"]>): ModelPrice {
  return { ...price, outputPerMillionUsd: price.outputPerMillionUsd ?? 0 };
}
