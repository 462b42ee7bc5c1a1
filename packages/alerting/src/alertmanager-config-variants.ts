// Configurations of Alertmanager that are made from the one that people write: with PagerDuty, and for drills.
import { basename, join } from "node:path";
import { EctusError } from "@ectus/core";
import { type Document, isMap, isScalar, isSeq, type Pair, parseDocument, visit, type YAMLMap } from "yaml";
import { divideDuration, durationMs, formatDuration } from "./duration.ts";

/** Who is woken. */
const pageReceiver = "platform-page";

/**
 * The configuration with what pages go to besides.
 *
 * @param config the text of config.yaml
 * @param addition that of pagerduty.yaml: what the receiver of pages has besides
 */
export function addPagerDuty(config: string, addition: string): string {
  const document = read(config);
  const receivers = document.get("receivers");
  const receiver = isSeq(receivers)
    ? receivers.items.find((item): item is YAMLMap => isMap(item) && item.get("name") === pageReceiver)
    : undefined;
  if (receiver === undefined)
    throw new EctusError("invalid_alertmanager_config", {
      path: "config.yaml",
      faults: `no receiver is called ${pageReceiver}; PagerDuty is added to that one`,
    });
  const { contents } = read(addition);
  if (isMap(contents)) for (const item of contents.items) receiver.items.push(item as Pair);
  document.commentBefore =
    " Made from ../config.yaml and ../pagerduty.yaml by: node tools/check/alertmanager-config.ts --write\n" +
    " Change those, not this.";
  return document.toString({ lineWidth: 0 });
}

export interface DrillSettings {
  /** What waits, intervals and repetitions are divided by. */
  readonly factor: number;
  /** Where `secrets` and `templates` are, instead of /etc/alertmanager. */
  readonly folder: string;
  /** Where PagerDuty's events go. */
  readonly pagerDutyUrl: string;
}

/**
 * The configuration for drills: time runs faster, secrets and templates are found elsewhere, and tickets are told at
 * any hour, since a drill is held at any. All else is what production has. How long a receiver may take to answer
 * stays: the network is no faster in a drill.
 */
export function shortenAlertmanagerConfig(config: string, settings: DrillSettings): string {
  const document = read(config);
  visit(document, {
    Pair: (_, pair) => {
      const key = isScalar(pair.key) ? pair.key.value : undefined;
      if (key === "active_time_intervals" || key === "mute_time_intervals") return visit.REMOVE;
      if (typeof key !== "string" || !isScalar(pair.value) || typeof pair.value.value !== "string")
        return undefined;
      const scalar = pair.value;
      const text = pair.value.value;
      if (dividedFields.has(key)) scalar.value = divided(key, text, settings.factor);
      else if (key.endsWith("_file")) scalar.value = join(settings.folder, "secrets", basename(text));
      return undefined;
    },
  });
  const templates = document.get("templates");
  if (isSeq(templates))
    for (const item of templates.items)
      if (isScalar(item)) item.value = join(settings.folder, "templates", basename(String(item.value)));
  document.setIn(["global", "pagerduty_url"], settings.pagerDutyUrl);
  return document.toString({ lineWidth: 0 });
}

const dividedFields: ReadonlySet<string> = new Set([
  "group_wait",
  "group_interval",
  "repeat_interval",
  "resolve_timeout",
]);

function divided(field: string, text: string, factor: number): string {
  const ms = durationMs(text);
  if (ms === undefined)
    throw new EctusError("invalid_alertmanager_config", {
      path: "config.yaml",
      faults: `${field} is ${JSON.stringify(text)}; it is a duration such as 10s`,
    });
  return formatDuration(divideDuration(ms, factor));
}

function read(text: string): Document.Parsed {
  const document = parseDocument(text, { merge: true });
  const [error] = document.errors;
  if (error !== undefined)
    throw new EctusError("invalid_alertmanager_config", { path: "config.yaml", faults: error.message });
  return document;
}
