// Everything that a tenant can have, with values that formats get wrong: quotes, line ends, what looks like an escape or
// a null, characters beyond the first plane, numbers and times of full precision.
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { newUuid } from "@ectus/core";
import type { BlobStorage } from "@ectus/storage";
import type pg from "pg";

/** Texts that formats get wrong. */
const nastyTexts: readonly string[] = [
  "",
  " ",
  "plain",
  'say "hi", twice ""',
  "line\nline\r\nline\rend",
  "\\N",
  "\\.",
  "\\.\n\\.",
  "a\tb\\tc\\n\\u0000",
  "null",
  "NULL",
  "{}",
  "a,b;c",
  "'; drop table users; --",
  "\u0001\u0002\u007f\u0085\u2028",
  "héllo 中文 🧑‍🚀 𝔘",
  "=1+1",
  "\uFEFFbom",
  "${x} %s %d %n",
];

export interface SeedSizes {
  /** Stored completions, of four messages each. */
  readonly completions: number;
  readonly users?: number;
  readonly files?: number;
  readonly usage?: number;
}

export interface SeededTenant {
  readonly id: string;
  readonly fileIds: readonly string[];
  /** A text that is in many of its values and in nobody else's. */
  readonly mark: string;
}

/** Makes a tenant with rows in every table, as the owner of the schema. */
export async function seedTenant(
  owner: pg.ClientBase,
  storage: Pick<BlobStorage, "write">,
  { completions, users = 5, files = 3, usage = 20 }: SeedSizes,
): Promise<SeededTenant> {
  const id = newUuid();
  const mark = `mark${id.replaceAll("-", "").slice(16)}`;
  const text = (index: number): string => `${nastyTexts[index % nastyTexts.length]}${mark}`;
  await owner.query(
    "insert into tenants (id, name, monthly_token_budget) values ($1, $2, 9007199254740991)",
    [id, `Tenant "${mark}"\n& co`],
  );
  const keyId = newUuid();
  await owner.query(
    "insert into api_keys (tenant_id, id, name, prefix, digest, scopes, expires_at) values ($1, $2, $3, 'sk-ab', $4, '{inference,admin}', 'infinity')",
    [id, keyId, text(3), createHash("sha256").update(mark).digest()],
  );
  for (let index = 0; index < users; index += 1) {
    await owner.query(
      "insert into users (tenant_id, id, name, email, created_at) values ($1, $2, $3, $4, $5)",
      [
        id,
        newUuid(),
        text(index) || "x",
        `user${index}@${mark}.example`,
        new Date(Date.UTC(2026, index % 12, 1 + index, 3, 4, 5, 678)),
      ],
    );
  }
  await seedCompletions(owner, id, completions, text);
  await owner.query(
    `insert into usage (tenant_id, id, created_at, api_key_id, request_id, operation, model, provider, outcome, streamed,
                        input_tokens, output_tokens, charged_tokens, cost_usd, duration_ms)
     select $1, gen_random_uuid(), timestamptz '2026-11-01 00:00:00.123456+00' - n * interval '37 hours 11 seconds', $2,
            'req_' || n, 'chat', $3, 'openai', 'completed', n % 2 = 0, nullif(n % 3, 0), n, 9007199254740991 - n,
            case when n % 4 = 0 then null else n / 7.0::numeric(20, 12) end, n
     from generate_series(1, $4::integer) n`,
    [id, keyId, text(13), usage],
  );
  await owner.query(
    "insert into token_budgets (tenant_id, month, committed) values ($1, '2026-10-01', 77), ($1, '2026-11-01', 0)",
    [id],
  );
  await owner.query(
    `insert into audit_log (tenant_id, id, created_at, actor_type, actor_id, action, target_type, target_id, request_id, details)
     select $1, gen_random_uuid(), timestamptz '2026-09-01 12:00:00.000001+00' + n * interval '13 hours', 'system', null,
            'test.done', 'test', $2, null, jsonb_build_object('n', n, 'text', $2::text, 'big', 12345678901234567890.123)
     from generate_series(1, 30) n`,
    [id, text(4)],
  );
  const fileIds: string[] = [];
  for (let index = 0; index < files; index += 1)
    fileIds.push(await seedFile(owner, storage, id, index, text(index + 4)));
  return { id, fileIds, mark };
}

async function seedCompletions(
  owner: pg.ClientBase,
  tenantId: string,
  count: number,
  text: (index: number) => string,
): Promise<void> {
  const batch = 500;
  for (let start = 0; start < count; start += batch) {
    const size = Math.min(batch, count - start);
    const ids = Array.from({ length: size }, () => newUuid());
    const texts = ids.map((_, index) => text(start + index));
    await owner.query(
      `insert into completions (tenant_id, id, created_at, model, metadata, end_user, request, response, nul_replaced)
       select $1, id, timestamptz '2026-05-01 00:00:00.000001+00' + ($4 + n) * interval '1 minute', 'm',
              jsonb_build_object('note', text), case when n % 3 = 0 then null else 'end-user-' || (n % 7) end,
              jsonb_build_object('temperature', 0.1, 'stop', text), '{"n": 1e400}'::jsonb, n % 5 = 0
       from unnest($2::uuid[], $3::text[]) with ordinality as r (id, text, n)`,
      [tenantId, ids, texts, start],
    );
    await owner.query(
      `insert into messages (tenant_id, completion_id, position, direction, role, body, finish_reason, logprobs)
       select $1, id, p, case when p < 3 then 'input' else 'output' end, 'user',
              jsonb_build_object('role', 'user', 'content', text || p), case when p = 3 then 'stop' end,
              case when p = 3 then jsonb_build_array(text, 0.25) end
       from unnest($2::uuid[], $3::text[]) as r (id, text), generate_series(0, 3) p`,
      [tenantId, ids, texts],
    );
  }
}

async function seedFile(
  owner: pg.ClientBase,
  storage: Pick<BlobStorage, "write">,
  tenantId: string,
  index: number,
  name: string,
): Promise<string> {
  const id = newUuid();
  const contents = Buffer.alloc(index * 70_000, `file ${index} of ${tenantId}\n`);
  const filename = `../${name || "x"}%0A.${["pdf", "tar.gz", "p/../df"][index % 3]}`;
  const { bytes, sha256 } = await storage.write(tenantId, id, Readable.from([contents]), { maxBytes: 1e9 });
  await owner.query(
    "insert into files (tenant_id, id, created_at, filename, purpose, content_type, bytes, sha256) values ($1, $2, '2026-06-01 10:00:00.5+00', $3, 'user_data', 'application/pdf', $4, $5)",
    [tenantId, id, filename, bytes, Buffer.from(sha256, "hex")],
  );
  return id;
}
