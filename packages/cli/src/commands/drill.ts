// `ectus drill list|run`: practices an incident on a scratch instance, and shows that the right people would be told.
import { rmSync } from "node:fs";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import {
  allDrills,
  type Drill,
  type DrillResult,
  factorsOf,
  type RunningServers,
  runDrill,
  shortenedRules,
  stepText,
} from "@ectus/drills";
import { type Command, InvalidArgumentError } from "commander";
import type { CommandContext } from "../command-context.ts";
import { CommandEnded, CommandFault } from "../exit-codes.ts";
import {
  type InstanceFlags,
  readInstanceConfig,
  withInstanceFlags,
  withJsonFlag,
} from "../instance-config.ts";
import { print, printable, table } from "../output.ts";
import { whileStoppable } from "../stop-signals.ts";

interface RunFlags extends InstanceFlags {
  readonly report?: string;
  readonly prometheus?: string;
  readonly alertmanager?: string;
  readonly metricsPort?: number;
}

export function addDrill(program: Command, context: CommandContext): void {
  const group = program
    .command("drill")
    .description("practice incidents on a scratch instance: fault, alert, message, mitigation")
    .addHelpText("after", "\nExamples:\n  ectus drill list\n  ectus drill run high-error-rate");
  addList(group, context);
  addRun(group, context);
  addRules(group, context);
}

function addList(group: Command, context: CommandContext): void {
  withJsonFlag(group.command("list"))
    .description("list the drills")
    .addHelpText("after", "\nExample:\n  ectus drill list")
    .action((flags: { readonly json?: boolean }) => {
      const drills = allDrills.map((drill) => ({
        name: drill.name,
        alert: drill.alert,
        severity: drill.kind === "alert" ? drill.severity : null,
        shows: drill.shows,
        programs: ["prometheus", "alertmanager", ...drill.programs],
      }));
      print(context, flags, { object: "list", data: drills }, () =>
        table(
          ["DRILL", "ALERT", "SEVERITY", "SHOWS THAT"],
          drills.map(({ name, alert, severity, shows }) => [name, alert, severity ?? "", shows]),
        ),
      );
    });
}

function addRun(group: Command, context: CommandContext): void {
  withInstanceFlags(group.command("run"))
    .description("run a drill; exit code 0 if all went as it must, 1 if not")
    .argument("<drill>", "its name, as `ectus drill list` has it", parseDrill)
    .option("--report <folder>", "where the report is kept; a new folder in DATA_DIR/drills by default")
    .option(
      "--prometheus <url>",
      "use this Prometheus, which has shortened rules, with --alertmanager",
      parseUrl,
    )
    .option(
      "--alertmanager <url>",
      "use this Alertmanager, whose alerts then take the place of messages",
      parseUrl,
    )
    .option("--metrics-port <port>", "where that Prometheus scrapes the job ectus on 127.0.0.1", parsePort)
    .addHelpText(
      "after",
      `
Starts an instance, a PostgreSQL, a Prometheus and an Alertmanager of its own, with the project's rules shortened (five
minutes are five seconds); breaks something for real; and watches the alert, the messages and the end of both. Nobody
outside is told: messages go to a receiver on this machine that checks their format. Prometheus and Alertmanager are
taken from PATH, or from where 'npm run peers' puts them.
With --json, an object with "drill", "passed", "steps" and "durations" (seconds) is printed at the end.

Examples:
  ectus drill run high-error-rate
  ectus drill run service-down --report drills/2026-12
  ectus drill run high-latency --prometheus http://127.0.0.1:9091 --alertmanager http://127.0.0.1:9093 --metrics-port 9099`,
    )
    .action((drill: Drill, flags: RunFlags) => run(drill, flags, context));
}

