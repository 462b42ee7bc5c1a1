// What a schema cannot say of a contacts file: that whoever is named exists, that values fit each other, and that an
// escalation reaches somebody new at each step.

import { localText, minuteText } from "./calendar-values.ts";
import { type Contacts, type TierName, weekdays } from "./contacts-schema.ts";
import { doubleBookings } from "./double-booking.ts";
import { handoffAt, overrideTime, shiftDays, shiftsBetween, tiersOf } from "./rotation.ts";
import type { Fault, Path } from "./schema-faults.ts";

/** Contradictions; a file with one cannot be used. */
export function contactsFaults(contacts: Contacts): Fault[] {
  const named = [...idFaults(contacts), ...referenceFaults(contacts), ...formFaults(contacts)];
  // Without these, nobody can say who is on call.
  return named.length > 0 ? named : doubleBookings(contacts);
}

/** What works and is most likely not meant. */
export function contactsWarnings(contacts: Contacts, now: Temporal.Instant): Fault[] {
  const { people, rotation, escalation, overrides = [] } = contacts;
  const warnings: Fault[] = [];
  const warn = (path: Path, problem: string): void => void warnings.push({ path, problem });
  for (const [id, { email, phone }] of Object.entries(people)) {
    if (/@(.*\.)?example(\.(com|org|net))?$/i.test(email))
      warn(
        ["people", id, "email"],
        "is an example's address, where nobody reads; put a real one in its place",
      );
    if (isFictional(phone))
      warn(
        ["people", id, "phone"],
        "is a number for examples, where nobody answers; put a real one in its place",
      );
  }
  if (rotation.order.length === 1)
    warn(["rotation", "order"], "has one person, who is on call without an end; add a second");
  for (const tier of tiersOf(rotation))
    if (!escalation.some((step) => step.tier === tier))
      warn(["rotation", "tiers", tier], "is in no step of the escalation, so it is never called");
  const start = handoffAt(rotation, 0);
  if (Temporal.Instant.compare(now, start.toInstant()) < 0)
    warn(["rotation", "start"], `is yet to come: nobody is on call until ${minuteText(start)}`);
  for (const [index, override] of overrides.entries()) {
    const { from, to } = overrideTime(rotation, override);
    const turns = shiftsBetween({ ...contacts, overrides: [] }, from.toInstant(), to.toInstant()).filter(
      ({ tier }) => tier === override.tier,
    );
    if (turns.length === 0)
      warn(["overrides", index], "ends before the rotation starts and does nothing; remove it");
    else if (turns.every(({ person }) => person === override.person))
      warn(["overrides", index], `does nothing: it is the turn of ${override.person} anyway; remove it`);
  }
  if (!Object.values(people).some(({ roles = [] }) => roles.includes("incident-commander")))
    warn(["people"], "has nobody with the role incident-commander, who leads large incidents");
  return warnings;
}

/** Ranges that regulators keep free for films and examples: North America, and Ofcom's of the United Kingdom. */
const isFictional = (phone: string): boolean =>
  /^\+1\d{3}55501\d\d$/.test(phone) || /^\+44(7700900\d{3}|2079460\d{3}|1632960\d{3})$/.test(phone);

function idFaults({ people, teams, vendors = {} }: Contacts): Fault[] {
  return Object.entries({ people, teams, vendors }).flatMap(([section, entries]) =>
    Object.keys(entries)
      .filter((id) => !/^[a-z][a-z0-9-]{0,62}$/.test(id))
      .map((id) => ({
        path: [section, id],
        problem: "has an id that is not usable",
        accepts: "lower-case letters, digits and -, beginning with a letter, at most 63",
      })),
  );
}

function referenceFaults(contacts: Contacts): Fault[] {
  const { people, teams, rotation, overrides = [], escalation } = contacts;
  const faults: Fault[] = [];
  const ids = Object.keys(people).join(", ");
  const checkPerson = (path: Path, id: string): void => {
    if (!Object.hasOwn(people, id))
      faults.push({ path, problem: `names ${JSON.stringify(id)}, who is not in people`, accepts: ids });
  };
  const checkList = (path: Path, list: readonly string[]): void => {
    for (const [index, id] of list.entries()) {
      checkPerson([...path, index], id);
      if (list.indexOf(id) < index)
        faults.push({
          path: [...path, index],
          problem: `has ${JSON.stringify(id)} a second time; remove one`,
        });
    }
  };
  const checkTier = (path: Path, tier: TierName): void => {
    if (rotation.tiers[tier] === undefined)
      faults.push({
        path,
        problem: `names the tier ${tier}, which the rotation does not have`,
        accepts: tiersOf(rotation).join(", "),
      });
  };
  for (const [id, { members }] of Object.entries(teams)) checkList(["teams", id, "members"], members);
  const team = Object.hasOwn(teams, rotation.team) ? teams[rotation.team] : undefined;
  if (team === undefined)
    faults.push({
      path: ["rotation", "team"],
      problem: `names ${JSON.stringify(rotation.team)}, which is not in teams`,
      accepts: Object.keys(teams).join(", "),
    });
  checkList(["rotation", "order"], rotation.order);
  for (const [index, id] of rotation.order.entries())
    if (team !== undefined && Object.hasOwn(people, id) && !team.members.includes(id))
      faults.push({
        path: ["rotation", "order", index],
        problem: `names ${JSON.stringify(id)}, who is no member of the team ${rotation.team}`,
        accepts: team.members.join(", "),
      });
  for (const tier of tiersOf(rotation)) {
    const { order = [] } = rotation.tiers[tier] ?? {};
    checkList(["rotation", "tiers", tier, "order"], order);
  }
  for (const [index, { tier, person }] of overrides.entries()) {
    checkTier(["overrides", index, "tier"], tier);
    checkPerson(["overrides", index, "person"], person);
  }
  for (const [index, { tier }] of escalation.entries()) checkTier(["escalation", index, "tier"], tier);
  return faults;
}

