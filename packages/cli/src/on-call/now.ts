// Who is on call at this moment and how to reach them: what one needs at night, first.
import {
  type CheckedContacts,
  handoffAt,
  onCallAt,
  type Person,
  type Shift,
  type TierName,
} from "@ectus/on-call";
import { CommandFault } from "../exit-codes.ts";
import { table } from "../output.ts";
import { dayAndTime, lengthText, rfc3339, timeOfDay } from "./times.ts";

type Contacts = CheckedContacts["contacts"];

export interface OnCallNow {
  readonly shift: Shift;
  readonly person: Person;
  /** Whose turn in the tier is next. */
  readonly next: Person;
}

/** One a tier, in the order of the escalation. */
export function findOnCall(contacts: Contacts, now: Temporal.Instant): OnCallNow[] {
  const shifts = onCallAt(contacts, now);
  if (shifts.length === 0)
    throw new CommandFault(
      `Nobody is on call: the rotation starts at ${dayAndTime(handoffAt(contacts.rotation, 0))}, ${contacts.rotation.timeZone}. Correct its start in the contacts file.`,
      "nobody_on_call",
    );
  return shifts.map((shift) => ({
    shift,
    person: personOf(contacts, shift.person),
    next: personOf(contacts, personAt(contacts, shift.tier, shift.to)),
  }));
}

function personAt(contacts: Contacts, tier: TierName, at: Temporal.ZonedDateTime): string {
  return onCallAt(contacts, at.toInstant()).find((shift) => shift.tier === tier)?.person ?? "";
}

/** Of an id that the file was checked to have. */
export const personOf = ({ people }: Contacts, id: string): Person => people[id] as Person;

export function onCallText(contacts: Contacts, found: readonly OnCallNow[], now: Temporal.Instant): string {
  const { rotation, escalation, teams } = contacts;
  const rows = found.map(({ shift, person, next }) => [
    shift.tier,
    person.name,
    person.phone,
    person.slack,
    timeOfDay(now.toZonedDateTimeISO(person.timeZone)),
    `${dayAndTime(shift.to)} (${lengthText(now.until(shift.to.toInstant()))})`,
    next.name,
  ]);
  const steps = escalation.map(({ tier, afterMinutes }) =>
    afterMinutes === 0 ? `${tier} at once` : `${tier} after ${afterMinutes} minutes`,
  );
  return [
    table(["TIER", "WHO", "PHONE", "SLACK", "THERE", "UNTIL", "THEN"], rows),
    "",
    `Team ${teams[rotation.team]?.name ?? rotation.team}; UNTIL is ${rotation.timeZone}, THERE the person's time of day.`,
    `Not acknowledged: ${steps.join(", ")}.`,
  ].join("\n");
}

export function onCallObject(contacts: Contacts, found: readonly OnCallNow[], now: Temporal.Instant) {
  return {
    object: "on_call",
    at: rfc3339(now.toZonedDateTimeISO(contacts.rotation.timeZone)),
    team: contacts.rotation.team,
    data: found.map(({ shift, person }) => ({
      tier: shift.tier,
      person: shift.person,
      name: person.name,
      phone: person.phone,
      slack: person.slack,
      email: person.email,
      until: rfc3339(shift.to),
      override: shift.override,
    })),
  };
}
