-- The two writes of an inference request, each one round trip: taking tokens to spend, and settling what was spent.

-- Gives an instance tokens of a tenant's month to spend without asking again. `need` is the least that helps,
-- `block` what it would like. Grants 0 when less than `need` is left. Near the end of the budget it grants small
-- amounts, so that one instance does not hold what another one needs.
create function lease_tokens(tenant uuid, for_month date, instance uuid, need bigint, block bigint, ttl interval,
                             out granted bigint, out remaining bigint)
  language plpgsql as $$
declare
  budget bigint;
begin
  perform set_config('ectus.tenants', '{' || tenant || '}', true);
  select monthly_token_budget into budget from tenants where id = tenant;
  insert into token_budgets (tenant_id, month) values (tenant, for_month) on conflict do nothing;
  select budget - spent - leased into remaining from token_budgets where tenant_id = tenant and month = for_month for update;
  if budget is null then
    granted := block;
    remaining := block;
  elsif remaining < need then
    granted := 0;
  else
    granted := greatest(need, least(block, remaining / 4));
  end if;
  if granted > 0 then
    update token_budgets set leased = leased + granted where tenant_id = tenant and month = for_month;
    insert into token_leases as l (tenant_id, month, instance_id, tokens, expires_at)
      values (tenant, for_month, instance, granted, now() + ttl)
      on conflict (tenant_id, month, instance_id)
      do update set tokens = l.tokens + excluded.tokens, expires_at = excluded.expires_at;
  end if;
end $$;

-- Gives back tokens that an instance no longer needs.
create function return_tokens(tenant uuid, for_month date, instance uuid, unused bigint) returns void
  language plpgsql as $$
declare
  given bigint;
begin
  perform set_config('ectus.tenants', '{' || tenant || '}', true);
  -- The budget's row is locked first, here as everywhere, so that no two transactions wait for each other.
  perform from token_budgets where tenant_id = tenant and month = for_month for update;
  select least(tokens, unused) into given from token_leases
    where tenant_id = tenant and month = for_month and instance_id = instance for update;
  if given is null then return; end if;
  update token_leases set tokens = tokens - given
    where tenant_id = tenant and month = for_month and instance_id = instance;
  delete from token_leases where tenant_id = tenant and month = for_month and instance_id = instance and tokens = 0;
  update token_budgets set leased = leased - given where tenant_id = tenant and month = for_month;
end $$;

-- Takes requests and tokens of a key's current minute for an instance. Grants 0 requests when the minute is used up.
create function lease_rate(tenant uuid, api_key uuid, minute timestamptz, need_tokens bigint, block_requests bigint,
                           block_tokens bigint, limit_requests bigint, limit_tokens bigint,
                           out granted_requests bigint, out granted_tokens bigint)
  language plpgsql as $$
declare
  w rate_windows;
begin
  perform set_config('ectus.tenants', '{' || tenant || '}', true);
  insert into rate_windows as r (tenant_id, api_key_id, window_start) values (tenant, api_key, minute)
    on conflict (tenant_id, api_key_id) do update set
      window_start = greatest(r.window_start, excluded.window_start),
      requests = case when r.window_start < excluded.window_start then 0 else r.requests end,
      tokens = case when r.window_start < excluded.window_start then 0 else r.tokens end
    returning * into w;
  granted_requests := case when limit_requests is null then block_requests else least(block_requests, limit_requests - w.requests) end;
  granted_tokens := case when limit_tokens is null then block_tokens else least(block_tokens, limit_tokens - w.tokens) end;
  if granted_requests <= 0 or granted_tokens < need_tokens then
    granted_requests := greatest(granted_requests, 0);
    granted_tokens := greatest(granted_tokens, 0);
    return;
  end if;
  update rate_windows set requests = requests + granted_requests, tokens = tokens + granted_tokens
    where tenant_id = tenant and api_key_id = api_key;
end $$;

