// Shifts as an iCalendar file (RFC 5545), which calendars subscribe to. The same shifts of the same file give the same
// bytes, and a shift keeps its UID, so that a calendar changes the event it has in place of adding another.
import type { Contacts } from "./contacts-schema.ts";
import type { Shift } from "./rotation.ts";

/** @param revised when the contacts were last changed (DTSTAMP) */
export function toICalendar(contacts: Contacts, shifts: readonly Shift[], revised: Temporal.Instant): string {
  const { rotation, people, teams } = contacts;
  const team = teams[rotation.team]?.name ?? rotation.team;
  const events = shifts.flatMap((shift) => {
    const name = people[shift.person]?.name ?? shift.person;
    return [
      "BEGIN:VEVENT",
      `UID:${shift.tier}-${utcText(shift.from.toInstant())}@${rotation.team}.on-call.ectus`,
      `DTSTAMP:${utcText(revised)}`,
      // In UTC, so that no definition of a time zone has to come along and be believed.
      `DTSTART:${utcText(shift.from.toInstant())}`,
      `DTEND:${utcText(shift.to.toInstant())}`,
      `SUMMARY:${escapeText(`${name}: on call, ${shift.tier}`)}`,
      `DESCRIPTION:${escapeText(descriptionOf(shift, name, team))}`,
      // Being on call keeps nobody from meetings.
      "TRANSP:TRANSPARENT",
      "END:VEVENT",
    ];
  });
  return [
    "BEGIN:VCALENDAR",
    "VERSION:2.0",
    "PRODID:-//Ectus-R//ectus on-call schedule//EN",
    "CALSCALE:GREGORIAN",
    `X-WR-CALNAME:${escapeText(`On call: ${team}`)}`,
    ...events,
    "END:VCALENDAR",
  ]
    .map((line) => `${fold(line)}\r\n`)
    .join("");
}

function descriptionOf({ tier, override }: Shift, name: string, team: string): string {
  const what = `${name} is ${tier} of the team ${team}${override ? ", standing in" : ""}.`;
  return `${what}\nBefore the shift: ectus doctor --on-call`;
}

/** A value of the type TEXT, RFC 5545 section 3.3.11; control characters have no place in it. */
export function escapeText(text: string): string {
  return text
    .toWellFormed()
    .replace(/\r\n?/g, "\n")
    .replace(/[\\;,]/g, "\\$&")
    .replaceAll("\n", "\\n")
    .replace(/(?!\t)\p{Cc}/gu, "");
}

const mostOctets = 75;

/** A content line folded to 75 octets, RFC 5545 section 3.1, between characters and never within one. */
export function fold(line: string): string {
  const folded: string[] = [];
  let part = "";
  let octets = 0;
  for (const character of line) {
    const length = Buffer.byteLength(character);
    if (octets + length > mostOctets) {
      folded.push(part);
      part = " ";
      octets = 1;
    }
    part += character;
    octets += length;
  }
  return [...folded, part].join("\r\n");
}

/** As RFC 5545 writes a time in UTC: `20261130T090000Z`. */
const utcText = (at: Temporal.Instant): string =>
  at.toString({ smallestUnit: "second" }).replace(/[-:]/g, "");
