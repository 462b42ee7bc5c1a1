-- The two writes of an inference request, each one round trip: taking tokens to spend, and settling what was spent.

-- Locks are taken in one order, so that no two transactions wait for each other: budgets by tenant and month, then the
-- leases under them in the same order. A renewal takes leases alone, in that order too.

-- Gives an instance tokens of a tenant's month to spend without asking again. `held` is what it knows itself to hold:
-- anything beyond that got lost on the way, and goes back first. `need` is the least that helps, `block` what it would
-- like. Grants 0 when less than `need` is left. Near the end of the budget it grants small amounts, so that one
-- instance does not hold what another one needs. `kept` is false when the instance has no lease (any more).
create function lease_tokens(tenant uuid, for_month date, instance uuid, held bigint, need bigint, block bigint,
                             ttl interval, out granted bigint, out remaining bigint, out kept boolean)
  language plpgsql as $$
declare
  budget bigint;
  surplus bigint;
begin
  perform set_config('ectus.tenants', '{' || tenant || '}', true);
  perform from token_budgets where tenant_id = tenant and month = for_month for update;
  if not found then
    insert into token_budgets (tenant_id, month) values (tenant, for_month) on conflict do nothing;
    perform from token_budgets where tenant_id = tenant and month = for_month for update;
  end if;
  select greatest(tokens - held, 0) into surplus from token_leases
    where tenant_id = tenant and month = for_month and instance_id = instance for update;
  kept := found;
  surplus := coalesce(surplus, 0);
  -- Read under the lock: a budget that was lowered while this waited counts.
  select monthly_token_budget into budget from tenants where id = tenant;
  select budget - spent - leased + surplus into remaining from token_budgets
    where tenant_id = tenant and month = for_month;
  if budget is null then
    granted := block;
    remaining := block;
  elsif remaining < need then
    granted := 0;
  else
    granted := greatest(need, least(block, remaining / 4));
  end if;
  if granted = 0 and surplus = 0 then return; end if;
  insert into token_leases as l (tenant_id, month, instance_id, tokens, expires_at)
    values (tenant, for_month, instance, granted, now() + ttl)
    on conflict (tenant_id, month, instance_id)
    do update set tokens = l.tokens - surplus + granted, expires_at = excluded.expires_at;
  update token_budgets set leased = leased - surplus + granted where tenant_id = tenant and month = for_month;
end $$;

-- Takes back what an instance holds beyond `keep`.
create function return_tokens(tenant uuid, for_month date, instance uuid, keep bigint) returns void
  language plpgsql as $$
declare
  given bigint;
begin
  perform set_config('ectus.tenants', '{' || tenant || '}', true);
  perform from token_budgets where tenant_id = tenant and month = for_month for update;
  select greatest(tokens - keep, 0) into given from token_leases
    where tenant_id = tenant and month = for_month and instance_id = instance for update;
  if given is null then return; end if;
  if keep = 0 then
    delete from token_leases where tenant_id = tenant and month = for_month and instance_id = instance;
  else
    update token_leases set tokens = tokens - given
      where tenant_id = tenant and month = for_month and instance_id = instance;
  end if;
  update token_budgets set leased = leased - given where tenant_id = tenant and month = for_month;
end $$;

-- Takes requests and tokens of a key's current minute for an instance, all that it needs or nothing. The minute is the
-- instance's; one that lags counts into the newest that is known. One that is far ahead must not spoil the hours to
-- come, so a minute ahead of this server is the most.
create function lease_rate(tenant uuid, api_key uuid, minute timestamptz, need_requests bigint, need_tokens bigint,
                           block_requests bigint, block_tokens bigint, limit_requests bigint, limit_tokens bigint,
                           out granted_requests bigint, out granted_tokens bigint)
  language plpgsql as $$
declare
  w rate_windows;
