// Random histories of leases, settlements and budgets against PostgreSQL and a model of the books: after every step both
// say the same.
import { randomUUIDv7 } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findBookFaults, newUsage } from "../../../../tests/postgres/account-books.ts";
import { newTenant, type TestTenant } from "../../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import { type Settlement, settle } from "./settle.ts";
import { leaseTokens, reclaimLeases, renewLeases, returnTokens } from "./token-leases.ts";

const months = ["2026-01-01", "2026-02-01"] as const;
const instances = Array.from({ length: 3 }, () => randomUUIDv7());
const living = 600;
const expired = -1;
let opened: OpenTestDatabase;
let tenants: readonly TestTenant[];

beforeAll(async () => {
  opened = await openTestDatabase();
  tenants = [];
  for (let count = 0; count < 3; count++) tenants = [...tenants, await newTenant(opened.database)];
});
afterAll(() => opened.close());

// Tenants, months and instances by their number.
interface Place {
  readonly tenant: number;
  readonly month: number;
}
interface Charge extends Place {
  readonly charged: number;
  /** How many of the charged tokens the instance believes to have leased. */
  readonly leased: number;
}
type Step =
  | (Place & {
      readonly kind: "lease";
      readonly instance: number;
      readonly held: number;
      readonly need: number;
      readonly block: number;
      readonly ttl: number;
    })
  | (Place & { readonly kind: "return"; readonly instance: number; readonly keep: number })
  | { readonly kind: "settle"; readonly instance: number; readonly charges: readonly Charge[] }
  | { readonly kind: "settle again"; readonly instance: number }
  | {
      readonly kind: "renew";
      readonly instance: number;
      readonly of: readonly number[];
      readonly ttl: number;
    }
  | { readonly kind: "reclaim" }
  | { readonly kind: "budget"; readonly tenant: number; readonly budget: number | null };

const tokens = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 1_000 }));
const place = { tenant: fc.nat({ max: 2 }), month: fc.nat({ max: 1 }) };
const instance = fc.nat({ max: 2 });
const ttl = fc.oneof({ weight: 3, arbitrary: fc.constant(living) }, fc.constant(expired));
const kind = <const K extends string>(name: K) => fc.constant(name);
const charge: fc.Arbitrary<Charge> = fc
  .record({ ...place, charged: tokens, leased: tokens })
  .map((one) => ({ ...one, leased: Math.min(one.leased, one.charged) }));
const lease = fc
  .record({ ...place, kind: kind("lease"), instance, held: tokens, need: tokens, block: tokens, ttl })
  .map((one) => ({ ...one, need: one.need + 1, block: one.block + one.need + 1 }));
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: lease },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: kind("settle"),
      instance,
      charges: fc.array(charge, { minLength: 1, maxLength: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("settle again"), instance }) },
  { weight: 2, arbitrary: fc.record({ ...place, kind: kind("return"), instance, keep: tokens }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("renew"), instance, of: fc.subarray([0, 1, 2]), ttl }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("reclaim") }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: kind("budget"),
      tenant: place.tenant,
      budget: fc.option(fc.integer({ min: 0, max: 2_000 }), { nil: null }),
    }),
  },
);

interface ModelLease {
  tokens: number;
  alive: boolean;
}

/** The books as they should be, by names as `tenant month` and `tenant month instance`. */
class Model {
  readonly budgets: (number | null)[] = [null, null, null];
  readonly committed = new Map<string, number>();
  readonly leases = new Map<string, ModelLease>();
  readonly used = new Map<string, number>();

  lease({ tenant, month, instance: by, held, need, block, ttl: lives }: Step & { kind: "lease" }) {
    const at = `${tenant} ${month}`;
    const found = this.leases.get(`${at} ${by}`);
    const surplus = Math.max((found?.tokens ?? 0) - held, 0);
    const budget = this.budgets[tenant] ?? null;
    this.commit(at, -surplus);
    const left = budget === null ? block : budget - (this.committed.get(at) ?? 0);
    const granted =
      budget === null ? block : left < need ? 0 : Math.max(need, Math.min(block, Math.floor(left / 4)));
    if (granted > 0 || surplus > 0)
      this.leases.set(`${at} ${by}`, {
        tokens: (found?.tokens ?? 0) - surplus + granted,
        alive: lives === living,
      });
    this.commit(at, granted);
    return { granted, remaining: left, kept: found !== undefined };
  }

  giveBack({ tenant, month, instance: by, keep }: Step & { kind: "return" }): void {
    const at = `${tenant} ${month}`;
    const found = this.leases.get(`${at} ${by}`);
    if (found === undefined) return;
    const given = Math.max(found.tokens - keep, 0);
    found.tokens -= given;
    if (keep === 0) this.leases.delete(`${at} ${by}`);
    this.commit(at, -given);
  }

  settle({ instance: by, charges }: Step & { kind: "settle" }): void {
    for (const { tenant, month, charged, leased } of charges) {
      const at = `${tenant} ${month}`;
      this.used.set(at, (this.used.get(at) ?? 0) + charged);
      const found = this.leases.get(`${at} ${by}`);
      const paid = Math.min(found?.tokens ?? 0, leased);
      if (found !== undefined) found.tokens -= paid;
      if (charged > 0) this.commit(at, charged - paid);
    }
  }

