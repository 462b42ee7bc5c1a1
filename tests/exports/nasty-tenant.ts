// A tenant whose rows have what is easily lost on the way through JSON, CSV and COPY, one row of each kind at least.
import { createHash, randomBytes } from "node:crypto";
import { newUuid } from "@ectus/core";
import type pg from "pg";

const nastyTexts: readonly string[] = [
  "",
  " ",
  '"',
  '""',
  "'",
  ",",
  ";\t|",
  "\n",
  "\r\n",
  "\r",
  "a\nb\r\nc\rd",
  "\\N",
  "\\.",
  "\\.\n",
  "before\n\\.\nafter",
  "\\",
  "\\\\",
  "\\x41",
  "\\u0000",
  "\u0001\u0002\u001f\u007f",
  "NULL",
  "null",
  '{"a": [1, "b"]}',
  "{a,b}",
  "\u2028\u2029\u0085\u00a0\ufeff",
  "👩‍👩‍👧‍👦 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 é e\u0301 ﷽ \u202e",
  "-- '; drop table tenants; --",
  "=1+1",
  "x".repeat(70_000),
];

const bodies: readonly unknown[] = [
  null,
  true,
  0,
  1e300,
  "",
  [],
  {},
  { content: null, deep: [[[{ a: [null, "\n"] }]]] },
  ...nastyTexts.map((text) => ({ role: "user", content: text, [text.slice(0, 50)]: 1 })),
];

const numbers = [
  "0",
  "0.000000000001",
  "-0.1",
  "12345678.123456789012",
  "99999999.999999999999",
  "NaN",
  "1.500000000000",
];
const times = [
  "2026-01-01 00:00:00+00",
  "2026-02-28 23:59:59.999999+00",
  "1999-12-31 23:59:59.000001+00",
  "infinity",
  "-infinity",
  "0044-03-15 12:00:00+00 BC",
  "12026-01-01 00:00:00+00",
];
// Of a month to come no import takes a row into a table that has partitions by month.
const pastTimes = times.filter((time) => !time.startsWith("12026"));

// Each costs some writes to the disk that are waited for.
const files = 8;

/** Its name is as nasty; contents of its files by id. */
export interface NastyTenant {
  readonly id: string;
  readonly contents: Map<string, Buffer>;
}

/** Lets the table of keys have arrays of any texts, in which no column of the schema would have them. */
export async function allowAnyScopes(owner: pg.Client): Promise<void> {
  await owner.query(
    "alter table api_keys drop constraint if exists api_keys_scopes_check, drop constraint if exists api_keys_check",
  );
}

export async function nastyTenant(owner: pg.Client): Promise<NastyTenant> {
  await allowAnyScopes(owner);
  const id = newUuid();
  const contents = new Map<string, Buffer>();
  const insert = async (table: string, rows: readonly Record<string, unknown>[]): Promise<void> => {
    for (const row of rows) {
      const given = { ...(table === "tenants" ? {} : { tenant_id: id }), ...row };
      const names = Object.keys(given);
      await owner.query(
        `insert into ${table} (${names.join(", ")}) values (${names.map((_, index) => `$${index + 1}`).join(", ")})`,
        Object.values(given),
      );
    }
  };
  await insert("tenants", [
    {
      id,
      name: 'Acme "Ltd",\n\\N 👩‍👩‍👧‍👦',
      monthly_token_budget: "9007199254740991",
      created_at: "2024-02-29 12:00:00.123456+00",
    },
  ]);
  await insert(
    "api_keys",
    nastyTexts.map((text, index) => ({
      id: newUuid(),
      name: (text || "-").slice(0, 200),
      prefix: text,
      digest: randomBytes(32),
      scopes: [text, "inference", ...nastyTexts.slice(index, index + 3)],
      expires_at: times[index % times.length],
    })),
  );
  await insert(
    "users",
    nastyTexts.map((text, index) => ({
      id: newUuid(),
      name: (text || "-").slice(0, 200),
      email: `${text.slice(0, 9)}${index}@example.com`,
      created_at: times[index % times.length],
    })),
  );
  const completions = nastyTexts.map((text, index) => ({
    id: newUuid(),
    created_at: times[index % times.length],
    model: text,
    metadata: JSON.stringify({ text }),
    // Empty and missing are not the same.
    end_user: index % 3 === 0 ? null : index % 3 === 1 ? "" : text,
    request: JSON.stringify({ temperature: 0.1, big: 1.0e21, text }),
    response: JSON.stringify(bodies[index % bodies.length]),
    nul_replaced: index % 2 === 0,
  }));
  await insert("completions", completions);
  await insert(
    "messages",
    bodies.map((body, index) => ({
      completion_id: completions[index % completions.length]?.id,
      position: index,
      direction: index % 2 === 0 ? "input" : "output",
      role: nastyTexts[index % nastyTexts.length],
      body: JSON.stringify(body),
      finish_reason: index % 2 === 0 ? null : "",
      logprobs: index % 2 === 0 ? null : '{"x": 1.50, "y": 123456789012345678901234567890.1}',
    })),
  );
  for (const [index, text] of nastyTexts.slice(0, files).entries()) {
    const file = newUuid();
    const bytes = index === 0 ? Buffer.alloc(0) : randomBytes(index * 100);
    contents.set(file, bytes);
    await insert("files", [
      {
        id: file,
        created_at: times[index % times.length],
        filename: (text || "%2e%2e/\n").slice(0, 255),
        purpose: nastyTexts[index + files],
        content_type: nastyTexts[index + 2 * files],
        bytes: bytes.length,
        sha256: createHash("sha256").update(bytes).digest(),
      },
    ]);
  }
  await insert(
    "usage",
    numbers.map((cost, index) => ({
      id: newUuid(),
      created_at: pastTimes[index % pastTimes.length],
      api_key_id: newUuid(),
      request_id: nastyTexts[index],
      operation: "chat",
      model: nastyTexts[index + 5],
      provider: nastyTexts[index + 9],
      outcome: "completed",
      streamed: index % 2 === 0,
      input_tokens: index === 0 ? null : index,
      charged_tokens: "9007199254740993",
      cost_usd: index === 2 ? null : cost,
      duration_ms: index,
    })),
  );
  await insert("token_budgets", [
    { month: "2026-11-01", committed: "9007199254740993" },
    { month: "infinity", committed: 0 },
    { month: "0044-03-01 BC", committed: 1 },
  ]);
  await insert(
    "audit_log",
    nastyTexts.map((text, index) => ({
      id: newUuid(),
      created_at: pastTimes[index % pastTimes.length],
      actor_type: "system",
      action: text,
      target_type: text,
      target_id: index % 2 === 0 ? null : text,
      details: JSON.stringify({ text, list: bodies.slice(0, 8) }),
    })),
  );
  return { id, contents };
}
