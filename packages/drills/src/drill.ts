// What a drill is: a fault that is brought about for real, and what must be heard of it. Each lies in a file of its own
// in drills/; run-drill.ts runs them.
import type { ShorteningFactors } from "@ectus/alerting";
import type { ProgramName } from "./programs/find-programs.ts";
import type { Parts, Rig, ScrapeTarget } from "./rig/rig.ts";
import type { TrafficOptions } from "./rig/traffic.ts";

export type Severity = "page" | "ticket" | "info";

/** Mends what was broken, as the runbook says. */
export type Mitigate = () => Promise<void>;

interface DrillBase {
  /** As `ectus drill run` takes it. */
  readonly name: string;
  /** What it shows, in one sentence for a list. */
  readonly shows: string;
  /** What is done to the scratch instance, as the timeline says it. */
  readonly fault: string;
  /** What mends it, as the timeline says it. */
  readonly mitigation: string;
  /** Programs that it needs besides Prometheus and Alertmanager. */
  readonly programs: readonly ProgramName[];
  /** What times are divided by, where it is not the usual: less where the fault takes its time. */
  readonly factors?: Partial<ShorteningFactors>;
  readonly instance?: InstanceNeeds;
  /** What the clients do, where it is not the usual. */
  readonly traffic?: Partial<Pick<TrafficOptions, "perSecond" | "pattern" | "model">>;
  /** Starts more programs, before Prometheus, and says where that scrapes them. */
  readonly prepare?: (parts: Parts) => Promise<readonly ScrapeTarget[]>;
  /** Breaks something; what it returns mends it. What it leaves running has to end with `rig.signal`. */
  readonly inject: (rig: Rig) => Promise<Mitigate>;
  /** How long the alert may take once the fault is there, in milliseconds; 30,000 by default. */
  readonly detectWithinMs?: number;
}

/** How the scratch instance is run. */
export interface InstanceNeeds {
  /** Variables on top of those that every drill sets. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Processors that it may use, as `taskset -c` takes them. */
  readonly cpus?: string;
}

/** A fault that an alert tells. */
export interface AlertDrill extends DrillBase {
  readonly kind: "alert";
  readonly alert: string;
  /** Labels that the alert must carry, besides. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly severity: Severity;
  /** Alerts that fire because of the same fault, and of which nobody may be told. */
  readonly inhibits: readonly string[];
  /** What customers must have seen of the fault, so that the drill shows that it was real. */
  readonly customersSee?: CustomersSee;
  /** No message may come to the channel of pages. */
  readonly wakesNobody?: true;
}

/** A fault that makes alerting itself silent, so that only the outside can tell. */
export interface SilenceDrill extends DrillBase {
  readonly kind: "silence";
  /** The alert whose silence counts. */
  readonly alert: "Watchdog";
}

export type Drill = AlertDrill | SilenceDrill;

/** `failures`: requests failed; `broken-streams`: streams broke after their 200; `nothing`: all went on. */
export type CustomersSee = "failures" | "broken-streams" | "slow-answers" | "no-answer" | "nothing";

/** Five minutes are five seconds; three days of the objective are 36 minutes, an hour of it is 30 seconds. */
export const defaultFactors: ShorteningFactors = { windows: 60, objective: 120, ages: 1_440 };