/** Values that do not fit each other. */
function formFaults(contacts: Contacts): Fault[] {
  return [
    ...sharedFaults(contacts),
    ...handoffFaults(contacts),
    ...escalationFaults(contacts),
    ...rangeFaults(contacts),
    ...vendorFaults(contacts),
  ];
}

/** One telephone does not wake two people. */
function sharedFaults({ people }: Contacts): Fault[] {
  const faults: Fault[] = [];
  for (const field of ["email", "phone", "slack", "pagerduty"] as const) {
    const firsts = new Map<string, string>();
    for (const [id, person] of Object.entries(people)) {
      const value = person[field]?.toLowerCase();
      if (value === undefined) continue;
      const first = firsts.get(value);
      if (first === undefined) firsts.set(value, id);
      else
        faults.push({
          path: ["people", id, field],
          problem: `is that of ${first} as well; each has an own one`,
        });
    }
  }
  return faults;
}

function handoffFaults({ rotation }: Contacts): Fault[] {
  const faults: Fault[] = [];
  const { start, handoff, tiers } = rotation;
  const { weekday } = handoff;
  if (shiftDays(rotation) % 7 !== 0) {
    if (weekday !== undefined)
      faults.push({
        path: ["rotation", "handoff", "weekday"],
        problem: `does not fit shifts of ${rotation.shift}, which end on any day; remove it, or make the shift weeks`,
      });
  } else if (weekday === undefined) {
    faults.push({
      path: ["rotation", "handoff", "weekday"],
      problem: "is missing",
      accepts: weekdays.join(", "),
    });
  } else {
    const its = weekdays[Temporal.PlainDate.from(start).dayOfWeek - 1];
    if (its !== weekday)
      faults.push({
        path: ["rotation", "start"],
        problem: `got ${start}, which is a ${its}`,
        accepts: `a ${weekday}, the day of the handoff`,
      });
  }
  for (const tier of tiersOf(rotation)) {
    const { offset, order } = tiers[tier] ?? {};
    if ((offset === undefined) === (order === undefined))
      faults.push({
        path: ["rotation", "tiers", tier],
        problem: `has ${offset === undefined ? "neither offset nor order" : "both offset and order"}`,
        accepts: "offset to take turns from the rotation's order, or an order of its own",
      });
  }
  return faults;
}

function escalationFaults({ escalation }: Contacts): Fault[] {
  const faults: Fault[] = [];
  const [first] = escalation;
  if (first !== undefined && (first.tier !== "primary" || first.afterMinutes !== 0))
    faults.push({
      path: ["escalation", 0],
      problem: `begins with ${first.tier} after ${first.afterMinutes} minutes`,
      accepts: "primary after 0 minutes as its first step, since a page reaches nobody before",
    });
  for (const [index, step] of escalation.entries()) {
    const before = escalation[index - 1];
    if (before !== undefined && step.afterMinutes <= before.afterMinutes)
      faults.push({
        path: ["escalation", index, "afterMinutes"],
        problem: `got ${step.afterMinutes}`,
        accepts: `more than the ${before.afterMinutes} of the step before`,
      });
    if (escalation.findIndex(({ tier }) => tier === step.tier) < index)
      faults.push({
        path: ["escalation", index, "tier"],
        problem: `has ${step.tier} a second time; remove one`,
      });
  }
  return faults;
}

function rangeFaults({ rotation, businessHours, overrides = [] }: Contacts): Fault[] {
  const faults: Fault[] = [];
  if (businessHours.from >= businessHours.to)
    faults.push({
      path: ["businessHours", "to"],
      problem: `got ${JSON.stringify(businessHours.to)}`,
      accepts: `a time after ${businessHours.from}`,
    });
  for (const [index, override] of overrides.entries()) {
    const { from, to } = override;
    const times = overrideTime(rotation, override);
    // Such an override would begin later than it says, or not at all.
    for (const end of ["from", "to"] as const)
      if (!times[end].toPlainDateTime().equals(override[end]))
        faults.push({
          path: ["overrides", index, end],
          problem: `got ${JSON.stringify(override[end])}, which the clocks of ${rotation.timeZone} skip that day`,
          accepts: `a time that they show, such as ${localText(times[end])}`,
        });
    if (from >= to)
      faults.push({
        path: ["overrides", index, "to"],
        problem: `got ${JSON.stringify(to)}`,
        accepts: `a time after ${from}`,
      });
  }
  return faults;
}

function vendorFaults({ vendors = {} }: Contacts): Fault[] {
  return Object.entries(vendors)
    .filter(([, { phone, email, url }]) => (phone ?? email ?? url) === undefined)
    .map(([id]) => ({
      path: ["vendors", id],
      problem: "cannot be reached",
      accepts: "at least one of phone, email, url",
    }));
}
