// What the checks of one's access have in common.

/** Where it is written how to get what is missing. */
export const guide = 'docs/operations/on-call.md, "Access", says how to get it.';

/** How long one answer is waited for. */
export const patienceMs = 10_000;
