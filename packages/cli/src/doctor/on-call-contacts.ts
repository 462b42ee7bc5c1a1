// Checks that the team's contacts file can be used, and that whoever asks is on it.
import { errorMessage } from "@ectus/core";
import { type CheckedContacts, readContacts, type Shift, shiftsBetween } from "@ectus/on-call";
import type { ContactsSource } from "../on-call/contacts-file.ts";
import { dayAndTime } from "../on-call/times.ts";
import { type Check, fail, ok, warn } from "./check.ts";

export interface ContactsWish {
  readonly source: ContactsSource;
  /** The id of whoever asks. */
  readonly person: string | undefined;
  readonly now: Temporal.Instant;
}

const aheadDays = 366;

export async function checkContacts({ source, person, now }: ContactsWish): Promise<Check[]> {
  const name = "contacts file";
  let checked: CheckedContacts;
  try {
    checked = await readContacts(source.path, now);
  } catch (error) {
    return [fail(name, errorMessage(error), "Correct these; 'ectus on-call check' checks the file again.")];
  }
  return [
    judgeFile(name, checked, source),
    ...(person === undefined ? [] : [judgePerson(checked, person, now)]),
  ];
}

function judgeFile(name: string, { warnings }: CheckedContacts, { path, isExample }: ContactsSource): Check {
  if (isExample)
    return warn(
      name,
      `it is the example of this program (${path}), whose people nobody can call`,
      "Name your team's with --contacts or ON_CALL_CONTACTS.",
    );
  return warnings.length === 0
    ? ok(name, `${path} is valid`)
    : warn(name, warnings.join("\n"), "Correct what is not meant; 'ectus on-call check' shows this alone.");
}

function judgePerson({ contacts }: CheckedContacts, id: string, now: Temporal.Instant): Check {
  const name = "you on call";
  const person = Object.hasOwn(contacts.people, id) ? contacts.people[id] : undefined;
  if (person === undefined)
    return fail(
      name,
      `no person has the id ${JSON.stringify(id)}`,
      `Add yourself to the file, or give --person one of ${Object.keys(contacts.people).join(", ")}.`,
    );
  const reached = `${person.name} is called at ${person.phone} and told in Slack as ${person.slack}`;
  const shifts = shiftsBetween(contacts, now, now.add({ hours: aheadDays * 24 }));
  const shift = shifts.find((one) => one.person === id);
  if (shift === undefined)
    return warn(
      name,
      `${reached}; no shift of theirs within a year`,
      "Add yourself to the rotation's order, or to an override, if you are to be on call.",
    );
  return ok(name, `${reached}; ${shiftText(shift, person.timeZone, now)}`);
}

function shiftText({ tier, from, to }: Shift, timeZone: string, now: Temporal.Instant): string {
  const [begin, end] = [from, to].map((at) => dayAndTime(at.withTimeZone(timeZone)));
  return Temporal.Instant.compare(from.toInstant(), now) <= 0
    ? `${tier} now, until ${end} ${timeZone}`
    : `${tier} from ${begin} to ${end} ${timeZone}`;
}
