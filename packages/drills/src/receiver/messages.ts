// What arrived at the receiver, and how to tell which alert a message is about.
import type { PagerDutyEvent } from "./pagerduty.ts";
import type { SlackPayload } from "./slack.ts";

export interface SlackMessage {
  readonly service: "slack";
  /** When it was accepted, in milliseconds since 1970. */
  readonly at: number;
  /** "pages", "tickets" or "info": each has a webhook of its own. */
  readonly channel: string;
  /** As a reader sees it. */
  readonly title: string;
  readonly text: string;
  readonly payload: SlackPayload;
}

export interface PagerDutyMessage {
  readonly service: "pagerduty";
  readonly at: number;
  readonly event: PagerDutyEvent;
}

/** A sign of life for the dead man's switch. */
export interface Beat {
  readonly service: "dead-mans-switch";
  readonly at: number;
}

export type Message = SlackMessage | PagerDutyMessage | Beat;
export type Service = Message["service"];

/** Whether a message tells people that an alert fires or is resolved, by the project's own templates. */
export function announces(message: Message, alert: string, status: "firing" | "resolved"): boolean {
  switch (message.service) {
    case "slack":
      return new RegExp(`^${status.toUpperCase()} ${alert}\\b`).test(message.title);
    case "pagerduty":
      return (
        message.event.payload?.class === alert &&
        message.event.event_action === (status === "firing" ? "trigger" : "resolve")
      );
    case "dead-mans-switch":
      return false;
  }
}
