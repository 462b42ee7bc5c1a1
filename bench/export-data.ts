// Rows for bench/export.ts: messages of a tenant, in a database that other tenants share.
import { newUuid } from "@ectus/core";
import pg from "pg";

export interface MessagesTenant {
  readonly id: string;
  readonly messages: number;
}

const messagesEach = 5;

/**
 * Makes a tenant with messages, five a completion.
 *
 * @param times how often the words of a message, some 200 characters, stand in it
 */
export async function makeMessages(
  ownerUrl: string,
  completions: number,
  times: number,
): Promise<MessagesTenant> {
  const id = newUuid();
  const client = new pg.Client({ connectionString: ownerUrl });
  await client.connect();
  try {
    await client.query("insert into tenants (id, name) values ($1, 'Bench')", [id]);
    const batch = 50_000;
    for (let from = 0; from < completions; from += batch) {
      const to = Math.min(from + batch, completions);
      await client.query(
        `insert into completions (tenant_id, id, created_at, model, request, response)
         select $1, ('0193aaaa-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now(), 'm', '{"temperature": 0.7}', '{}'
         from generate_series($2::integer + 1, $3::integer) n`,
        [id, from, to],
      );
      await client.query(
        `insert into messages (tenant_id, completion_id, position, direction, role, body)
         select $1, ('0193aaaa-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, p,
                case when p < $4 - 1 then 'input' else 'output' end, case when p % 2 = 0 then 'user' else 'assistant' end,
                jsonb_build_object('role', 'user', 'content', repeat((
                  select string_agg(substr(md5((n * 5 + p) * 64 + w || ''), 1 + w % 7, 3 + w % 5), ' ')
                  from generate_series(1, 34) w), $5::integer))
         from generate_series($2::integer + 1, $3::integer) n, generate_series(0, $4::integer - 1) p`,
        [id, from, to, messagesEach, times],
      );
    }
    await client.query("vacuum analyze messages");
    await client.query("vacuum analyze completions");
    await client.query("checkpoint");
  } finally {
    await client.end();
  }
  return { id, messages: completions * messagesEach };
}
