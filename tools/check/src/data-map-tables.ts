// The data map as tables for people: all tables at a glance, then each with its columns, and how long what is kept.
import { code, markdownTable } from "./markdown.ts";

/** Like the data map of @ectus/database. */
export type DataMap = Readonly<Record<string, Table>>;

interface Table {
  readonly about: string;
  readonly tenant: { readonly column: string } | { readonly none: string };
  readonly key: readonly string[];
  readonly time: Path | null;
  readonly subject: Path | null;
  readonly exported: Exported;
  readonly retention: string;
  readonly columns: Readonly<Record<string, Column>>;
}

interface Column {
  readonly class: string;
  readonly exported: Exported;
  readonly erasure: string | { readonly keep: string };
  readonly whose?: string;
  readonly retention?: string;
}

type Exported = true | { readonly withheld: string };
type Path =
  | { readonly columns: readonly string[] }
  | { readonly through: string; readonly on: Readonly<Record<string, string>> };

/** One row a table, with a link to its columns. */
export function dataMapOverview(map: DataMap): string {
  const rows = Object.entries(map).map(([name, table]) => [
    `[${code(name)}](#${name})`,
    table.about,
    table.subject === null ? "" : foundBy(map, "subject", table.subject),
    table.exported === true ? "yes" : "no",
    table.retention,
    staysOf(table),
  ]);
  return markdownTable(
    ["Table", "What a row is", "A person's rows are found by", "Exported", "Kept as", "Stays after erasure"],
    rows,
  );
}

/** Each table under a heading of its own, with how its rows belong to a tenant and every column. */
export function dataMapTables(map: DataMap): string {
  return Object.entries(map)
    .map(
      ([name, table]) => `### ${name}\n\n${table.about}\n\n${factsOf(map, table)}\n${columnsOf(map, table)}`,
    )
    .join("\n");
}

/** What is kept together for as long, and how long that is. */
export function retentionTable(classes: Readonly<Record<string, string>>, map: DataMap): string {
  const rows = Object.entries(classes).map(([name, howLong]) => {
    const kept = Object.entries(map).flatMap(([table, { retention, columns }]) => [
      ...(retention === name ? [table] : []),
      ...Object.keys(columns).flatMap((column) =>
        columns[column]?.retention === name ? [`${table}.${column}`] : [],
      ),
    ]);
    return [name, kept.map(code).join(", "), howLong];
  });
  return markdownTable(["Kept as", "What", "How long"], rows);
}

function factsOf(map: DataMap, table: Table): string {
  const { tenant, key, time, subject, exported } = table;
  const columns = "column" in tenant ? [tenant.column, ...key] : key;
  const facts = [
    "column" in tenant
      ? `Whose a row is: the tenant's that ${code(tenant.column)} names.`
      : `Whose a row is: no tenant's, but ${tenant.none}.`,
    `Rows are told apart by: ${columns.map(code).join(", ")}.`,
    `A person's rows are found by: ${subject === null ? "no column; none names one" : foundBy(map, "subject", subject)}.`,
    exported === true
      ? `Exported: yes; of a range of dates, ${time === null ? "all rows" : `rows by ${foundBy(map, "time", time)}`}.`
      : `Exported: no: ${exported.withheld}.`,
    ...[usualReason(table) ?? []]
      .flat()
      .map((reason) => `What stays after an erasure does because: ${reason}.`),
  ];
  return facts.map((fact) => `- ${fact}\n`).join("");
}

/** Why most of the columns that stay do so; it is said once, and not in each row. */
function usualReason({ columns }: Table): string | undefined {
  const times = new Map<string, number>();
  for (const { erasure } of Object.values(columns))
    if (typeof erasure !== "string") times.set(erasure.keep, (times.get(erasure.keep) ?? 0) + 1);
  return [...times].sort(([, one], [, other]) => other - one)[0]?.[0];
}

function columnsOf(map: DataMap, table: Table): string {
  const usual = usualReason(table);
  const rows = Object.entries(table.columns).map(([name, column]) => [
    code(name),
    column.class,
    whoseIs(map, table, column),
    exportOf(table, column),
    column.retention ?? table.retention,
    erasureOf(column, usual),
  ]);
  return markdownTable(["Column", "Class", "Whose data", "Export", "Kept as", "On erasure"], rows);
}

function erasureOf({ erasure }: Column, usual: string | undefined): string {
  if (typeof erasure === "string") return erasures[erasure] ?? erasure;
  return erasure.keep === usual ? "stays" : `stays: ${erasure.keep}`;
}

const erasures: Readonly<Record<string, string>> = {
  delete: "goes with its row",
  null: "is made empty",
  pseudonymize: "is replaced by a value that leads to nobody",
};

function whoseIs(map: DataMap, { subject }: Table, { class: dataClass, whose }: Column): string {
  if (whose !== undefined) return whose;
  const person = subject === null ? undefined : personOf(map, subject);
  if (dataClass === "personal") return person ?? "";
  if (dataClass === "content")
    return person === undefined ? "whomever it names" : `${person}, and whomever it names`;
  return "";
}

function personOf(map: DataMap, subject: Path): string {
  return "columns" in subject
    ? `the person whom ${foundBy(map, "subject", subject)} names`
    : `the person whom its row of ${code(subject.through)} names`;
}

function exportOf(table: Table, { exported }: Column): string {
  if (table.exported !== true) return "no";
  return exported === true ? "yes" : `withheld: ${exported.withheld}`;
}

/** What is left of a table's rows when everything was erased. */
function staysOf({ columns }: Table): string {
  const all = Object.values(columns);
  if (all.every(({ erasure }) => erasure === "delete")) return "";
  return all.every(({ erasure }) => typeof erasure !== "string") ? "all" : "a part";
}

/** @throws Error for a path through a table that has none itself */
function foundBy(map: DataMap, what: "time" | "subject", path: Path | null | undefined): string {
  if (path === null || path === undefined)
    throw new Error(`The data map has no ${what} at the end of a path.`);
  if ("columns" in path) return path.columns.map(code).join(" or ");
  const on = Object.entries(path.on).map(([own, theirs]) => `${code(own)} is its ${code(theirs)}`);
  const further = foundBy(map, what, map[path.through]?.[what]);
  return `${further} of the row of ${code(path.through)} where ${on.join(" and ")}`;
}
