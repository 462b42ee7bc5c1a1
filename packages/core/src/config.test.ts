import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { describeConfig, loadConfig, variables } from "./config.ts";
import { EctusError } from "./errors.ts";

const secret = "s".repeat(32);

function faultsOf(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    if (error instanceof EctusError && error.code === "invalid_config") return String(error.details.faults);
    throw error;
  }
  throw new Error("nothing was thrown");
}

async function writeConfigFile(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-config-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "ectus.env");
  await writeFile(file, text);
  return file;
}

test("an empty environment gives the defaults", () => {
  expect(loadConfig({})).toEqual({
    DATABASE_POOL_SIZE: 10,
    DATA_DIR: ".ectus",
    HOST: "0.0.0.0",
    PORT: 8080,
    TRUSTED_PROXIES: [],
    EXPORTS_ENABLED: true,
    EXPORT_CONCURRENCY: 2,
    EXPORT_BYTES_PER_SECOND: 20_000_000,
    EXPORT_TTL_HOURS: 168,
    METRICS_ENABLED: true,
    METRICS_PORT: 9090,
    SLOW_QUERY_MS: 500,
    SLOW_REQUEST_MS: 1_000,
    SLOW_INFERENCE_MS: 10_000,
    OTEL_SDK_DISABLED: false,
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://localhost:4318",
    OTEL_TRACES_SAMPLER_ARG: 0.01,
    OTEL_SERVICE_NAME: "ectus",
    OTEL_RESOURCE_ATTRIBUTES: {},
    TRACE_TRUSTED_PEERS: [],
    LOG_SAMPLE: new Map([
      ["/health/live", { share: 0.01 }],
      ["/health/ready", { share: 0.01 }],
    ]),
    LOG_LEVEL: { default: "info", modules: {} },
    LOG_FORMAT: "auto",
  });
});

test("every default is one that its variable accepts", () => {
  for (const definition of Object.values(variables)) {
    if (definition.default !== undefined) expect(definition.parse(definition.default)).toBeDefined();
  }
});

test("values of every kind are read", () => {
  const config = loadConfig({
    DATABASE_URL: "postgres://u:p@db:5432/ectus",
    PORT: "0",
    TRUSTED_PROXIES: "10.0.0.0/8, ::1",
    API_KEY_SECRET: `${secret},${"t".repeat(40)}`,
    STORAGE_URL: "file:///var/lib/ectus/files",
    METRICS_ENABLED: "false",
    METRICS_PORT: "0",
    METRICS_HOST: "::1",
    MEMORY_LIMIT_BYTES: "536870912",
    SLOW_QUERY_MS: "1",
    LOG_LEVEL: "warn, database=debug,web-api=silent",
    LOG_FORMAT: "json",
  });
  expect(config).toMatchObject({
    DATABASE_URL: "postgres://u:p@db:5432/ectus",
    PORT: 0,
    TRUSTED_PROXIES: ["10.0.0.0/8", "::1"],
    API_KEY_SECRET: [secret, "t".repeat(40)],
    METRICS_ENABLED: false,
    METRICS_PORT: 0,
    METRICS_HOST: "::1",
    MEMORY_LIMIT_BYTES: 536_870_912,
    SLOW_QUERY_MS: 1,
    LOG_LEVEL: { default: "warn", modules: { database: "debug", "web-api": "silent" } },
  });
});

test("all faults are reported at once, each with the variable, what it got and what it accepts", () => {
  const faults = faultsOf(() =>
    loadConfig({ PORT: "70000", LOG_LEVEL: "loud", LOG_FORMAT: "xml", DATABASE_POOL_SIZE: "1" }),
  );
  expect(faults.split("\n")).toEqual([
    '  DATABASE_POOL_SIZE: got "1", accepts a whole number from 2 to 500',
    '  PORT: got "70000", accepts a port from 0 to 65535',
    expect.stringMatching(/^ {2}LOG_LEVEL: got "loud", accepts trace, debug, .*info,database=debug$/),
    '  LOG_FORMAT: got "xml", accepts json, pretty or auto',
  ]);
});

test("a certificate without its key, and a key without its certificate, are faults", () => {
  const both = { METRICS_TLS_CERT_FILE: "a.crt", METRICS_TLS_KEY_FILE: "a.key" };
  expect(loadConfig(both)).toMatchObject(both);
  for (const [set, unset] of [Object.keys(both), Object.keys(both).reverse()] as [string, string][]) {
    expect(faultsOf(() => loadConfig({ [set]: "a" }))).toBe(
      `  ${set}: got "a" alone, accepts the path of a PEM file, together with ${unset}`,
    );
  }
});

test("the API and its metrics cannot have the same port at the same address", () => {
  const fault = '  METRICS_PORT: got "9090", which is PORT too, accepts another port';
  expect(faultsOf(() => loadConfig({ PORT: "9090" }))).toBe(fault);
  expect(faultsOf(() => loadConfig({ PORT: "9090", HOST: "::1", METRICS_HOST: "::1" }))).toBe(fault);
  // Every address is that one, too.
  for (const [HOST, METRICS_HOST] of [
    ["0.0.0.0", "127.0.0.1"],
    ["127.0.0.1", "0.0.0.0"],
    ["::", "127.0.0.1"],
    ["::1", "::"],
  ])
    expect(faultsOf(() => loadConfig({ PORT: "9090", HOST, METRICS_HOST }))).toBe(fault);
  for (const fine of [
    { METRICS_ENABLED: "false" },
    { METRICS_PORT: "9091" },
    { HOST: "127.0.0.1", METRICS_HOST: "::1" },
    { HOST: "::1", METRICS_HOST: "0.0.0.0" },
  ])
    expect(loadConfig({ PORT: "9090", ...fine }).PORT).toBe(9090);
  expect(loadConfig({ PORT: "0", METRICS_PORT: "0" }).PORT).toBe(0);
});

