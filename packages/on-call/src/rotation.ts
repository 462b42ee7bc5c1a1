// Who is on call, when: computed from the contacts file. A handoff is at a local time, whatever the clocks of the
// rotation's time zone do meanwhile, so a shift of a week has 167 or 169 hours twice a year.
import { type Contacts, type Override, type Rotation, type TierName, tierNames } from "./contacts-schema.ts";

/** Of one person in one tier; times are of the rotation's time zone. */
export interface Shift {
  readonly tier: TierName;
  /** The person's id. */
  readonly person: string;
  readonly from: Temporal.ZonedDateTime;
  readonly to: Temporal.ZonedDateTime;
  /** Whether somebody stands in for whose turn it is. */
  readonly override: boolean;
}

/** The tiers that the rotation has, in the order of the escalation. */
export const tiersOf = ({ tiers }: Rotation): TierName[] =>
  tierNames.filter((tier) => tiers[tier] !== undefined);

/** Shifts of every tier that are not over at `from` and begin before `to`, by their begin. Before the start are none. */
export function shiftsBetween(contacts: Contacts, from: Temporal.Instant, to: Temporal.Instant): Shift[] {
  return inTiers(contacts, from, to).sort((a, b) => Temporal.ZonedDateTime.compare(a.from, b.from));
}

/** Who is on call at a moment, one shift a tier in the tiers' order; none before the rotation's start. */
export function onCallAt(contacts: Contacts, at: Temporal.Instant): Shift[] {
  return inTiers(contacts, at, at.add({ nanoseconds: 1 }));
}

/** The begin of the shift with this index, the rotation's first being 0. */
export function handoffAt(rotation: Rotation, index: number): Temporal.ZonedDateTime {
  const { start, timeZone, handoff } = rotation;
  // A time that the clocks skip is as much later as they skip; of one that they show twice it is the first.
  return Temporal.PlainDate.from(start)
    .add({ days: index * shiftDays(rotation) })
    .toZonedDateTime({ timeZone, plainTime: handoff.time });
}

/** Whose turn it is, overrides aside. */
export function turnOf({ order: all, tiers }: Rotation, tier: TierName, index: number): string {
  const { offset = 0, order = all } = tiers[tier] ?? {};
  const place = (index + offset) % order.length;
  return order.at(place) as string;
}

export function shiftDays({ shift }: Rotation): number {
  const [count, unit = ""] = shift.split(" ");
  return Number(count) * (unit.startsWith("week") ? 7 : 1);
}

const inTiers = (contacts: Contacts, from: Temporal.Instant, to: Temporal.Instant): Shift[] =>
  tiersOf(contacts.rotation).flatMap((tier) => tierShifts(contacts, tier, from, to));

/** Its times are of the rotation's time zone. */
export const overrideTime = ({ timeZone }: Rotation, { from, to }: Override) => ({
  from: Temporal.PlainDateTime.from(from).toZonedDateTime(timeZone),
  to: Temporal.PlainDateTime.from(to).toZonedDateTime(timeZone),
});

function tierShifts(
  contacts: Contacts,
  tier: TierName,
  from: Temporal.Instant,
  to: Temporal.Instant,
): Shift[] {
  const { rotation } = contacts;
  const turns: Shift[] = [];
  for (let index = Math.max(0, indexAt(rotation, from)); ; index += 1) {
    const [begin, end] = [handoffAt(rotation, index), handoffAt(rotation, index + 1)];
    if (!isBefore(begin, to)) break;
    turns.push({ tier, person: turnOf(rotation, tier, index), from: begin, to: end, override: false });
  }
  return withOverrides(contacts, tier, turns).filter(
    (shift) =>
      isBefore(shift.from, to) &&
      isBefore(from, shift.to) &&
      // Where a whole day is skipped, as in Samoa in 2011, a handoff may come at the same moment as the next.
      isBefore(shift.from, shift.to),
  );
}

/** The last shift that has begun, which is before the first one if none has. */
function indexAt(rotation: Rotation, at: Temporal.Instant): number {
  const date = at.toZonedDateTimeISO(rotation.timeZone).toPlainDate();
  const days = Temporal.PlainDate.from(rotation.start).until(date, { largestUnit: "day" }).days;
  let index = Math.floor(days / shiftDays(rotation));
  while (!isBefore(handoffAt(rotation, index), at.add({ nanoseconds: 1 }))) index -= 1;
  while (isBefore(handoffAt(rotation, index + 1), at.add({ nanoseconds: 1 }))) index += 1;
  return index;
}

function withOverrides(contacts: Contacts, tier: TierName, turns: readonly Shift[]): Shift[] {
  const { rotation, overrides = [] } = contacts;
  const start = handoffAt(rotation, 0);
  let shifts = [...turns];
  for (const override of overrides) {
    if (override.tier !== tier) continue;
    const { from: begin, to } = overrideTime(rotation, override);
    const from = isBefore(begin, start) ? start : begin;
    if (!isBefore(from, to)) continue;
    shifts = shifts.flatMap((shift) => [
      { ...shift, to: earlier(shift.to, from) },
      { ...shift, from: later(shift.from, to) },
    ]);
    shifts = [
      ...shifts.filter((shift) => isBefore(shift.from, shift.to)),
      { tier, person: override.person, from, to, override: true },
    ];
  }
  return shifts;
}

type Moment = Temporal.ZonedDateTime | Temporal.Instant;

const instantOf = (moment: Moment): Temporal.Instant =>
  moment instanceof Temporal.Instant ? moment : moment.toInstant();

const isBefore = (a: Moment, b: Moment): boolean => Temporal.Instant.compare(instantOf(a), instantOf(b)) < 0;

const earlier = (a: Temporal.ZonedDateTime, b: Temporal.ZonedDateTime): Temporal.ZonedDateTime =>
  isBefore(a, b) ? a : b;

const later = (a: Temporal.ZonedDateTime, b: Temporal.ZonedDateTime): Temporal.ZonedDateTime =>
  isBefore(a, b) ? b : a;
