import { dataMap, retentionClasses } from "@ectus/database";
import { expect, test } from "vitest";
import { type DataMap, dataMapOverview, dataMapTables, retentionTable } from "./data-map-tables.ts";

const column = { class: "operational", exported: true, erasure: "delete" } as const;
const table = {
  about: "A thing.",
  tenant: { column: "tenant_id" },
  key: ["id"],
  time: null,
  subject: null,
  exported: true,
  retention: "content",
  columns: { id: column },
} as const;
/** The tables of a map of one table. */
const tablesOf = (change: Partial<DataMap[string]>): string =>
  dataMapTables({ things: { ...table, ...change } });

test("every column of the data map has a row of its own below its table's heading", () => {
  const sections = dataMapTables(dataMap).split(/^### /m).slice(1);
  expect(sections).toHaveLength(Object.keys(dataMap).length);
  for (const [index, [name, { columns }]] of Object.entries(dataMap).entries()) {
    const [heading, ...lines] = (sections[index] ?? "").split("\n");
    expect(heading).toBe(name);
    const rows = lines.flatMap((line) => /^\| `(\w+)` \|/.exec(line)?.[1] ?? []);
    expect(rows).toEqual(Object.keys(columns));
  }
});

test("every table is in the overview once, and every class of retention has its tables", () => {
  const overview = dataMapOverview(dataMap);
  const retention = retentionTable(retentionClasses, dataMap);
  for (const [name, { retention: kept }] of Object.entries(dataMap)) {
    expect(overview.split(`| [\`${name}\`](#${name}) |`)).toHaveLength(2);
    expect(retention).toMatch(new RegExp(`^\\| ${kept} \\| .*\`${name}\``, "m"));
  }
});

test("a table says whose its rows are, how a person's are found, and what a range of dates takes", () => {
  expect(tablesOf({})).toContain(
    "- Whose a row is: the tenant's that `tenant_id` names.\n- Rows are told apart by: `tenant_id`, `id`.\n- A person's rows are found by: no column; none names one.\n- Exported: yes; of a range of dates, all rows.\n",
  );
  const path = { columns: ["email", "id"] };
  const found = tablesOf({ subject: path, time: { columns: ["created_at"] } });
  expect(found).toContain("- A person's rows are found by: `email` or `id`.\n");
  expect(found).toContain("- Exported: yes; of a range of dates, rows by `created_at`.\n");
  const none = tablesOf({ tenant: { none: "the platform's" }, exported: { withheld: "no need" } });
  expect(none).toContain(
    "- Whose a row is: no tenant's, but the platform's.\n- Rows are told apart by: `id`.\n",
  );
  expect(none).toContain("- Exported: no: no need.\n");
  expect(none).toContain("| `id` | operational |  | no | content | goes with its row |");
});

test("a path through another table is told to its end", () => {
  const through = { through: "things", on: { thing_id: "id" } } as const;
  const map = {
    things: { ...table, subject: { columns: ["person"] } },
    parts: { ...table, subject: through, columns: { text: { ...column, class: "content" } } },
  };
  const tables = dataMapTables(map);
  expect(tables).toContain("found by: `person` of the row of `things` where `thing_id` is its `id`.");
  expect(tables).toContain("| the person whom its row of `things` names, and whomever it names |");
  expect(() => dataMapTables({ ...map, things: table })).toThrow("no subject at the end of a path");
});

test("a column says whose data it is, why it is withheld, and what an erasure does", () => {
  const text = tablesOf({
    subject: { columns: ["person"] },
    columns: {
      person: { ...column, class: "personal", erasure: "pseudonymize" },
      owner: { ...column, class: "personal", whose: "its owner | maker", erasure: "null" },
      body: { ...column, class: "content", retention: "usage" },
      hash: { ...column, class: "secret", exported: { withheld: "a secret" } },
    },
  });
  expect(text).toContain(
    "| `person` | personal | the person whom `person` names | yes | content | is replaced by a value that leads to nobody |",
  );
  expect(text).toContain("| `owner` | personal | its owner \\| maker | yes | content | is made empty |");
  expect(text).toContain(
    "| the person whom `person` names, and whomever it names | yes | usage | goes with its row |",
  );
  expect(text).toContain("| `hash` | secret |  | withheld: a secret | content | goes with its row |");
});

test("the reason why columns stay is said once, and another one where it is", () => {
  const books = { ...column, erasure: { keep: "books" } };
  const columns = { a: books, b: books, c: { ...column, erasure: { keep: "claims" } } };
  const text = tablesOf({ columns });
  expect(text.split("because: books.")).toHaveLength(2);
  expect(text).toContain("| `a` | operational |  | yes | content | stays |");
  expect(text).toContain("| `c` | operational |  | yes | content | stays: claims |");
  expect(dataMapOverview({ things: { ...table, columns } })).toMatch(/\| content \| all \|$/m);
  const some = { ...columns, d: { ...column, erasure: "null" } };
  expect(dataMapOverview({ things: { ...table, columns: some } })).toMatch(/\| content \| a part \|$/m);
});

test("a column with a retention of its own is listed there", () => {
  const columns = { a: column, b: { ...column, retention: "audit" } };
  const classes = { content: "long", audit: "longer" };
  expect(retentionTable(classes, { things: { ...table, columns } })).toContain(
    "| content | `things` | long |\n| audit | `things.b` | longer |",
  );
});
