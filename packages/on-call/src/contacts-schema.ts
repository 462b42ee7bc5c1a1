// What a contacts file may say, as TypeBox schemas. The description of a value completes "accepts …" in a fault.
import Type, { type Static } from "typebox";
import { isDate, isLocalDateTime, isTimeZone } from "./calendar-values.ts";

const closed = { additionalProperties: false } as const;

/** Who is called, in the order of the escalation. */
export const tierNames = ["primary", "secondary", "manager"] as const;
export type TierName = (typeof tierNames)[number];

/** In ISO 8601's order, which Temporal's `dayOfWeek` counts from 1. */
export const weekdays = [
  "monday",
  "tuesday",
  "wednesday",
  "thursday",
  "friday",
  "saturday",
  "sunday",
] as const;

const roles = [
  "incident-commander",
  "communications",
  "scribe",
  "manager",
  "security",
  "data-protection",
] as const;

const text = (description: string, maxLength = 200) =>
  Type.String({
    minLength: 1,
    maxLength,
    pattern: "^[^\\p{C}\\p{Zl}\\p{Zp}]*\\S[^\\p{C}\\p{Zl}\\p{Zp}]*$",
    description,
  });

const oneOf = <const T extends readonly string[]>(values: T) =>
  Type.Unsafe<T[number]>(Type.Enum([...values], { description: values.join(", ") }));

const id = (what: string) =>
  Type.String({
    pattern: "^[a-z][a-z0-9-]{0,62}$",
    description: `the id of ${what}: lower-case letters, digits and -, beginning with a letter`,
  });

const people = (what: string) =>
  Type.Array(id("a person"), { minItems: 1, maxItems: 64, description: `a list of ids of people: ${what}` });

const timeZone = Type.Refine(
  Type.String({ description: "a time zone of the IANA database, such as Europe/Berlin or UTC" }),
  isTimeZone,
);

const time = Type.String({
  pattern: "^([01]\\d|2[0-3]):[0-5]\\d$",
  description: 'a time of day in quotes, "00:00" to "23:59"',
});

const localDateTime = Type.Refine(
  Type.String({
    description: "a time in the rotation's time zone without its offset, such as 2026-12-24T18:00",
  }),
  isLocalDateTime,
);

const email = Type.String({
  pattern: "^[^\\s@\\p{C}]+@[^\\s@\\p{C}]+\\.[^\\s@\\p{C}]+$",
  maxLength: 254,
  description: "an e-mail address",
});

const phone = Type.String({
  pattern: "^\\+[1-9]\\d{6,14}$",
  description: 'a phone number with its country, in quotes and without spaces (E.164): "+442079460123"',
});

const slackId = (first: string, what: string, example: string) =>
  Type.String({
    pattern: `^[${first}][A-Z0-9]{5,20}$`,
    description: `Slack's id of the ${what} (not its name), such as ${example}`,
  });

const personSchema = Type.Object(
  {
    name: text("a name, 1 to 200 characters"),
    timeZone,
    email,
    phone,
    slack: slackId("UW", "member", "U012AB3CD"),
    pagerduty: Type.Optional(
      Type.String({
        pattern: "^P[A-Z0-9]{5,20}$",
        description: "PagerDuty's id of the user, such as PA1B2C3",
      }),
    ),
    roles: Type.Optional(
      Type.Array(oneOf(roles), {
        uniqueItems: true,
        description: `a list of roles, each once: ${roles.join(", ")}`,
      }),
    ),
  },
  closed,
);

const teamSchema = Type.Object(
  {
    name: text("a name, 1 to 200 characters"),
    members: people("the team's members"),
    slackChannel: Type.Optional(slackId("CG", "channel", "C012AB3CD")),
  },
  closed,
);

const tierSchema = Type.Object(
  {
    offset: Type.Optional(
      Type.Integer({
        minimum: -63,
        maximum: 63,
        description:
          "a whole number: how many places after the rotation's first the tier begins; 1 takes those who are next",
      }),
    ),
    order: Type.Optional(people("those of this tier, who take turns at the same handoffs")),
  },
  { ...closed, description: "a mapping with offset or order" },
);

const rotationSchema = Type.Object(
  {
    team: id("a team"),
    start: Type.Refine(
      Type.String({ description: "the date of the first handoff, such as 2026-11-30" }),
      isDate,
    ),
    timeZone,
    handoff: Type.Object({ weekday: Type.Optional(oneOf(weekdays)), time }, closed),
    shift: Type.String({
      pattern: "^([1-9]|[1-4]\\d|5[0-2]) (week|day)s?$",
      description: "how long a shift is: 1 week, 2 weeks, 3 days, at most 52 of them",
    }),
    order: people("those who take turns, in this order"),
    tiers: Type.Object(
      { primary: tierSchema, secondary: Type.Optional(tierSchema), manager: Type.Optional(tierSchema) },
      closed,
    ),
  },
  closed,
);

const overrideSchema = Type.Object(
  { tier: oneOf(tierNames), person: id("a person"), from: localDateTime, to: localDateTime },
  closed,
);

const businessHoursSchema = Type.Object(
  {
    timeZone,
    days: Type.Array(oneOf(weekdays), {
      minItems: 1,
      uniqueItems: true,
      description: `a list of weekdays, each once: ${weekdays.join(", ")}`,
    }),
    from: time,
    to: time,
  },
  closed,
);

const escalationStepSchema = Type.Object(
  {
    tier: oneOf(tierNames),
    afterMinutes: Type.Integer({
      minimum: 0,
      maximum: 240,
      description: "minutes since the page, a whole number from 0 to 240",
    }),
  },
  closed,
);

const vendorSchema = Type.Object(
  {
    name: text("a name, 1 to 200 characters"),
    what: text("what of theirs this service uses, 1 to 200 characters"),
    phone: Type.Optional(phone),
    email: Type.Optional(email),
    url: Type.Optional(
      Type.String({
        pattern: "^https://\\S+$",
        maxLength: 500,
        description: "an https:// URL of their support",
      }),
    ),
    account: Type.Optional(text("what they know this customer by, 1 to 200 characters; no password")),
  },
  closed,
);

export const contactsSchema = Type.Object(
  {
    people: Type.Record(Type.String(), personSchema, { description: "a mapping of ids to people" }),
    teams: Type.Record(Type.String(), teamSchema, { description: "a mapping of ids to teams" }),
    rotation: rotationSchema,
    overrides: Type.Optional(
      Type.Array(overrideSchema, { description: "a list of overrides, each with tier, person, from, to" }),
    ),
    businessHours: businessHoursSchema,
    escalation: Type.Array(escalationStepSchema, {
      minItems: 1,
      description: "a list of steps, each with tier and afterMinutes",
    }),
    vendors: Type.Optional(
      Type.Record(Type.String(), vendorSchema, { description: "a mapping of ids to vendors" }),
    ),
  },
  closed,
);

export type Contacts = Static<typeof contactsSchema>;
export type Person = Static<typeof personSchema>;
export type Rotation = Static<typeof rotationSchema>;
export type Override = Static<typeof overrideSchema>;
