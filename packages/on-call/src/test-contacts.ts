// A contacts file for tests, as text.
export const contactsText = `people:
  ada: { name: Ada Lovelace, timeZone: Europe/London, email: ada@corp.test, phone: "+442012345601", slack: U000ADA, roles: [incident-commander] }
  grace: { name: Grace Hopper, timeZone: America/New_York, email: grace@corp.test, phone: "+12125550001", slack: U0GRACE }
  alan: { name: Alan Turing, timeZone: Europe/London, email: alan@corp.test, phone: "+442012345603", slack: U00ALAN }
  edsger: { name: Edsger Dijkstra, timeZone: Europe/Amsterdam, email: edsger@corp.test, phone: "+31201234567", slack: UEDSGER }
teams:
  platform: { name: Platform, members: [ada, grace, alan], slackChannel: C0PLATF }
rotation:
  team: platform
  start: 2026-11-30
  timeZone: Europe/Berlin
  handoff: { weekday: monday, time: "10:00" }
  shift: 1 week
  order: [ada, grace, alan]
  tiers:
    primary: { offset: 0 }
    secondary: { offset: 1 }
    manager: { order: [edsger] }
overrides:
  - { tier: primary, person: alan, from: 2026-12-02T18:00, to: 2026-12-03T08:00 }
businessHours: { timeZone: Europe/Berlin, days: [monday, tuesday, wednesday, thursday, friday], from: "09:00", to: "17:00" }
escalation:
  - { tier: primary, afterMinutes: 0 }
  - { tier: secondary, afterMinutes: 10 }
  - { tier: manager, afterMinutes: 20 }
vendors:
  postgres: { name: Managed PostgreSQL Ltd., what: the database, url: https://support.corp.test }
`;
