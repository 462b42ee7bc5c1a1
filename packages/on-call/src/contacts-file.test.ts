// The contacts file: what is accepted, and the message at each mistake that a person makes in one.
import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import { parseContacts, readContacts } from "./contacts-file.ts";
import { contactsText } from "./test-contacts.ts";

const now = Temporal.Instant.from("2026-12-01T12:00:00Z");

/** Messages at the file with each `[old, new]` put in place. */
function faultsWith(...changes: readonly (readonly [string, string])[]): string[] {
  try {
    parseContacts(changed(changes), "contacts.yaml", now);
  } catch (error) {
    expect(error).toBeInstanceOf(EctusError);
    expect(error).toMatchObject({ code: "invalid_config" });
    return (error as Error).message.split("\n").slice(1);
  }
  return [];
}

const warningsWith = (...changes: readonly (readonly [string, string])[]) =>
  parseContacts(changed(changes), "contacts.yaml", now).warnings;

function changed(changes: readonly (readonly [string, string])[]): string {
  let text = contactsText;
  for (const [from, to] of changes) {
    expect(text).toContain(from);
    text = text.replace(from, to);
  }
  return text;
}

test("a valid file has no fault and no warning", () => {
  const { contacts, warnings } = parseContacts(contactsText, "contacts.yaml", now);
  expect(warnings).toEqual([]);
  expect(contacts.people.ada?.phone).toBe("+442012345601");
});

