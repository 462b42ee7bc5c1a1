// `ectus on-call`: the table, the calendar and the check, at a fixed time.
import { mkdtemp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ICAL from "ical.js";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { runRecorded } from "../recorded-context.ts";

const example = join(import.meta.dirname, "../../../../docs/operations/contacts.yaml");
let folder: string;
let file: string;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.parse("2026-12-02T01:12:00Z") });
  folder = await mkdtemp(join(tmpdir(), "ectus-on-call-"));
  file = join(folder, "contacts.yaml");
  const text = (await readFile(example, "utf8")).replaceAll(/@example\.(com|net)/g, "@corp.test");
  await writeFile(file, text.replaceAll(/"\+\d+(\d\d)"/g, '"+4420123456$1"'));
});
afterEach(async () => {
  vi.useRealTimers();
  await rm(folder, { recursive: true });
});

const run = (...args: string[]) => runRecorded({ ON_CALL_CONTACTS: file }, "on-call", ...args);

test("now shows who to call, what time it is there, and who comes after whom", async () => {
  const { code, out, err } = await run("now");
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const [titles, primary, secondary, manager] = out.split("\n");
  expect(titles).toMatch(/^TIER +WHO +PHONE +SLACK +THERE +UNTIL +THEN$/);
  expect(primary).toMatch(
    /^primary +Grace Hopper +\+442012345602 +U00000GRACE +20:12 +Mon 2026-12-07 10:00 \(5 d 7 h\) +Alan Turing$/,
  );
  expect(secondary).toMatch(/^secondary +Alan Turing .* 01:12 /);
  expect(manager).toMatch(/^manager +Karen Spärck Jones /);
  expect(out).toContain(
    "Not acknowledged: primary at once, secondary after 10 minutes, manager after 20 minutes.\n",
  );
});

test("on the day of the handoff, now counts hours and minutes to it", async () => {
  vi.setSystemTime(Date.parse("2026-12-07T07:48:00Z"));
  expect((await run("now")).out).toContain("Mon 2026-12-07 10:00 (1 h 12 min)  Alan Turing");
  vi.setSystemTime(Date.parse("2026-12-07T08:59:01Z"));
  expect((await run("now")).out).toContain("(0 min)  Alan Turing");
});

test("now as JSON has times with their offset", async () => {
  const { out } = await run("now", "--json");
  expect(JSON.parse(out)).toMatchObject({
    object: "on_call",
    at: "2026-12-02T02:12:00+01:00",
    data: [
      { tier: "primary", person: "grace", phone: "+442012345602", until: "2026-12-07T10:00:00+01:00" },
      { tier: "secondary", person: "alan" },
      { tier: "manager", person: "karen" },
    ],
  });
});

test("before the rotation starts, now says that nobody is on call", async () => {
  vi.setSystemTime(Date.parse("2026-11-01T00:00:00Z"));
  const { code, err } = await run("now");
  expect(code).toBe(1);
  expect(err).toContain("has 1 warning. 'ectus on-call check' shows it.");
  expect(err).toContain("Nobody is on call: the rotation starts at Mon 2026-11-23 10:00, Europe/Berlin.");
});

test("the example is never taken for one's own team", async () => {
  const { out, err } = await runRecorded({}, "on-call", "now");
  expect(out).toContain("Grace Hopper");
  expect(err).toContain("the people of the example, whom nobody can call");
});

test("a schedule covers whole weeks, marks what is now and who stands in", async () => {
  const { code, out } = await run("schedule", "--from", "2026-12-02", "--weeks", "4");
  expect(code).toBe(0);
  expect(out).toMatch(/^TIER +WHO +FROM \(Europe\/Berlin\) +TO\n/);
  expect(out).toMatch(/\nprimary +Grace Hopper +Mon 2026-11-30 10:00 +Mon 2026-12-07 10:00 +now\n/);
  expect(out).toMatch(/\nprimary +Alan Turing +Thu 2026-12-24 10:00 +Sat 2026-12-26 10:00 +stands in\n/);
  expect(out).toContain("Shifts from 2026-12-02 to 2026-12-30, both at midnight in Europe/Berlin.");
});

test("a person's schedule is shown in their time zone as well, across a change of clocks", async () => {
  const { out } = await run("schedule", "--person", "radia", "--from", "2027-03-08", "--weeks", "1");
  expect(out).toMatch(/^TIER .* FROM \(America\/Los_Angeles\) +TO\n/);
  // Clocks in America change two weeks before Berlin's.
  expect(out).toMatch(
    /\nprimary +Radia Perlman +Mon 2027-03-08 10:00 +Mon 2027-03-15 10:00 +Mon 2027-03-08 01:00 +Mon 2027-03-15 02:00\n/,
  );
});

