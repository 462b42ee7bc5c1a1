// Which contacts file a command reads: the team's own, which is kept where its telephone numbers may be, or the example
// that comes with this program.
import { fileURLToPath } from "node:url";
import { type CheckedContacts, readContacts } from "@ectus/on-call";
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { printable } from "../output.ts";

export interface ContactsFlags {
  readonly contacts?: string;
}

const example = fileURLToPath(new URL("../../../../docs/operations/contacts.yaml", import.meta.url));

export const contactsHelp = `
The contacts file is the one that --contacts or ON_CALL_CONTACTS names. Without both it is the example of this
program, docs/operations/contacts.yaml, whose people do not exist.`;

export function withContactsFlags(command: Command): Command {
  return command.option("--contacts <file>", "the contacts file (ON_CALL_CONTACTS)");
}

export interface ContactsSource {
  readonly path: string;
  readonly isExample: boolean;
}

export function contactsSource({ environment }: CommandContext, { contacts }: ContactsFlags): ContactsSource {
  const path = contacts ?? (environment.ON_CALL_CONTACTS || undefined);
  return path === undefined ? { path: example, isExample: true } : { path, isExample: false };
}

/** Reads the file, and says on standard error whether it should be relied on. */
export async function readTeamContacts(
  context: CommandContext,
  flags: ContactsFlags,
  now: Temporal.Instant,
): Promise<CheckedContacts & ContactsSource> {
  const source = contactsSource(context, flags);
  const checked = await readContacts(source.path, now);
  if (source.isExample)
    context.stderr(
      "These are the people of the example, whom nobody can call. Name your team's file with --contacts or ON_CALL_CONTACTS.\n",
    );
  else if (checked.warnings.length === 1)
    context.stderr(`${printable(source.path)} has 1 warning. 'ectus on-call check' shows it.\n`);
  else if (checked.warnings.length > 1)
    context.stderr(
      `${printable(source.path)} has ${checked.warnings.length} warnings. 'ectus on-call check' shows them.\n`,
    );
  return { ...checked, ...source };
}
