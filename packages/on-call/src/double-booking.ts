// Finds who would be on call in two tiers at once, so that an escalation would call the same person again, and overrides
// of one tier that overlap.
import { minuteText } from "./calendar-values.ts";
import type { Contacts, TierName } from "./contacts-schema.ts";
import { handoffAt, onCallAt, overrideTime, shiftsBetween, tiersOf, turnOf } from "./rotation.ts";
import type { Fault } from "./schema-faults.ts";

export function doubleBookings(contacts: Contacts): Fault[] {
  return [...coincidenceFaults(contacts), ...overrideFaults(contacts)];
}

/** Two tiers whose turns are the same person's: found on the whole cycle, after which all repeats. */
function coincidenceFaults({ rotation }: Contacts): Fault[] {
  const tiers = tiersOf(rotation);
  const faults: Fault[] = [];
  for (const [place, tier] of tiers.entries())
    for (const other of tiers.slice(0, place)) {
      const cycle = lengthOf(tier) * lengthOf(other);
      for (let index = 0; index < cycle; index += 1) {
        const person = turnOf(rotation, tier, index);
        if (person !== turnOf(rotation, other, index)) continue;
        faults.push({
          path: ["rotation", "tiers", tier],
          problem: `has ${person} on call from ${minuteText(handoffAt(rotation, index))}, who is ${other} at that time`,
          accepts: "other people, or another offset",
        });
        break;
      }
    }
  return faults;

  function lengthOf(tier: TierName): number {
    return (rotation.tiers[tier]?.order ?? rotation.order).length;
  }
}

function overrideFaults(contacts: Contacts): Fault[] {
  const { rotation, overrides = [] } = contacts;
  const faults: Fault[] = [];
  for (const [index, override] of overrides.entries()) {
    const other = overrides.findIndex(
      ({ tier, from, to }) => tier === override.tier && from < override.to && override.from < to,
    );
    if (other < index)
      faults.push({
        path: ["overrides", index],
        problem: `overlaps the override ${other} of the same tier`,
        accepts: "one at a time",
      });
  }
  if (faults.length > 0) return faults;
  for (const [index, override] of overrides.entries()) {
    const { person } = override;
    const { from, to } = overrideTime(rotation, override);
    for (const shift of shiftsBetween(contacts, from.toInstant(), to.toInstant())) {
      const at = Temporal.ZonedDateTime.compare(shift.from, from) < 0 ? from : shift.from;
      const tiers = onCallAt(contacts, at.toInstant())
        .filter((one) => one.person === person)
        .map(({ tier }) => tier);
      if (tiers.length < 2) continue;
      faults.push({
        path: ["overrides", index],
        problem: `makes ${person} ${tiers.join(" and ")} at once from ${minuteText(at)}`,
        accepts: "somebody who is on call for no other tier; swap the other tier by an override of its own",
      });
      break;
    }
  }
  return faults;
}
