// The rotation: examples across daylight-saving changes, and what holds for any rotation at any time.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseContacts } from "./contacts-file.ts";
import type { Contacts } from "./contacts-schema.ts";
import { handoffAt, onCallAt, type Shift, shiftDays, shiftsBetween, tiersOf } from "./rotation.ts";
import { contactsText } from "./test-contacts.ts";

const instant = (text: string): Temporal.Instant => Temporal.Instant.from(text);
const { contacts } = parseContacts(contactsText, "contacts.yaml", instant("2026-12-01T00:00:00Z"));
const told = ({ tier, person, from, to }: Shift): string =>
  `${tier} ${person} ${from.toInstant()} ${to.toInstant()}`;

test("tiers take turns, and an override cuts the turn of whoever it stands in for", () => {
  expect(
    shiftsBetween(contacts, instant("2026-11-30T09:00:00Z"), instant("2026-12-08T00:00:00Z")).map(told),
  ).toEqual([
    "primary ada 2026-11-30T09:00:00Z 2026-12-02T17:00:00Z",
    "secondary grace 2026-11-30T09:00:00Z 2026-12-07T09:00:00Z",
    "manager edsger 2026-11-30T09:00:00Z 2026-12-07T09:00:00Z",
    "primary alan 2026-12-02T17:00:00Z 2026-12-03T07:00:00Z",
    "primary ada 2026-12-03T07:00:00Z 2026-12-07T09:00:00Z",
    "primary grace 2026-12-07T09:00:00Z 2026-12-14T09:00:00Z",
    "secondary alan 2026-12-07T09:00:00Z 2026-12-14T09:00:00Z",
    "manager edsger 2026-12-07T09:00:00Z 2026-12-14T09:00:00Z",
  ]);
});

test("a moment has one person a tier, at the handoff the new one, and before the start nobody", () => {
  const at = (text: string) =>
    onCallAt(contacts, instant(text)).map(({ tier, person }) => `${tier} ${person}`);
  expect(at("2026-12-07T08:59:59.999999999Z")).toEqual(["primary ada", "secondary grace", "manager edsger"]);
  expect(at("2026-12-07T09:00:00Z")).toEqual(["primary grace", "secondary alan", "manager edsger"]);
  expect(at("2026-12-02T20:00:00Z")).toContain("primary alan");
  expect(at("2026-11-30T08:59:59Z")).toEqual([]);
});

test("the handoff stays at ten when the clocks change", () => {
  const hours = (from: string, to: string) =>
    shiftsBetween(contacts, instant(from), instant(to))
      .filter(({ tier }) => tier === "primary")
      .map((shift) => [shift.from.toPlainDateTime().toString(), shift.from.until(shift.to).total("hours")]);
  expect(hours("2027-03-24T00:00:00Z", "2027-03-25T00:00:00Z")).toEqual([["2027-03-22T10:00:00", 167]]);
  expect(hours("2027-10-30T00:00:00Z", "2027-11-02T00:00:00Z")).toEqual([
    ["2027-10-25T10:00:00", 169],
    ["2027-11-01T10:00:00", 168],
  ]);
});

const zones = [
  ...["UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata"],
  ...["Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca", "America/Havana"],
];
const people = ["a", "b", "c", "d", "e", "f", "g"];
const weekdayNames = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] as const;

/** Rotations from 1996 to 2039: leap days, and every kind of clock change. */
const rotations: fc.Arbitrary<Contacts> = fc
  .record({
    day: fc.integer({ min: 0, max: 44 * 365 }),
    timeZone: fc.constantFrom(...zones),
    minute: fc.integer({ min: 0, max: 1439 }),
    shift: fc.oneof(
      fc.integer({ min: 1, max: 4 }).map((weeks) => `${weeks} weeks`),
      fc.constantFrom("1 day", "2 days", "3 days", "5 days", "10 days"),
    ),
    order: fc.shuffledSubarray(people, { minLength: 2 }),
    offset: fc.integer({ min: -63, max: 63 }),
  })
  .map(({ day, timeZone, minute, shift, order, offset }) => {
    const start = Temporal.PlainDate.from("1996-01-01").add({ days: day });
    const time = Temporal.PlainTime.from("00:00")
      .add({ minutes: minute })
      .toString({ smallestUnit: "minute" });
    const weekday = weekdayNames[start.dayOfWeek - 1] ?? "monday";
    return {
      ...contacts,
      overrides: [],
      rotation: {
        team: "platform",
        start: start.toString(),
        timeZone,
        handoff: shift.includes("week") ? { weekday, time } : { time },
        shift,
        order,
        tiers: { primary: { offset: 0 }, secondary: { offset }, manager: { order: ["x", "y"] } },
      },
    };
  });

const moments = fc.tuple(rotations, fc.integer({ min: 0, max: 3 * 365 * 24 * 60 }));
const after = ({ rotation }: Contacts, minutes: number): Temporal.Instant =>
  handoffAt(rotation, 0).toInstant().add({ minutes });

