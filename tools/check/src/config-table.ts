// The table of configuration variables, made from core's registry.
import { code, markdownTable } from "./markdown.ts";

/** Like core's `variables`. */
export type VariableRegistry = Readonly<
  Record<
    string,
    {
      readonly help: string;
      readonly accepts: string;
      readonly default?: string;
      readonly secret?: boolean;
    }
  >
>;

export function configTable(registry: VariableRegistry): string {
  const rows = Object.entries(registry).map(([name, variable]) => [
    code(name),
    code(variable.default ?? ""),
    variable.secret ? `${variable.accepts} (secret)` : variable.accepts,
    variable.help,
  ]);
  return markdownTable(["Variable", "Default", "Accepts", "What it is for"], rows);
}