  renew({ instance: by, of, ttl: lives }: Step & { kind: "renew" }): string[] {
    const renewed: string[] = [];
    for (const [name, found] of this.leases) {
      const [tenant, month, holder] = name.split(" ").map(Number) as [number, number, number];
      if (holder !== by || !of.includes(tenant) || !found.alive) continue;
      found.alive = lives === living;
      renewed.push(`${tenant} ${month}`);
    }
    return renewed.sort();
  }

  reclaim(): number {
    let total = 0;
    for (const [name, found] of this.leases) {
      if (found.alive) continue;
      total += found.tokens;
      this.leases.delete(name);
      this.commit(name.split(" ").slice(0, 2).join(" "), -found.tokens);
    }
    return total;
  }

  private commit(at: string, amount: number): void {
    this.committed.set(at, (this.committed.get(at) ?? 0) + amount);
  }
}

const tenantOf = (index: number): TestTenant => tenants[index] as TestTenant;
const monthOf = (index: number): string => months[index] as string;
const instanceOf = (index: number): string => instances[index] as string;
const nameOf = (tenantId: string, month: string): string =>
  `${tenants.findIndex(({ id }) => id === tenantId)} ${(months as readonly string[]).indexOf(month)}`;

/** What is in the database, named as in the model; months in which nothing is committed are left out. */
async function readBooks() {
  const { rows } = await opened.owner.query<{
    what: string;
    tenant: string;
    month: string;
    n: string;
    by: string;
  }>(`
    select 'committed' as what, tenant_id as tenant, month::text, committed as n, '' as by from token_budgets where committed <> 0
    union all select 'lease', tenant_id, month::text, tokens, instance_id::text || (expires_at > now()) from token_leases
    union all select 'used', tenant_id, to_char(created_at at time zone 'UTC', 'YYYY-MM-01'), sum(charged_tokens), ''
      from usage group by 2, 3 having sum(charged_tokens) <> 0`);
  return rows.map(({ what, tenant, month, n, by }) => `${what} ${nameOf(tenant, month)} ${by} ${n}`).sort();
}

function booksOf(model: Model): string[] {
  const amounts = (what: string, sums: ReadonlyMap<string, number>) =>
    [...sums].filter(([, n]) => n !== 0).map(([at, n]) => `${what} ${at}  ${n}`);
  const leases = [...model.leases].map(([name, { tokens: n, alive }]) => {
    const [tenant, month, by] = name.split(" ").map(Number) as [number, number, number];
    return `lease ${tenant} ${month} ${instanceOf(by)}${alive} ${n}`;
  });
  return [...amounts("committed", model.committed), ...amounts("used", model.used), ...leases].sort();
}

async function clear(): Promise<void> {
  await opened.owner.query(
    "delete from token_leases; delete from token_budgets; delete from usage; update tenants set monthly_token_budget = null where monthly_token_budget is not null",
  );
}

const settlementsOf = (charges: readonly Charge[]): Settlement[] =>
  charges.map(({ tenant, month, charged, leased }) => ({
    usage: newUsage(tenantOf(tenant), {
      created_at: `${monthOf(month).slice(0, 7)}-28T23:59:59.999Z`,
      charged_tokens: charged,
    }),
    leasedTokens: leased,
    touchKey: false,
  }));

async function perform(one: Step, model: Model, history: Settlement[][]): Promise<void> {
  const { database } = opened;
  switch (one.kind) {
    case "lease": {
      const { held, need, block, ttl: ttlSeconds } = one;
      const id = {
        tenantId: tenantOf(one.tenant).id,
        month: monthOf(one.month),
        instanceId: instanceOf(one.instance),
      };
      const answer = await leaseTokens(database, { ...id, held, need, block, ttlSeconds });
      expect(answer).toEqual(model.lease(one));
      return;
    }
    case "return":
      await returnTokens(database, {
        tenantId: tenantOf(one.tenant).id,
        month: monthOf(one.month),
        instanceId: instanceOf(one.instance),
        keep: one.keep,
      });
      model.giveBack(one);
      return;
    case "settle": {
      const batch = settlementsOf(one.charges);
      history.push(batch);
      await settle(database, instanceOf(one.instance), batch);
      model.settle(one);
      return;
    }
    case "settle again":
      await settle(database, instanceOf(one.instance), history.at(-1) ?? []);
      return;
    case "renew": {
      const renewed = await renewLeases(database, {
        tenantIds: one.of.map((tenant) => tenantOf(tenant).id),
        instanceId: instanceOf(one.instance),
        ttlSeconds: one.ttl,
      });
      expect(renewed.map(({ tenantId, month }) => nameOf(tenantId, month)).sort()).toEqual(model.renew(one));
      return;
    }
    case "reclaim":
      expect(await reclaimLeases(database)).toBe(model.reclaim());
      return;
    case "budget":
      await opened.owner.query("update tenants set monthly_token_budget = $2 where id = $1", [
        tenantOf(one.tenant).id,
        one.budget,
      ]);
      model.budgets[one.tenant] = one.budget;
  }
}

test("after every step of any history, the books are those of the model", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30, size: "max" }), async (steps) => {
      await clear();
      const model = new Model();
      const history: Settlement[][] = [];
      for (const one of steps) {
        await perform(one, model, history);
        expect(await readBooks()).toEqual(booksOf(model));
        expect(await findBookFaults(opened.owner)).toEqual([]);
      }
    }),
    { numRuns: 80, interruptAfterTimeLimit: 5_000 },
  );
});