describe("for any rotation", () => {
  test("every moment has exactly one person in each tier", () => {
    fc.assert(
      fc.property(moments, ([one, minutes]) => {
        const at = after(one, minutes);
        const shifts = onCallAt(one, at);
        expect(shifts.map(({ tier }) => tier)).toEqual(tiersOf(one.rotation));
        for (const { from, to } of shifts) {
          expect(Temporal.Instant.compare(from.toInstant(), at)).toBeLessThanOrEqual(0);
          expect(Temporal.Instant.compare(at, to.toInstant())).toBe(-1);
        }
      }),
    );
  });

  test("handoffs are at the stated local time, or at the end of the hour that the clocks skip", () => {
    fc.assert(
      fc.property(rotations, fc.integer({ min: 0, max: 400 }), (one, index) => {
        const { rotation } = one;
        const at = handoffAt(rotation, index);
        const wanted = Temporal.PlainDate.from(rotation.start)
          .add({ days: index * shiftDays(rotation) })
          .toPlainDateTime(rotation.handoff.time);
        if (at.toPlainDateTime().equals(wanted)) return;
        const { timeZone } = rotation;
        expect(wanted.toZonedDateTime(timeZone, { disambiguation: "earlier" }).equals(at)).toBe(false);
        expect(Temporal.PlainDateTime.compare(wanted, at.toPlainDateTime())).toBe(-1);
      }),
    );
  });

  test("shifts follow each other without gap or overlap", () => {
    fc.assert(
      fc.property(moments, fc.integer({ min: 1, max: 120 }), ([one, minutes], days) => {
        const from = after(one, minutes);
        const to = from.add({ hours: days * 24 });
        for (const tier of tiersOf(one.rotation)) {
          const shifts = shiftsBetween(one, from, to).filter((shift) => shift.tier === tier);
          expect(Temporal.Instant.compare(shifts[0]?.from.toInstant() as Temporal.Instant, from)).not.toBe(1);
          expect(Temporal.Instant.compare(shifts.at(-1)?.to.toInstant() as Temporal.Instant, to)).not.toBe(
            -1,
          );
          for (const [index, shift] of shifts.slice(1).entries())
            expect(shift.from.equals(shifts[index]?.to as Temporal.ZonedDateTime)).toBe(true);
        }
      }),
    );
  });

  test("shifts are shared out fairly: at any time nobody has had two more than another", () => {
    fc.assert(
      fc.property(rotations, fc.integer({ min: 1, max: 60 }), (one, count) => {
        const { rotation } = one;
        // Samoa's clocks skipped a day in 2011, and with it a shift of a day.
        fc.pre(rotation.timeZone !== "Pacific/Apia");
        const until = handoffAt(rotation, count).toInstant();
        for (const tier of ["primary", "secondary"]) {
          const counts = new Map(rotation.order.map((person) => [person, 0]));
          for (const shift of shiftsBetween(one, after(one, 0), until))
            if (shift.tier === tier) counts.set(shift.person, (counts.get(shift.person) ?? 0) + 1);
          expect([...counts.values()].reduce((sum, times) => sum + times, 0)).toBe(count);
          expect(Math.max(...counts.values()) - Math.min(...counts.values())).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  test("overrides leave no gap and no overlap, and hold for exactly their time", () => {
    const offsets = fc.uniqueArray(fc.integer({ min: -1_000, max: 100_000 }), { minLength: 2, maxLength: 8 });
    fc.assert(
      fc.property(rotations, offsets, (one, minutes) => {
        const { rotation } = one;
        const times = minutes
          .sort((a, b) => a - b)
          .map((many) => after(one, many).toZonedDateTimeISO(rotation.timeZone).toPlainDateTime())
          .map((at) => at.toString({ smallestUnit: "minute" }));
        const overrides = times
          .map((from, index) => ({
            tier: "primary" as const,
            person: "z",
            from,
            to: times[index + 1] ?? from,
          }))
          .filter(({ from, to }, index) => index % 2 === 0 && from < to);
        const whole = { ...one, overrides };
        const from = after(one, 0);
        const shifts = shiftsBetween(whole, from, from.add({ minutes: 100_000 })).filter(
          ({ tier }) => tier === "primary",
        );
        for (const [index, shift] of shifts.slice(1).entries())
          expect(shift.from.equals(shifts[index]?.to as Temporal.ZonedDateTime)).toBe(true);
        for (const shift of shifts) expect(shift.override).toBe(shift.person === "z");
        for (const override of overrides) {
          const [begin, end] = [override.from, override.to].map((text) =>
            Temporal.PlainDateTime.from(text).toZonedDateTime(rotation.timeZone).toInstant(),
          ) as [Temporal.Instant, Temporal.Instant];
          const start = Temporal.Instant.compare(begin, from) < 0 ? from : begin;
          if (Temporal.Instant.compare(start, end) >= 0) continue;
          const [first] = onCallAt(whole, start);
          expect(first).toMatchObject({ person: "z", override: true });
          const last = onCallAt(whole, end).find(({ tier }) => tier === "primary");
          if (!overrides.some(({ from: at }) => at === override.to)) expect(last?.override).toBe(false);
        }
      }),
    );
  });
});
