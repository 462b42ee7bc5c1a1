// Checks the programs that runbooks call, and with psql the access to the database.
import type { Environment } from "@ectus/core";
import { type Check, fail, ok, warn } from "./check.ts";
import { decoded, encodePassword, guide } from "./on-call-guide.ts";
import { runProgram } from "./run-program.ts";

const programs = [
  { name: "ectus", args: ["--version"], get: "it is packages/cli/src/main.ts of this project's checkout" },
  { name: "curl", args: ["--version"], get: "it comes with the system's packages" },
  { name: "amtool", args: ["--version"], get: "it comes with Alertmanager" },
  { name: "promtool", args: ["--version"], get: "it comes with Prometheus" },
] as const;

export function checkPrograms(environment: Environment): Promise<Check[]> {
  return Promise.all(
    programs.map(async ({ name, args, get }) => {
      const run = await runProgram(environment, name, args);
      return run.ok
        ? ok(name, versionIn(run.out))
        : fail(
            name,
            run.reason,
            run.isMissing
              ? `Put ${name} on PATH: ${get}. ${guide}`
              : `'${name} ${args.join(" ")}' must tell its version: look which ${name} is the first on PATH.`,
          );
    }),
  );
}

const tablesOfRunbooks = ["tenants", "audit_log", "exports", "usage"];
// Not by PGOPTIONS, which poolers of connections refuse.
const probe = `begin read only;
set local statement_timeout = '5s';
${tablesOfRunbooks.map((table) => `select 1 from ${table} limit 1 \\g /dev/null`).join("\n")}
select current_user, pg_has_role('pg_read_all_stats', 'usage'), pg_has_role('pg_signal_backend', 'usage');
commit;
`;

/** Reads with psql, as runbooks do; changes nothing. */
export async function checkDatabaseAccess(environment: Environment): Promise<Check[]> {
  const name = "database";
  const url = environment.DATABASE_OWNER_URL ?? "";
  if (url === "")
    return [
      fail(
        name,
        "DATABASE_OWNER_URL is not set",
        `Set it to a URL like postgresql://owner:…@db.example.com/ectus. ${guide}`,
      ),
    ];
  if (!/^postgres(ql)?:\/\//.test(url))
    return [
      fail(
        name,
        "DATABASE_OWNER_URL is no URL of PostgreSQL",
        "Set it to one like postgresql://owner:…@db.example.com/ectus.",
      ),
    ];
  const { address, encoded } = withoutPassword(url);
  const password = decoded(encoded);
  if (password === undefined)
    return [fail(name, "DATABASE_OWNER_URL has a password that is not encoded", encodePassword)];
  const run = await runProgram(
    {
      ...environment,
      // Arguments of a program are seen by everybody on the machine.
      ...(password === "" ? {} : { PGPASSWORD: password }),
      PGCONNECT_TIMEOUT: "5",
    },
    "psql",
    [
      "--no-psqlrc",
      "--quiet",
      "--no-password",
      "--tuples-only",
      "--no-align",
      "--set=ON_ERROR_STOP=1",
      `--dbname=${address}`,
    ],
    probe,
  );
  if (!run.ok)
    return [
      run.isMissing
        ? fail(
            name,
            run.reason,
            `Put psql on PATH: it comes with PostgreSQL's clients, 15 or later. ${guide}`,
          )
        : fail(
            name,
            run.reason,
            `Check DATABASE_OWNER_URL, the network, and that its role owns the schema. ${guide}`,
          ),
    ];
  const [role = "", sees, ends] = firstLine(run.out).split("|");
  const lacks = [
    ...(sees === "t" ? [] : ["pg_read_all_stats"]),
    ...(ends === "t" ? [] : ["pg_signal_backend"]),
  ];
  return [
    ok(name, `psql connects as ${role}, which reads ${tablesOfRunbooks.join(", ")}`),
    lacks.length === 0
      ? ok("statements of others", `${role} sees them in pg_stat_activity, and may end them`)
      : warn(
          "statements of others",
          `${role} lacks ${lacks.join(" and ")}: runbooks of the database look at what other roles run, and end it`,
          `As a superuser: grant ${lacks.join(", ")} to ${role};`,
        ),
  ];
}

/** Of any URL that psql takes, also one of several hosts, which is none to other programs. */
function withoutPassword(url: string): { readonly address: string; readonly encoded: string } {
  const [, before, password, after] = /^(\w+:\/\/[^:@/]*):([^@/]*)(@.*)$/s.exec(url) ?? [];
  if (password !== undefined) return { address: `${before}${after}`, encoded: password };
  const parameter = /([?&])password=([^&]*)&?/;
  return { address: url.replace(parameter, "$1"), encoded: parameter.exec(url)?.[2] ?? "" };
}

const firstLine = (text: string): string => text.trim().split("\n")[0] ?? "";

/** Of `curl 8.10.1 (x86_64 …`, `promtool, version 3.16.0 (…` or `0.1.0`. */
const versionIn = (text: string): string => /\d+(?:\.\d+)+/.exec(text)?.[0] ?? firstLine(text);
