// The rotation of some weeks, as a table and as an object.
import { type CheckedContacts, type Shift, shiftsBetween } from "@ectus/on-call";
import { table } from "../output.ts";
import { personOf } from "./now.ts";
import { dayAndTime, rfc3339 } from "./times.ts";

type Contacts = CheckedContacts["contacts"];

export interface ScheduleWish {
  /** The first day; today by default. */
  readonly from?: Temporal.PlainDate;
  readonly weeks: number;
  /** Only shifts of this one. */
  readonly person?: string;
}

export interface Schedule {
  readonly from: Temporal.ZonedDateTime;
  readonly to: Temporal.ZonedDateTime;
  readonly person: string | undefined;
  readonly shifts: readonly Shift[];
}

/** Shifts that are not over at the begin of the first day and begin before the last one ends. */
export function planSchedule(contacts: Contacts, wish: ScheduleWish, now: Temporal.Instant): Schedule {
  const { timeZone } = contacts.rotation;
  const date = wish.from ?? now.toZonedDateTimeISO(timeZone).toPlainDate();
  const from = date.toZonedDateTime(timeZone);
  const to = date.add({ weeks: wish.weeks }).toZonedDateTime(timeZone);
  const { person } = wish;
  const shifts = shiftsBetween(contacts, from.toInstant(), to.toInstant()).filter(
    (shift) => person === undefined || shift.person === person,
  );
  return { from, to, person, shifts };
}

export function scheduleText(contacts: Contacts, schedule: Schedule, now: Temporal.Instant): string {
  const { from, to, person, shifts } = schedule;
  const own = contacts.rotation.timeZone;
  const theirs = person === undefined ? own : personOf(contacts, person).timeZone;
  if (shifts.length === 0) return noShifts(contacts, schedule);
  const rows = shifts.map((shift) => [
    shift.tier,
    personOf(contacts, shift.person).name,
    dayAndTime(shift.from),
    dayAndTime(shift.to),
    ...(theirs === own
      ? []
      : [dayAndTime(shift.from.withTimeZone(theirs)), dayAndTime(shift.to.withTimeZone(theirs))]),
    [isNow(shift, now) ? "now" : "", shift.override ? "stands in" : ""].filter(Boolean).join(", "),
  ]);
  const titles = ["TIER", "WHO", `FROM (${own})`, "TO"];
  return [
    table([...titles, ...(theirs === own ? [] : [`FROM (${theirs})`, "TO"]), ""], rows),
    "",
    `Shifts from ${from.toPlainDate()} to ${to.toPlainDate()}, both at midnight in ${own}.`,
  ].join("\n");
}

/** That there is nothing to show, and what to ask for. */
export function noShifts(contacts: Contacts, { from, to, person }: Schedule): string {
  const who = person === undefined ? "Nobody has a shift" : `${personOf(contacts, person).name} has no shift`;
  return `${who} from ${from.toPlainDate()} to ${to.toPlainDate()}; ask for more --weeks or a later --from.`;
}

export function scheduleObject(contacts: Contacts, { from, to, shifts }: Schedule) {
  return {
    object: "on_call_schedule",
    team: contacts.rotation.team,
    time_zone: contacts.rotation.timeZone,
    from: rfc3339(from),
    to: rfc3339(to),
    data: shifts.map((shift) => ({
      tier: shift.tier,
      person: shift.person,
      name: personOf(contacts, shift.person).name,
      from: rfc3339(shift.from),
      to: rfc3339(shift.to),
      override: shift.override,
    })),
  };
}

const isNow = ({ from, to }: Shift, now: Temporal.Instant): boolean =>
  Temporal.Instant.compare(from.toInstant(), now) <= 0 && Temporal.Instant.compare(now, to.toInstant()) < 0;