test("a secret that is not accepted is not shown", () => {
  const faults = faultsOf(() =>
    loadConfig({ API_KEY_SECRET: "too-short-secret", DATABASE_URL: "mysql://me:hunter2@db" }),
  );
  expect(faults).toContain("API_KEY_SECRET: got a value that is not shown");
  expect(faults).toContain("DATABASE_URL: got a value that is not shown");
  expect(faults).not.toContain("too-short-secret");
  expect(faults).not.toContain("hunter2");
});

test("the environment wins over the file, and the file over the default", async () => {
  const file = await writeConfigFile("PORT=1000\nHOST=127.0.0.1\n# a comment\n");
  expect(loadConfig({ PORT: "2000" }, file)).toMatchObject({
    PORT: 2000,
    HOST: "127.0.0.1",
    LOG_FORMAT: "auto",
  });
});

test("a name in the file that is no variable is a fault", async () => {
  const file = await writeConfigFile("PROT=1000\n");
  expect(faultsOf(() => loadConfig({}, file))).toMatch(
    /PROT \(in .*\): not a variable of this program, accepts DATABASE_URL,/,
  );
});

test("a file that cannot be read is a fault beside the others", () => {
  const faults = faultsOf(() => loadConfig({ PORT: "x" }, "/nowhere/ectus.env"));
  expect(faults).toContain('ECTUS_CONFIG: got "/nowhere/ectus.env", which cannot be read');
  expect(faults).toContain('PORT: got "x"');
});

test("whatever a variable is set to, it is taken or refused with its name", () => {
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(variables)), fc.string(), (name, value) => {
      try {
        loadConfig({ [name]: value });
      } catch (error) {
        expect(error).toBeInstanceOf(EctusError);
        expect((error as EctusError).details.faults).toContain(`  ${name}: got `);
      }
    }),
  );
});

test("the description has a row for each variable, says where values come from and masks secrets", async () => {
  const file = await writeConfigFile("HOST=127.0.0.1\n");
  const rows = describeConfig({ PORT: "1", API_KEY_SECRET: secret }, file);
  expect(rows.map(({ name }) => name)).toEqual(Object.keys(variables));
  const row = (name: string) => rows.find((found) => found.name === name);
  expect(row("PORT")).toMatchObject({ value: "1", source: "environment" });
  expect(row("HOST")).toMatchObject({ value: "127.0.0.1", source: "file" });
  expect(row("LOG_LEVEL")).toMatchObject({ value: "info", source: "default" });
  expect(row("DATABASE_URL")).toMatchObject({ value: "", source: "unset" });
  expect(row("API_KEY_SECRET")).toMatchObject({ value: "[secret]", source: "environment" });
  expect(JSON.stringify(rows)).not.toContain(secret);
});

test("the user and password of a URL are masked wherever it is shown", () => {
  const value = (url: string) =>
    describeConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: url }).find(
      ({ name }) => name === "OTEL_EXPORTER_OTLP_ENDPOINT",
    )?.value;
  expect(value("https://ada:word@traces.example.org/otlp")).toBe("https://[secret]@traces.example.org/otlp");
  expect(value("http://[::1]:4318")).toBe("http://[::1]:4318");
  // It is refused for the slash.
  const load = () => loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: "https://ada:wo/rd@traces.example.org" });
  expect(load).toThrow(expect.objectContaining({ code: "invalid_config" }));
  expect(load).not.toThrow(/wo.rd/);
});

test("a user and password in a URL that is a parameter of another are not shown either", () => {
  const STORAGE_URL = "s3://bucket/prefix?region=x&endpoint=https%3A%2F%2Fme%3Ahunter2%40host";
  const [row] = describeConfig({ STORAGE_URL }).filter(({ name }) => name === "STORAGE_URL");
  expect(row?.value).toBe("s3://bucket/prefix?region=x&endpoint=https%3A%2F%2F[secret]%40host");
  const plain = describeConfig({ STORAGE_URL: "s3://bucket?endpoint=https://me:hunter2@host" });
  expect(JSON.stringify(plain)).not.toContain("hunter2");
});

test("signing keys are seeds of 32 bytes each, and are not shown", () => {
  const seeds = ["a".repeat(43), `${"B_-".repeat(14)}9`];
  expect(loadConfig({ SIGNING_KEY: seeds.join(" , ") }).SIGNING_KEY).toEqual(seeds);
  for (const wrong of ["", "a".repeat(42), "a".repeat(44), `${"a".repeat(42)}=`, `${seeds[0]},`]) {
    const read = () => loadConfig({ SIGNING_KEY: wrong });
    expect(read).toThrow("SIGNING_KEY: got a value that is not shown because it is secret");
  }
});

test.each([
  ["EXPORT_CONCURRENCY", ["1", "64"], ["0", "65", "-1", "1.5", "two", ""]],
  ["EXPORT_BYTES_PER_SECOND", ["0", "10000000000"], ["10000000001", "1e9", "-1"]],
  ["EXPORT_TTL_HOURS", ["1", "8760"], ["0", "8761", "0x10"]],
] as const)("%s is a whole number in its bounds", (name, right, wrong) => {
  for (const value of right) expect(loadConfig({ [name]: value })[name]).toBe(Number(value));
  for (const value of wrong) expect(() => loadConfig({ [name]: value })).toThrow(`${name}: got "${value}"`);
});
