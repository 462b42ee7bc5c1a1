// What Slack's incoming webhooks take and answer, https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
// and what of a message people read.

export interface SlackPayload {
  readonly channel?: string;
  readonly text?: string;
  readonly attachments?: readonly SlackAttachment[];
}

export interface SlackAttachment {
  readonly title?: string;
  readonly title_link?: string;
  readonly pretext?: string;
  readonly text?: string;
  readonly fallback?: string;
  readonly color?: string;
  readonly footer?: string;
}

export interface SlackAnswer {
  readonly status: number;
  /** "ok", or Slack's word for what is wrong. */
  readonly body: string;
  /** There is one exactly when it is accepted. */
  readonly payload?: SlackPayload;
}

// More is cut off or refused, https://docs.slack.dev/reference/methods/chat.postMessage#truncating
const maxCharacters = 40_000;
const maxAttachments = 100;

/** Judges the body of a request as Slack does. */
export function checkSlack(contentType: string, body: string): SlackAnswer {
  const refuse = (word: string): SlackAnswer => ({ status: 400, body: word });
  if (!contentType.startsWith("application/json")) return refuse("invalid_payload");
  let payload: unknown;
  try {
    payload = JSON.parse(body);
  } catch {
    return refuse("invalid_payload");
  }
  if (!isSlackPayload(payload)) return refuse("invalid_payload");
  const attachments = payload.attachments ?? [];
  if (attachments.length > maxAttachments) return refuse("too_many_attachments");
  const shown = [
    payload.text,
    ...attachments.flatMap(({ title, text, fallback }) => [title, text, fallback]),
  ];
  if (shown.every((part) => part === undefined || part.trim() === "")) return refuse("no_text");
  if (shown.some((part) => part !== undefined && [...part].length > maxCharacters))
    return refuse("msg_too_long");
  return { status: 200, body: "ok", payload };
}

/** The title and the text as a reader sees them: entities are characters, a link is "label (address)". */
export function readSlack(payload: SlackPayload): { readonly title: string; readonly text: string } {
  const attachments = payload.attachments ?? [];
  const join = (parts: readonly (string | undefined)[]): string =>
    parts
      .filter((part) => part !== undefined && part !== "")
      .map((part) => readMrkdwn(part ?? ""))
      .join("\n");
  return {
    title: join(attachments.map(({ title }) => title)),
    text: join([
      payload.text,
      ...attachments.flatMap(({ pretext, text, footer }) => [pretext, text, footer]),
    ]),
  };
}

// https://docs.slack.dev/messaging/formatting-message-text: <address|label>, <!date^seconds^format|instead>, and three
// entities.
function readMrkdwn(text: string): string {
  return text
    .replace(/<!date\^\d+\^[^|>]*\|([^>]*)>/g, "$1")
    .replace(/<([^|>]*)\|([^>]*)>/g, "$2 ($1)")
    .replace(/<([^>]*)>/g, "$1")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&");
}

function isSlackPayload(value: unknown): value is SlackPayload {
  if (!isRecord(value)) return false;
  const { text, attachments } = value;
  if (text !== undefined && typeof text !== "string") return false;
  if (attachments === undefined) return true;
  return Array.isArray(attachments) && attachments.every(isSlackAttachment);
}

const attachmentTexts = ["title", "title_link", "pretext", "text", "fallback", "color", "footer"] as const;

function isSlackAttachment(value: unknown): value is SlackAttachment {
  if (!isRecord(value)) return false;
  return attachmentTexts.every((field) => value[field] === undefined || typeof value[field] === "string");
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