test("a schedule as JSON", async () => {
  const { out } = await run("schedule", "--weeks", "1", "--json");
  const { data, ...head } = JSON.parse(out);
  expect(head).toEqual({
    object: "on_call_schedule",
    team: "platform",
    time_zone: "Europe/Berlin",
    from: "2026-12-02T00:00:00+01:00",
    to: "2026-12-09T00:00:00+01:00",
  });
  expect(data[0]).toEqual({
    tier: "primary",
    person: "grace",
    name: "Grace Hopper",
    from: "2026-11-30T10:00:00+01:00",
    to: "2026-12-07T10:00:00+01:00",
    override: false,
  });
  expect(data).toHaveLength(6);
});

test("a calendar is read by another program, and is dated by the file", async () => {
  await utimes(file, 0, Date.parse("2026-11-20T08:00:00.5Z") / 1_000);
  const { code, out, err } = await run("schedule", "--person", "alan", "--weeks", "8", "--ical");
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const events = new ICAL.Component(ICAL.parse(out)).getAllSubcomponents("vevent");
  expect(events.map((event) => new ICAL.Event(event).summary)).toEqual([
    "Alan Turing: on call, secondary",
    "Alan Turing: on call, primary",
    "Alan Turing: on call, primary",
    "Alan Turing: on call, secondary",
    "Alan Turing: on call, primary",
  ]);
  expect(String(events[0]?.getFirstPropertyValue("dtstamp"))).toBe("2026-11-20T08:00:00Z");
});

test("nobody's shift is no calendar, and a table that says what to ask for", async () => {
  const wish = ["schedule", "--person", "ada", "--weeks", "1"];
  const calendar = await run(...wish, "--ical");
  expect(calendar).toMatchObject({ code: 1, out: "" });
  expect(calendar.err).toContain(
    "Ada Lovelace has no shift from 2026-12-02 to 2026-12-09; ask for more --weeks",
  );
  expect((await run(...wish)).out).toContain("Ada Lovelace has no shift");
  const before = await run("schedule", "--from", "2026-01-01", "--weeks", "1");
  expect(before.out).toContain(
    "Nobody has a shift from 2026-01-01 to 2026-01-08; ask for more --weeks or a later",
  );
});

test.each([
  [["schedule", "--from", "2026-02-30"], "Accepts a date like 2026-12-01"],
  [["schedule", "--from", "tomorrow"], "Accepts a date like 2026-12-01"],
  [["schedule", "--from", "9999-12-31"], "in the years 2000 to 2199"],
  [["schedule", "--weeks", "0"], "Accepts a whole number from 1 to 104"],
  [["schedule", "--person", "bob"], "no person has the id 'bob'. Accepts ada, grace"],
  [["schedule", "--ical", "--json"], "--ical and --json exclude each other"],
])("%j is used wrongly", async (args, message) => {
  const { code, err } = await run(...args);
  expect(code).toBe(2);
  expect(err).toContain(message);
});

test("check tells what the file has", async () => {
  const { code, out } = await run("check");
  expect(code).toBe(0);
  expect(out).toBe(
    `${file} is valid: 8 people, 6 of them take turns of 1 week as primary, secondary, manager.\n`,
  );
  const { out: json } = await runRecorded({}, "on-call", "check", "--json");
  expect(JSON.parse(json)).toMatchObject({
    object: "contacts_check",
    status: "warn",
    path: example,
    faults: [],
  });
  expect(JSON.parse(json).warnings[0]).toMatch(
    /contacts\.yaml:\d+:5: people\.ada\.email is an example's address/,
  );
});

test("check of a wrong file fails and tells each fault; the other commands refuse it", async () => {
  const text = await readFile(file, "utf8");
  await writeFile(file, text.replace("order: [ada, ", "order: [adam, "));
  const { code, out } = await run("check");
  expect(code).toBe(1);
  expect(out).toMatch(
    /^fail {2}\/.*contacts\.yaml:\d+:11: rotation\.order\.0 names "adam", who is not in people, accepts ada/,
  );
  const { code: jsonCode, out: json } = await run("check", "--json");
  expect(jsonCode).toBe(1);
  expect(JSON.parse(json)).toMatchObject({ status: "fail", faults: [expect.stringContaining("adam")] });
  expect(await run("now")).toMatchObject({ code: 2, out: "", err: expect.stringContaining('names "adam"') });
});
