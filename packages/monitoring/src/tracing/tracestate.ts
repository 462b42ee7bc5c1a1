// The `tracestate` header, which goes on to upstreams: https://www.w3.org/TR/trace-context-2/#tracestate-header
import type { TraceState } from "@opentelemetry/api";

/** What an upstream must be able to take; more is dropped. */
const mostCharacters = 512;
const mostMembers = 32;

const key = /^(?:[a-z\d][a-z\d_\-*/]{0,255}|[a-z\d][a-z\d_\-*/]{0,240}@[a-z][a-z\d_\-*/]{0,13})$/;
/** Printable, without comma and equals sign, and not a space at its end. */
const value = /^[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;

/**
 * What a `tracestate` header says, one that came several times joined in order; undefined if there is none, or it is not
 * well-formed, or too long.
 */
export function parseTracestate(header: string | readonly string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  const text = typeof header === "string" ? header : header.join(",");
  if (text.length > mostCharacters) return undefined;
  const members = text
    .split(",")
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ""))
    .filter((member) => member !== "");
  if (members.length === 0 || members.length > mostMembers) return undefined;
  const keys = new Set<string>();
  for (const member of members) {
    const at = member.indexOf("=");
    if (at < 0 || !key.test(member.slice(0, at)) || !value.test(member.slice(at + 1))) return undefined;
    keys.add(member.slice(0, at));
  }
  return keys.size === members.length ? members.join(",") : undefined;
}

/** One that was parsed, as OpenTelemetry's API has it. */
export function createTraceState(text: string): TraceState {
  const members = text === "" ? [] : text.split(",").map((member) => splitMember(member));
  const without = (name: string): readonly Member[] => members.filter(([known]) => known !== name);
  const of = (list: readonly Member[]): TraceState =>
    createTraceState(list.map(([name, content]) => `${name}=${content}`).join(","));
  return {
    // A member that changed comes first.
    set: (name, content) => of([[name, content], ...without(name)]),
    unset: (name) => of(without(name)),
    get: (name) => members.find(([known]) => known === name)?.[1],
    serialize: () => text,
  };
}

type Member = readonly [name: string, content: string];

function splitMember(member: string): Member {
  const at = member.indexOf("=");
  return [member.slice(0, at), member.slice(at + 1)];
}
