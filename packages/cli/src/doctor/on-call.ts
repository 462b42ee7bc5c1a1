// `ectus doctor --on-call`: checks what somebody on call needs at night, on their own machine: that each place which
// runbooks ask is reached with the access that they need, that the programs are there, and that the team can call them.
import type { Environment } from "@ectus/core";
import type { Check } from "./check.ts";
import { checkCluster } from "./on-call-cluster.ts";
import { type ContactsWish, checkContacts } from "./on-call-contacts.ts";
import { checkDatabaseAccess, checkPrograms } from "./on-call-programs.ts";
import { checkAlertmanager, checkApi, checkJaeger, checkPrometheus } from "./on-call-servers.ts";

/** Asks all at once; each answer is waited for a bounded time. */
export async function checkOnCall(environment: Environment, contacts: ContactsWish): Promise<Check[]> {
  const checks = await Promise.all([
    checkContacts(contacts),
    checkApi(environment),
    checkPrometheus(environment),
    checkAlertmanager(environment),
    checkJaeger(environment),
    checkDatabaseAccess(environment),
    checkCluster(environment),
    checkPrograms(environment),
  ]);
  return checks.flat();
}
