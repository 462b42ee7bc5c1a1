// The calendar is read back by a parser that is not ours, and the rules of its text hold for any text.
import fc from "fast-check";
import ICAL from "ical.js";
import { expect, test } from "vitest";
import { parseContacts } from "./contacts-file.ts";
import { escapeText, fold, toICalendar } from "./icalendar.ts";
import { shiftsBetween } from "./rotation.ts";
import { contactsText } from "./test-contacts.ts";

const revised = Temporal.Instant.from("2026-11-20T08:30:15.123Z");

function calendarOf(text: string): string {
  const { contacts } = parseContacts(text, "contacts.yaml", revised);
  const from = Temporal.Instant.from("2026-11-30T09:00:00Z");
  return toICalendar(contacts, shiftsBetween(contacts, from, from.add({ hours: 24 * 7 })), revised);
}

const eventsOf = (calendar: string) =>
  new ICAL.Component(ICAL.parse(calendar))
    .getAllSubcomponents("vevent")
    .map((event) => ({ event: new ICAL.Event(event), stamp: event.getFirstPropertyValue("dtstamp") }));

test("another parser finds every shift, at its time", () => {
  const events = eventsOf(calendarOf(contactsText));
  expect(
    events.map(({ event }) => [
      event.summary,
      event.startDate.toJSDate().toJSON(),
      event.endDate.toJSDate().toJSON(),
    ]),
  ).toEqual([
    ["Ada Lovelace: on call, primary", "2026-11-30T09:00:00.000Z", "2026-12-02T17:00:00.000Z"],
    ["Grace Hopper: on call, secondary", "2026-11-30T09:00:00.000Z", "2026-12-07T09:00:00.000Z"],
    ["Edsger Dijkstra: on call, manager", "2026-11-30T09:00:00.000Z", "2026-12-07T09:00:00.000Z"],
    ["Alan Turing: on call, primary", "2026-12-02T17:00:00.000Z", "2026-12-03T07:00:00.000Z"],
    ["Ada Lovelace: on call, primary", "2026-12-03T07:00:00.000Z", "2026-12-07T09:00:00.000Z"],
  ]);
  for (const { stamp } of events) expect(String(stamp)).toBe("2026-11-20T08:30:15Z");
  // Being on call keeps nobody from meetings.
  for (const { event } of events) expect(event.component.getFirstPropertyValue("transp")).toBe("TRANSPARENT");
  expect(new Set(events.map(({ event }) => event.uid)).size).toBe(events.length);
  expect(events[3]?.event.description).toContain("Alan Turing is primary of the team Platform, standing in.");
});

test("a shift keeps its UID when somebody else takes it, and the same file gives the same bytes", () => {
  const calendar = calendarOf(contactsText);
  expect(calendarOf(contactsText)).toBe(calendar);
  const swapped = calendarOf(contactsText.replace("order: [ada, grace, alan]", "order: [grace, ada, alan]"));
  const uids = (text: string) => eventsOf(text).map(({ event }) => event.uid);
  expect(uids(swapped)).toEqual(uids(calendar));
});

test("it carries no telephone number, since calendars are shared", () => {
  expect(calendarOf(contactsText)).not.toMatch(/\+\d{6}/);
});

test("lines end with CRLF and have 75 octets at most", () => {
  const name = "Ada; Lovelace, née Byron\\\\ 🧮".repeat(6);
  const calendar = calendarOf(contactsText.replace("Ada Lovelace", `"${name.slice(0, 150)}"`));
  expect(calendar.endsWith("\r\n")).toBe(true);
  for (const line of calendar.slice(0, -2).split("\r\n")) {
    expect(line).not.toMatch(/[\r\n]/);
    expect(Buffer.byteLength(line)).toBeLessThanOrEqual(75);
  }
  expect(eventsOf(calendar)[0]?.event.summary).toBe(
    `${name.slice(0, 150).replaceAll("\\\\", "\\")}: on call, primary`,
  );
});

const anyText = fc.string({ unit: "grapheme", maxLength: 300 });

test("folding any line is undone by joining it, and cuts no character", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const line = text.replace(/[\r\n]/g, "");
      const parts = fold(line).split("\r\n");
      for (const part of parts) {
        expect(Buffer.byteLength(part)).toBeLessThanOrEqual(75);
        expect(part.isWellFormed()).toBe(true);
      }
      expect(parts.map((part, index) => (index === 0 ? part : part.slice(1))).join("")).toBe(line);
    }),
  );
});

test("any text is read back by the other parser as it was, but for control characters", () => {
  fc.assert(
    fc.property(
      fc.oneof(anyText, fc.string({ unit: "binary" }), fc.stringMatching(/^[\\;,\n\r\tnN:"]*$/)),
      (text) => {
        const lines = ["BEGIN:VCALENDAR", fold(`DESCRIPTION:${escapeText(text)}`), "END:VCALENDAR", ""].join(
          "\r\n",
        );
        const got = ICAL.parse(lines)[1][0][3];
        expect(got).toBe(
          text
            .toWellFormed()
            .replace(/\r\n?/g, "\n")
            .replace(/(?![\t\n])\p{Cc}/gu, ""),
        );
      },
    ),
  );
});
