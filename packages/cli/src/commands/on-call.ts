// `ectus on-call`: who is on call, now and in the coming weeks, computed from the contacts file.
import { stat } from "node:fs/promises";
import { EctusError } from "@ectus/core";
import { type CheckedContacts, readContacts, tiersOf, toICalendar } from "@ectus/on-call";
import { type Command, InvalidArgumentError } from "commander";
import type { CommandContext } from "../command-context.ts";
import { CommandEnded, CommandFault } from "../exit-codes.ts";
import {
  type ContactsFlags,
  contactsHelp,
  contactsSource,
  readTeamContacts,
  withContactsFlags,
} from "../on-call/contacts-file.ts";
import { findOnCall, onCallObject, onCallText } from "../on-call/now.ts";
import { noShifts, planSchedule, scheduleObject, scheduleText } from "../on-call/schedule.ts";
import { print, printable } from "../output.ts";

interface OnCallFlags extends ContactsFlags {
  readonly json?: boolean;
}

interface ScheduleFlags extends OnCallFlags {
  readonly from?: Temporal.PlainDate;
  readonly weeks: number;
  readonly person?: string;
  readonly ical?: boolean;
}

// Two years; a rotation that is planned further ahead than people are is fiction.
const mostWeeks = 104;

export function addOnCall(program: Command, context: CommandContext): void {
  const onCall = program
    .command("on-call")
    .description("show who is on call, now and later")
    .addHelpText(
      "after",
      `${contactsHelp}

Examples:
  ectus on-call now
  ectus on-call schedule --weeks 8
  ectus on-call check`,
    );
  const add = (name: string, description: string): Command =>
    withContactsFlags(onCall.command(name))
      .description(description)
      .option("--json", "print one JSON object, for programs");

  add("now", "show who is on call at this moment, and how to reach them")
    .addHelpText("after", `${contactsHelp}\n\nExamples:\n  ectus on-call now\n  ectus on-call now --json`)
    .action(async (flags: OnCallFlags) => {
      const now = currentTime();
      const { contacts } = await readTeamContacts(context, flags, now);
      const found = findOnCall(contacts, now);
      print(context, flags, onCallObject(contacts, found, now), () => onCallText(contacts, found, now));
    });

  const schedule = add("schedule", "show the shifts of some weeks, as a table or for calendars")
    .option("--from <date>", "first day, such as 2026-12-01; today by default", parseDate)
    .option("--weeks <count>", "how many weeks", parseWeeks, 4)
    .option("--person <id>", "only the shifts of this one, in their own time zone as well")
    .option("--ical", "print an iCalendar file (RFC 5545), which calendars import or subscribe to")
    .addHelpText(
      "after",
      `${contactsHelp}

A calendar has names and times and no telephone numbers. A shift keeps its UID, so that importing the calendar again
changes its events in place of adding others. An event that is no longer in it stays in a calendar that imported it, and
goes from one that subscribes.

Examples:
  ectus on-call schedule --weeks 8
  ectus on-call schedule --person ada --weeks 26 --ical > on-call.ics`,
    );
  schedule.action(async (flags: ScheduleFlags) => {
    if (flags.ical === true && flags.json === true)
      schedule.error("error: --ical and --json exclude each other. Give one of them.");
    const now = currentTime();
    const { contacts, path } = await readTeamContacts(context, flags, now);
    refuseUnknown(contacts, flags.person);
    const planned = planSchedule(contacts, flags, now);
    if (flags.ical !== true) {
      print(context, flags, scheduleObject(contacts, planned), () => scheduleText(contacts, planned, now));
      return;
    }
    // RFC 5545 knows no calendar without a component.
    if (planned.shifts.length === 0) throw new CommandFault(noShifts(contacts, planned), "no_shifts");
    const { mtimeMs } = await stat(path);
    const revised = Temporal.Instant.fromEpochMilliseconds(Math.floor(mtimeMs));
    context.stdout(toICalendar(contacts, planned.shifts, revised));
  });

  add("check", "check the contacts file, and say what to correct")
    .addHelpText(
      "after",
      `${contactsHelp}

It exits with 1 if the file cannot be used. A warning is what works and is most likely not meant.

Examples:
  ectus on-call check
  ectus on-call check --contacts contacts.yaml --json`,
    )
    .action((flags: OnCallFlags) => checkFile(context, flags));

  function refuseUnknown({ people }: CheckedContacts["contacts"], person: string | undefined): void {
    if (person !== undefined && !Object.hasOwn(people, person))
      schedule.error(
        `error: no person has the id '${printable(person)}'. Accepts ${Object.keys(people).join(", ")}.`,
      );
  }
}

async function checkFile(context: CommandContext, flags: OnCallFlags): Promise<void> {
  const { path, isExample } = contactsSource(context, flags);
  try {
    const { contacts, warnings } = await readContacts(path, currentTime());
    const { people, rotation } = contacts;
    const object = {
      object: "contacts_check",
      status: warnings.length > 0 ? "warn" : "ok",
      path,
      faults: [],
      warnings,
    };
    print(context, flags, object, () =>
      [
        `${printable(path)} is valid${isExample ? " (the example of this program)" : ""}: ${Object.keys(people).length} people, ${rotation.order.length} of them take turns of ${rotation.shift} as ${tiersOf(rotation).join(", ")}.`,
        ...warnings.map((warning) => `warn  ${printable(warning)}`),
      ].join("\n"),
    );
  } catch (error) {
    if (!(error instanceof EctusError) || error.code !== "invalid_config") throw error;
    const faults = String(error.details.faults)
      .split("\n")
      .map((fault) => fault.trim());
    print(context, flags, { object: "contacts_check", status: "fail", path, faults, warnings: [] }, () =>
      faults.map((fault) => `fail  ${printable(fault)}`).join("\n"),
    );
    throw new CommandEnded();
  }
}

const currentTime = (): Temporal.Instant => Temporal.Instant.fromEpochMilliseconds(Date.now());

function parseDate(text: string): Temporal.PlainDate {
  try {
    // In other centuries iCalendar and time zones know less than they seem to.
    if (/^2[01]\d{2}-\d{2}-\d{2}$/.test(text)) return Temporal.PlainDate.from(text);
  } catch {
    // Said below.
  }
  throw new InvalidArgumentError("Accepts a date like 2026-12-01, in the years 2000 to 2199.");
}

function parseWeeks(text: string): number {
  const weeks = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (weeks < 1 || weeks > mostWeeks)
    throw new InvalidArgumentError(`Accepts a whole number from 1 to ${mostWeeks}.`);
  return weeks;
}