function addRules(group: Command, context: CommandContext): void {
  withJsonFlag(group.command("rules"))
    .description("write the alert rules as a drill shortens them, for a Prometheus that runs already")
    .argument("<drill>", "its name, as `ectus drill list` has it", parseDrill)
    .argument("<folder>", "where they are written; files of the same names are replaced")
    .addHelpText("after", "\nExample:\n  ectus drill rules high-latency /etc/prometheus/drill-rules")
    .action(async (drill: Drill, into: string, flags: { readonly json?: boolean }) => {
      const folder = resolve(into);
      const factors = factorsOf(drill);
      const files = await shortenedRules(factors);
      await mkdir(folder, { recursive: true });
      for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
      const written = {
        object: "drill_rules",
        drill: drill.name,
        factors,
        folder,
        files: Object.keys(files),
      };
      print(
        context,
        flags,
        written,
        () =>
          `Rules with times divided by ${factors.windows} are in ${folder}: ${written.files.join(", ")}.\nScrape and evaluate every 500 ms, and read them again (SIGHUP).`,
      );
    });
}

async function run(drill: Drill, flags: RunFlags, context: CommandContext): Promise<void> {
  const { dataDir } = readInstanceConfig(context, flags);
  const running = runningServers(drill, flags);
  const reportFolder = resolve(flags.report ?? join(dataDir, "drills", `${timeInName()}-${drill.name}`));
  const scratch = await mkdtemp(join(tmpdir(), "ectus-drill-"));
  // For an end at once, which leaves no time for more. It is gone by then after any other end.
  const removeScratch = (): void => rmSync(scratch, { recursive: true, force: true });
  process.once("exit", removeScratch);
  const say = flags.json === true ? () => {} : context.stdout;
  say(`Drill ${drill.name}: ${drill.shows}.\n`);
  const result = await whileStoppable({ context, dataDir: join(scratch, "data") }, (signal) =>
    runDrill({
      drill,
      ectus: [process.execPath, fileURLToPath(new URL("../main.ts", import.meta.url))],
      scratch,
      reportFolder,
      running,
      onStep: (step) => say(`${stepText(step)}\n`),
      signal,
    }),
  ).finally(() => process.off("exit", removeScratch));
  print(context, flags, { ...result }, () => summary(result, reportFolder));
  if (!result.passed) throw new CommandEnded();
}

function summary({ passed, durations }: DrillResult, reportFolder: string): string {
  const { detect, notify, resolve: over } = durations;
  const reached = [
    ...(detect === null ? [] : [`Noticed in ${detect.toFixed(1)} s`]),
    ...(notify === null ? [] : [`people told ${notify.toFixed(1)} s later`]),
    ...(over === null ? [] : [`over ${over.toFixed(1)} s after the mitigation`]),
  ].join(", ");
  const report = `Report: ${printable(join(reportFolder, "report.md"))}`;
  return [
    "",
    `${passed ? "Passed." : "FAILED."}${reached === "" ? "" : ` ${reached}.`}`,
    passed ? report : `${report}; the programs' logs are in the folder logs beside it.`,
  ].join("\n");
}

function parseDrill(name: string): Drill {
  const drill = allDrills.find((each) => each.name === name);
  if (drill !== undefined) return drill;
  throw new InvalidArgumentError(`Accepts ${allDrills.map((each) => each.name).join(", ")}.`);
}

function parseUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null || !["http:", "https:"].includes(url.protocol))
    throw new InvalidArgumentError("Accepts a URL such as http://127.0.0.1:9091.");
  return url.href.replace(/\/$/, "");
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw new InvalidArgumentError("Accepts a port from 1 to 65535.");
  return port;
}

function runningServers({ name, kind, programs }: Drill, flags: RunFlags): RunningServers | undefined {
  const { prometheus, alertmanager, metricsPort } = flags;
  if (prometheus === undefined && alertmanager === undefined && metricsPort === undefined) return undefined;
  if (prometheus === undefined || alertmanager === undefined || metricsPort === undefined)
    throw new CommandFault(
      "--prometheus, --alertmanager and --metrics-port belong together. Give all three, or none for servers of the drill's own.",
      "used_wrongly",
      true,
    );
  if (kind === "silence" || programs.length > 0)
    throw new CommandFault(
      `The drill ${name} needs a Prometheus of its own: leave out --prometheus, --alertmanager and --metrics-port.`,
      "used_wrongly",
      true,
    );
  return { prometheus, alertmanager, metricsPort };
}

const timeInName = (): string => new Date().toISOString().replaceAll(":", "-").replace(/\.\d+/, "");