-- Writes a batch of finished requests: usage rows, what they take from budgets and leases, completions to be stored,
-- and the keys' last use. Sending a batch again changes nothing, so it can be repeated when a connection broke.
-- batch: { tenants: "{id,…}", instance, usage: […], completions: […], messages: […], keys: [{tenant_id, id}] }
create function settle(batch jsonb) returns void language plpgsql as $$
declare
  charged jsonb;
begin
  perform set_config('ectus.tenants', batch ->> 'tenants', true);

  with settled as (
    insert into usage
      select * from jsonb_populate_recordset(null::usage, batch -> 'usage')
      on conflict do nothing
      returning tenant_id, date_trunc('month', created_at at time zone 'UTC')::date as month, charged_tokens
  ), sums as (
    select tenant_id, month, sum(charged_tokens)::bigint as tokens from settled group by tenant_id, month
  ), spent as (
    -- All instances take these locks in one order, and before those of the leases.
    insert into token_budgets as b (tenant_id, month, spent)
      select tenant_id, month, tokens from sums order by tenant_id, month
      on conflict (tenant_id, month) do update set spent = b.spent + excluded.spent
  )
  select jsonb_agg(sums) into charged from sums;

  -- What was spent is no longer leased.
  with held as (
    select l.tenant_id, l.month, least(l.tokens, c.tokens) as tokens
      from jsonb_to_recordset(charged) as c (tenant_id uuid, month date, tokens bigint)
      join token_leases l on l.tenant_id = c.tenant_id and l.month = c.month and l.instance_id = (batch ->> 'instance')::uuid
      for update of l
  ), lowered as (
    update token_leases l set tokens = l.tokens - held.tokens from held
      where l.tenant_id = held.tenant_id and l.month = held.month and l.instance_id = (batch ->> 'instance')::uuid
  )
  update token_budgets b set leased = b.leased - held.tokens from held
    where b.tenant_id = held.tenant_id and b.month = held.month;

  if batch ? 'completions' then
    insert into completions select * from jsonb_populate_recordset(null::completions, batch -> 'completions')
      on conflict do nothing;
    insert into messages select * from jsonb_populate_recordset(null::messages, batch -> 'messages')
      on conflict do nothing;
  end if;

  if batch ? 'keys' then
    update api_keys set last_used_at = now() from (
      select k.tenant_id, k.id from api_keys k
        join jsonb_to_recordset(batch -> 'keys') as used (tenant_id uuid, id uuid) using (tenant_id, id)
        for no key update of k skip locked
    ) used
    where api_keys.tenant_id = used.tenant_id and api_keys.id = used.id;
  end if;
end $$;

-- Takes back what instances held that have not renewed their leases: they are gone, and their requests with them.
create function reclaim_leases() returns bigint language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp as $$
declare
  expired record;
  given bigint;
  total bigint := 0;
begin
  for expired in
    select tenant_id, month, instance_id from public.token_leases where expires_at < now() order by tenant_id, month
  loop
    perform from public.token_budgets where tenant_id = expired.tenant_id and month = expired.month for update;
    delete from public.token_leases
      where tenant_id = expired.tenant_id and month = expired.month and instance_id = expired.instance_id and expires_at < now()
      returning tokens into given;
    if given is not null then
      update public.token_budgets set leased = leased - given where tenant_id = expired.tenant_id and month = expired.month;
      total := total + given;
    end if;
  end loop;
  return total;
end $$;

-- Keeps an instance's leases for longer.
create function renew_leases(tenants text, instance uuid, ttl interval) returns void language plpgsql as $$
begin
  perform set_config('ectus.tenants', tenants, true);
  update token_leases set expires_at = now() + ttl where instance_id = instance and tenant_id = any (scope_tenants());
end $$;

revoke execute on function lease_tokens, return_tokens, lease_rate, settle, reclaim_leases, renew_leases from public;
grant execute on function lease_tokens, return_tokens, lease_rate, settle, reclaim_leases, renew_leases to ectus_app;