test("a file that is not there, or not YAML, is told with its name and place", async () => {
  await expect(readContacts("/nowhere/contacts.yaml", now)).rejects.toThrow(
    /\/nowhere\/contacts\.yaml: cannot be read \(.*ENOENT/,
  );
  expect(faultsWith(["people:\n", "people: [\n"])[0]).toMatch(
    /^ {2}contacts\.yaml:\d+:\d+: is not valid YAML: /,
  );
  expect(faultsWith(["  alan: { name", "  ada: { name"])).toEqual([
    expect.stringMatching(/contacts\.yaml:4:3: is not valid YAML: .*unique/),
  ]);
});

test("a file without end, or of another kind, is refused by what is wrong with it", async () => {
  await expect(readContacts("/dev/zero", now)).rejects.toThrow(
    "/dev/zero: is larger than 256 KiB, accepts a contacts file",
  );
  const noYaml = Array.from({ length: 100 }, () => "}\n").join("");
  expect(() => parseContacts(noYaml, "photo.yaml", now)).toThrow(/^.*(\n.*is not valid YAML.*){50}$/);
  const people = Array.from({ length: 100 }, (_, index) => `  p${index}: 1\n`).join("");
  expect(faultsWith(["people:\n", `people:\n${people}`])).toHaveLength(50);
  expect(() => parseContacts("# nothing yet\n", "new.yaml", now)).toThrow(
    "new.yaml:1:1: the file got nothing, accepts a mapping with people, teams",
  );
});

test("every fault of the schema is told at once, with line, column and what is accepted", () => {
  expect(
    faultsWith(
      ['phone: "+442012345601"', "phone: +442012345601"],
      ["America/New_York", "America/New York"],
      ["start: 2026-11-30", "start: 2026-02-30"],
      ["shift: 1 week", "shift: weekly"],
      ["businessHours:", "buisnessHours:"],
    ),
  ).toEqual([
    "  contacts.yaml:1:1: businessHours is missing, accepts a mapping with timeZone, days, from, to",
    '  contacts.yaml:2:77: people.ada.phone got 442012345601, accepts a phone number with its country, in quotes and without spaces (E.164): "+442079460123"',
    '  contacts.yaml:3:32: people.grace.timeZone got "America/New York", accepts a time zone of the IANA database, such as Europe/Berlin or UTC',
    '  contacts.yaml:10:3: rotation.start got "2026-02-30", accepts the date of the first handoff, such as 2026-11-30',
    '  contacts.yaml:13:3: rotation.shift got "weekly", accepts how long a shift is: 1 week, 2 weeks, 3 days, at most 52 of them',
    "  contacts.yaml:21:1: buisnessHours is not known here, accepts people, teams, rotation, overrides, businessHours, escalation, vendors",
  ]);
});

test.each([
  [
    "an unknown person",
    "order: [ada, grace, alan]",
    "order: [ada, grace, alen]",
    'rotation.order.2 names "alen", who is not in people, accepts ada, grace, alan, edsger',
  ],
  [
    "somebody twice",
    "order: [ada, grace, alan]",
    "order: [ada, grace, ada]",
    'rotation.order.2 has "ada" a second time; remove one',
  ],
  [
    "an inherited name",
    "order: [edsger]",
    "order: [constructor]",
    'rotation.tiers.manager.order.0 names "constructor", who is not in people',
  ],
  [
    "an outsider",
    "order: [ada, grace, alan]",
    "order: [ada, grace, edsger]",
    'rotation.order.2 names "edsger", who is no member of the team platform',
  ],
  [
    "an unknown team",
    "team: platform",
    "team: platfrom",
    'rotation.team names "platfrom", which is not in teams, accepts platform',
  ],
  ["an id in capitals", "  edsger: {", "  Edsger: {", "people.Edsger has an id that is not usable"],
  ["a shared phone", "+442012345603", "+442012345601", "people.alan.phone is that of ada as well"],
  [
    "a day that is no handoff",
    "start: 2026-11-30",
    "start: 2026-12-01",
    "rotation.start got 2026-12-01, which is a tuesday, accepts a monday",
  ],
  [
    "days with a weekday",
    "shift: 1 week",
    "shift: 3 days",
    "rotation.handoff.weekday does not fit shifts of 3 days",
  ],
  [
    "weeks without a weekday",
    "weekday: monday, ",
    "",
    "rotation.handoff.weekday is missing, accepts monday, tuesday",
  ],
  [
    "a tier without anybody",
    "secondary: { offset: 1 }",
    "secondary: {}",
    "rotation.tiers.secondary has neither offset nor order",
  ],
  [
    "a tier of two minds",
    "{ offset: 1 }",
    "{ offset: 1, order: [ada] }",
    "rotation.tiers.secondary has both offset and order",
  ],
  [
    "primary and secondary at once",
    "{ offset: 1 }",
    "{ offset: 3 }",
    "rotation.tiers.secondary has ada on call from 2026-11-30 10:00, who is primary at that time",
  ],
  [
    "primary and manager at once, once in a cycle",
    "[edsger]",
    "[edsger, alan]",
    "rotation.tiers.manager has alan on call from 2026-12-07 10:00, who is secondary at that time",
  ],
  [
    "primary and manager at once, later than both orders are long",
    "[edsger]",
    "[edsger, ada]",
    "rotation.tiers.manager has ada on call from 2026-12-21 10:00, who is primary at that time",
  ],
  [
    "an override by who is on call anyway elsewhere",
    "person: alan, from",
    "person: grace, from",
    "overrides.0 makes grace primary and secondary at once from 2026-12-02 18:00",
  ],
  [
    "an override that runs into another shift",
    "to: 2026-12-03T08:00",
    "to: 2026-12-08T08:00",
    "overrides.0 makes alan primary and secondary at once from 2026-12-07 10:00",
  ],
  [
    "an override that ends before it begins",
    "to: 2026-12-03T08:00",
    "to: 2026-12-02T08:00",
    'overrides.0.to got "2026-12-02T08:00", accepts a time after 2026-12-02T18:00',
  ],
  [
    "an override from a time that clocks skip, which would never begin",
    "from: 2026-12-02T18:00, to: 2026-12-03T08:00",
    "from: 2027-03-28T02:30, to: 2027-03-28T03:15",
    'overrides.0.from got "2027-03-28T02:30", which the clocks of Europe/Berlin skip that day, accepts a time that they show, such as 2027-03-28T03:30',
  ],
  [
    "overlapping overrides",
    "to: 2026-12-03T08:00 }",
    "to: 2026-12-03T08:00 }\n  - { tier: primary, person: edsger, from: 2026-12-03T07:59, to: 2026-12-03T09:00 }",
    "overrides.1 overlaps the override 0 of the same tier",
  ],
  [
    "a gap at the begin of the escalation",
    "afterMinutes: 0 }",
    "afterMinutes: 5 }",
    "escalation.0 begins with primary after 5 minutes, accepts primary after 0 minutes",
  ],
  [
    "an escalation that goes back",
    "afterMinutes: 20",
    "afterMinutes: 10",
    "escalation.2.afterMinutes got 10, accepts more than the 10",
  ],
  [
    "a tier twice in the escalation",
    "{ tier: manager, after",
    "{ tier: secondary, after",
    "escalation.2.tier has secondary a second time",
  ],
  [
    "an escalation to nobody",
    "    manager: { order: [edsger] }\n",
    "",
    "escalation.2.tier names the tier manager, which the rotation does not have, accepts primary, secondary",
  ],
  [
    "no business hours",
    'to: "17:00"',
    'to: "09:00"',
    'businessHours.to got "09:00", accepts a time after 09:00',
  ],
  [
    "a vendor that cannot be reached",
    ", url: https://support.corp.test",
    "",
    "vendors.postgres cannot be reached, accepts at least one of phone, email, url",
  ],
])("%s is a fault", (_, from, to, message) => {
  expect(faultsWith([from, to]).filter((fault) => fault.includes(message))).toHaveLength(1);
});

test("overrides may touch, and two may swap the tiers of a night", () => {
  expect(
    faultsWith([
      "- { tier: primary, person: alan, from: 2026-12-02T18:00, to: 2026-12-03T08:00 }",
      `- { tier: primary, person: grace, from: 2026-12-02T18:00, to: 2026-12-03T08:00 }
  - { tier: primary, person: alan, from: 2026-12-03T08:00, to: 2026-12-03T09:00 }
  - { tier: secondary, person: ada, from: 2026-12-02T18:00, to: 2026-12-03T08:00 }`,
    ]),
  ).toEqual([]);
});

test.each([
  ["an example's address", "ada@corp.test", "ada@example.com", "people.ada.email is an example's address"],
  ["an example's number", "+442012345601", "+442079460001", "people.ada.phone is a number for examples"],
  [
    "a start to come",
    "start: 2026-11-30",
    "start: 2026-12-07",
    "rotation.start is yet to come: nobody is on call until 2026-12-07 10:00",
  ],
  [
    "an override of the past",
    "start: 2026-11-30",
    "start: 2026-12-07",
    "overrides.0 ends before the rotation starts",
  ],
  [
    "an override by whose turn it is",
    "person: alan, from",
    "person: ada, from",
    "overrides.0 does nothing: it is the turn of ada anyway",
  ],
  [
    "nobody who leads",
    "roles: [incident-commander]",
    "roles: [scribe]",
    "people has nobody with the role incident-commander",
  ],
  [
    "a tier that nothing reaches",
    "  - { tier: manager, afterMinutes: 20 }\n",
    "",
    "rotation.tiers.manager is in no step of the escalation",
  ],
])("%s is a warning", (_, from, to, message) => {
  expect(warningsWith([from, to]).filter((warning) => warning.includes(message))).toHaveLength(1);
});

test("a rotation of one person is a warning", () => {
  const warnings = warningsWith(
    ["order: [ada, grace, alan]", "order: [ada]"],
    ["secondary: { offset: 1 }", "secondary: { order: [grace] }"],
  );
  expect(warnings).toEqual([
    "contacts.yaml:14:3: rotation.order has one person, who is on call without an end; add a second",
  ]);
});
