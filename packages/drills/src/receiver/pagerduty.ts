// What PagerDuty's Events API v2 takes and answers, https://developer.pagerduty.com/docs/send-alert-event

export interface PagerDutyEvent {
  readonly routing_key: string;
  readonly event_action: "trigger" | "acknowledge" | "resolve";
  readonly dedup_key?: string;
  readonly client?: string;
  readonly client_url?: string;
  readonly links?: readonly { readonly href: string; readonly text?: string }[];
  readonly payload?: {
    readonly summary: string;
    readonly source: string;
    readonly severity: "critical" | "error" | "warning" | "info";
    readonly class?: string;
    readonly component?: string;
    readonly group?: string;
    readonly custom_details?: Readonly<Record<string, unknown>>;
  };
}

export interface PagerDutyAnswer {
  readonly status: number;
  readonly body: object;
  /** There is one exactly when it is accepted. */
  readonly event?: PagerDutyEvent;
}

const maxBytes = 512 * 1024;
const maxSummary = 1024;
const maxDedupKey = 255;
const actions: readonly unknown[] = ["trigger", "acknowledge", "resolve"];
const severities: readonly unknown[] = ["critical", "error", "warning", "info"];

/** Judges the body of a request as PagerDuty does. */
export function checkPagerDuty(body: string): PagerDutyAnswer {
  if (Buffer.byteLength(body) > maxBytes) return { status: 413, body: { status: "payload too large" } };
  let event: unknown;
  try {
    event = JSON.parse(body);
  } catch {
    return refuse("Event object is invalid JSON", []);
  }
  if (!isRecord(event)) return refuse("Event object is invalid", ["the event is no object"]);
  const faults = [...eventFaults(event), ...payloadFaults(event)];
  if (faults.length > 0) return refuse("Event object is invalid", faults);
  const accepted = event as unknown as PagerDutyEvent;
  return {
    status: 202,
    body: { status: "success", message: "Event processed", dedup_key: accepted.dedup_key },
    event: accepted,
  };
}

function refuse(message: string, errors: readonly string[]): PagerDutyAnswer {
  return { status: 400, body: { status: "invalid event", message, errors } };
}

function eventFaults(event: Readonly<Record<string, unknown>>): readonly string[] {
  const { routing_key: key, event_action: action, dedup_key: dedupKey, links } = event;
  const faults: string[] = [];
  if (typeof key !== "string" || !/^[0-9a-zA-Z]{32}$/.test(key))
    faults.push("'routing_key' has 32 characters");
  if (!actions.includes(action)) faults.push(`'event_action' is one of: ${actions.join(", ")}`);
  if (
    dedupKey === undefined
      ? action !== "trigger"
      : typeof dedupKey !== "string" || dedupKey.length > maxDedupKey
  )
    faults.push(`'dedup_key' has at most ${maxDedupKey} characters, and is required except to trigger`);
  if (links !== undefined && !(Array.isArray(links) && links.every(isLink)))
    faults.push("'links' is a list of objects with 'href'");
  return faults;
}

function payloadFaults(event: Readonly<Record<string, unknown>>): readonly string[] {
  const { payload } = event;
  if (!isRecord(payload)) return event.event_action === "trigger" ? ["'payload' is missing"] : [];
  const { summary, source, severity } = payload;
  const faults: string[] = [];
  if (typeof summary !== "string" || summary === "" || [...summary].length > maxSummary)
    faults.push(`'payload.summary' has 1 to ${maxSummary} characters`);
  if (typeof source !== "string" || source === "") faults.push("'payload.source' is missing or blank");
  if (!severities.includes(severity)) faults.push(`'payload.severity' is one of: ${severities.join(", ")}`);
  return faults;
}

function isLink(value: unknown): boolean {
  return isRecord(value) && typeof value.href === "string" && value.href !== "";
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