begin
  perform set_config('ectus.tenants', '{' || tenant || '}', true);
  insert into rate_windows as r (tenant_id, api_key_id, window_start)
    values (tenant, api_key, least(minute, date_trunc('minute', now()) + interval '1 minute'))
    on conflict (tenant_id, api_key_id) do update set
      window_start = greatest(r.window_start, excluded.window_start),
      requests = case when r.window_start < excluded.window_start then 0 else r.requests end,
      tokens = case when r.window_start < excluded.window_start then 0 else r.tokens end
    returning * into w;
  granted_requests := case when limit_requests is null then block_requests
                      else greatest(least(block_requests, limit_requests - w.requests), 0) end;
  granted_tokens := case when limit_tokens is null then block_tokens
                    else greatest(least(block_tokens, limit_tokens - w.tokens), 0) end;
  if granted_requests < need_requests or granted_tokens < need_tokens then return; end if;
  update rate_windows set requests = requests + granted_requests, tokens = tokens + granted_tokens
    where tenant_id = tenant and api_key_id = api_key;
end $$;

-- Gives back tokens of a minute that is still the current one.
create function return_rate(tenant uuid, api_key uuid, minute timestamptz, unused bigint) returns void
  language plpgsql as $$
begin
  perform set_config('ectus.tenants', '{' || tenant || '}', true);
  update rate_windows set tokens = greatest(tokens - unused, 0)
    where tenant_id = tenant and api_key_id = api_key and window_start = minute;
end $$;

-- Writes a batch of finished requests: usage rows, what they take from budgets and leases, completions to be stored,
-- and the keys' last use. Sending a batch again changes nothing, so it can be repeated when a connection broke.
-- batch: { tenants: "{id,…}", instance, usage: […], leases: [{tenant_id, month, tokens}], completions: […],
--          messages: […], keys: [{tenant_id, id}] }
-- Columns that a later version adds to usage, completions or messages must allow null: an older version does not send
-- them, and a default would not apply here.
create function settle(batch jsonb) returns void language plpgsql as $$
declare
  fresh bigint;
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
    insert into token_budgets as b (tenant_id, month, spent)
      select tenant_id, month, tokens from sums order by tenant_id, month
      on conflict (tenant_id, month) do update set spent = b.spent + excluded.spent
  )
  select count(*) into fresh from settled;
  -- A batch is committed as a whole: none of its rows is new, so all of it is there. A completion that was deleted since
  -- must not come back.
  if fresh = 0 then return; end if;

  -- What was spent is no longer leased.
  if batch ? 'leases' then
    with held as (
      select l.tenant_id, l.month, least(l.tokens, c.tokens) as tokens
        from jsonb_to_recordset(batch -> 'leases') as c (tenant_id uuid, month date, tokens bigint)
        join token_leases l on l.tenant_id = c.tenant_id and l.month = c.month and l.instance_id = (batch ->> 'instance')::uuid
        order by l.tenant_id, l.month
        for update of l
    ), lowered as (
      update token_leases l set tokens = l.tokens - held.tokens from held
        where l.tenant_id = held.tenant_id and l.month = held.month and l.instance_id = (batch ->> 'instance')::uuid
    )
    update token_budgets b set leased = b.leased - held.tokens from held
      where b.tenant_id = held.tenant_id and b.month = held.month;
  end if;

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
    select tenant_id, month, instance_id from public.token_leases where expires_at < now()
      order by tenant_id, month, instance_id
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

-- Keeps an instance's leases for longer, and returns those that it still has.
create function renew_leases(tenants text, instance uuid, ttl interval)
  returns table (renewed_tenant uuid, renewed_month date) language plpgsql as $$
begin
  perform set_config('ectus.tenants', tenants, true);
  return query
    with live as (
      select tenant_id, month from token_leases
        where instance_id = instance and tenant_id = any (scope_tenants()) and expires_at > now()
        order by tenant_id, month
        for update
    )
    update token_leases l set expires_at = now() + ttl from live
      where l.tenant_id = live.tenant_id and l.month = live.month and l.instance_id = instance
      returning l.tenant_id, l.month;
end $$;

revoke execute on function lease_tokens, return_tokens, lease_rate, return_rate, settle, reclaim_leases, renew_leases
  from public;
grant execute on function lease_tokens, return_tokens, lease_rate, return_rate, settle, reclaim_leases, renew_leases
  to ectus_app;
