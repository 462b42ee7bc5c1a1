// The command line as a whole: help, typos, and how faults become exit codes.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { runRecorded } from "./recorded-context.ts";
import { version } from "./version.ts";

const run = (...args: string[]) => runRecorded({}, ...args);

test("without arguments it prints help and counts as used wrongly", async () => {
  const { code, out, err } = await run();
  expect(code).toBe(2);
  expect(out).toBe("");
  expect(err).toContain("Usage: ectus");
});

test("--help and --version are done", async () => {
  expect(await run("--version")).toEqual({ code: 0, out: `${version}\n`, err: "" });
  expect((await run("--help")).code).toBe(0);
});

test.each(["export status", "export verify", "config", "on-call now"])(
  "%s loads no database",
  async (command) => {
    const hook =
      'import { registerHooks } from "node:module"; registerHooks({ load(url, context, next) { if (url.includes("/packages/database/")) console.error(url); return next(url, context); } });';
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [
      ...["--import", `data:text/javascript,${encodeURIComponent(hook)}`],
      ...[join(import.meta.dirname, "main.ts"), ...command.split(" "), "--help"],
    ]);
    expect(stdout).toContain(`ectus ${command}`);
    expect(stderr).toBe("");
  },
);

const commands = [
  ...[
    "up",
    "worker",
    "migrate",
    "doctor",
    "config",
    "tenant",
    "key",
    "model",
    "export",
    "drill",
    "on-call",
  ].map((name) => [name]),
  ...["create", "list", "show", "update", "suspend", "activate", "limits"].map((name) => ["tenant", name]),
  ...["create", "list", "revoke"].map((name) => ["key", name]),
  ...["list", "pull"].map((name) => ["model", name]),
  ...["create", "list", "status", "download", "delete", "verify", "import"].map((name) => ["export", name]),
  ...["list", "run"].map((name) => ["drill", name]),
  ...["now", "schedule", "check"].map((name) => ["on-call", name]),
];

test.each(commands.map((command) => [command.join(" ")]))("%s has help with an example", async (command) => {
  const { code, out, err } = await run(...command.split(" "), "--help");
  expect(code).toBe(0);
  expect(err).toBe("");
  expect(out).toMatch(/Examples?:\n/);
  expect(out).toContain(`ectus ${command}`);
});

test.each(
  commands.filter(
    (command) => !["tenant", "key", "model", "export", "drill", "on-call"].includes(command.join(" ")),
  ),
)("%s %s takes --json", async (...command) => {
  expect((await run(...command.filter((word) => word !== undefined), "--help")).out).toContain("--json");
});

describe("a typo", () => {
  test("in a command suggests the nearest and lists what there is", async () => {
    const { code, err } = await run("docter");
    expect(code).toBe(2);
    expect(err).toContain("unknown command 'docter'");
    expect(err).toContain("Did you mean doctor?");
    expect(err).toContain(
      "Commands: up, worker, migrate, doctor, config, tenant, key, model, export, drill, on-call\n",
    );
  });

  test("in a command of a command lists those of that one", async () => {
    const { code, err } = await run("key", "remove");
    expect(code).toBe(2);
    expect(err).toContain("Commands: create, list, revoke\n");
  });

  test("in an option suggests the nearest", async () => {
    const { code, err } = await run("up", "--ofline");
    expect(code).toBe(2);
    expect(err).toContain("Did you mean --offline?");
  });
});

test("with --json a fault is an object on standard output", async () => {
  const { code, out } = await run("doctor", "--nonsense", "--json");
  expect(code).toBe(2);
  expect(JSON.parse(out)).toEqual({
    error: { code: "used_wrongly", message: expect.stringContaining("unknown option '--nonsense'") },
  });
});

test("every fault of the configuration is told at once, before anything is started", async () => {
  const { code, out, err } = await runRecorded(
    { PORT: "eighty", LOG_LEVEL: "loud", DATABASE_URL: "mysql://root:hunter2@db/x" },
    "up",
  );
  expect(code).toBe(2);
  expect(out).toBe("");
  for (const name of ["PORT", "LOG_LEVEL", "DATABASE_URL"])
    expect(err).toMatch(new RegExp(`${name}: got .*accepts`));
  expect(err).not.toContain("hunter2");
});
