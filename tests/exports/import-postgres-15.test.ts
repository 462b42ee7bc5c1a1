// The oldest PostgreSQL that is supported takes exports as the newest does: its COPY reads CSV by other code.
import type { RowFormat } from "@ectus/bag";
import { createLoginRoles, importBag, migrate } from "@ectus/database";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Connection, connectTo } from "../postgres/connect.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { app, owner as ownerLogin, urlAs } from "../postgres/template.ts";
import { type Postgres15, startPostgres15 } from "../postgres-15/start-postgres-15.ts";
import { bagOfTenant, sourceOf } from "./bag-of-tenant.ts";
import { nastyTenant } from "./nasty-tenant.ts";

const postgresql15 = await peer("postgresql-15");
const { log } = recordingLog();

describe.skipIf(postgresql15 === undefined)("PostgreSQL 15", () => {
  let postgres: Postgres15;
  let ownerUrl: string;
  let owner: Connection;

  beforeAll(async () => {
    if (postgresql15 === undefined) return;
    postgres = await startPostgres15(postgresql15.files);
    const superuser = await connectTo(postgres.superuserUrl);
    await createLoginRoles(superuser, { owner: ownerLogin.password, app: app.password });
    await superuser.query(`create database ectus owner ${ownerLogin.role}`);
    await superuser.end();
    ownerUrl = urlAs(postgres.superuserUrl, ownerLogin, "ectus");
    await migrate({ url: ownerUrl, log });
    owner = await connectTo(ownerUrl);
  });
  afterAll(async () => {
    await owner?.end();
    await postgres?.stop();
  });

  test.each<RowFormat>(["ndjson", "csv"])("imports %s with equal values", async (format) => {
    const { id, contents } = await nastyTenant(owner);
    const bag = await bagOfTenant(owner, id, { contents, format, compression: "gzip", rowsPerPart: 5 });
    const stored = new Map<string, string>();
    const { tenantId } = await importBag({
      ownerUrl,
      source: sourceOf(bag),
      report: {
        ok: true,
        faults: [],
        document: bag.document,
        signature: { state: "valid", kid: "k" },
        ...{ files: 0, bytes: 0, rows: 0 },
      },
      store: {
        async write(_tenant, blob, source) {
          for await (const _ of source);
          const { bytes, sha256 } = bag.document.files?.find((file) => file.id === blob) ?? {
            bytes: 0,
            sha256: "",
          };
          stored.set(blob, sha256);
          return { bytes, sha256 };
        },
        async remove() {},
      },
      asNewTenant: true,
      log,
      signal: new AbortController().signal,
    });
    expect(stored.size).toBe(contents.size);
    for (const table of ["users", "completions", "messages", "usage", "token_budgets"]) {
      const rows = async (tenant: string) =>
        (
          await owner.query(
            `select (to_jsonb(t) - 'tenant_id')::text as row from ${table} t where tenant_id = $1 order by 1`,
            [tenant],
          )
        ).rows;
      expect(await rows(tenantId), table).toEqual(await rows(id));
    }
  });
});
