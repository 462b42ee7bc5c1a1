export { type CheckedContacts, readContacts } from "./contacts-file.ts";
export type { Contacts, Person, TierName } from "./contacts-schema.ts";
export { toICalendar } from "./icalendar.ts";
export { handoffAt, onCallAt, type Shift, shiftsBetween, tiersOf } from "./rotation.ts";
