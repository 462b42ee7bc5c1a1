-- The two writes of an inference request, each one round trip: taking tokens to spend, and settling what was spent.

-- Locks, in this order, so that no two transactions wait for each other: the instance whose leases change, then budgets
-- by tenant and month, then leases. A settlement takes leases first and budgets after, which the lock on the instance
-- makes safe; a renewal passes over leases that are locked.
create function lock_instance(instance uuid) returns void language sql
  return pg_advisory_xact_lock(hashtextextended(instance::text, 0));

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
  perform lock_instance(instance);
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
  select budget - committed + surplus into remaining from token_budgets
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
  update token_budgets set committed = committed - surplus + granted where tenant_id = tenant and month = for_month;
end $$;

-- Takes back what an instance holds beyond `keep`.
create function return_tokens(tenant uuid, for_month date, instance uuid, keep bigint) returns void
  language plpgsql as $$
declare
  given bigint;
begin
  perform set_config('ectus.tenants', '{' || tenant || '}', true);
  perform lock_instance(instance);
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
  update token_budgets set committed = committed - given where tenant_id = tenant and month = for_month;
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

-- What a settlement says of one request: the columns of usage in this version. A later version that says more makes a
-- type and a function of its own, since an older program sends this one while both run.
create type settled_request as (
  tenant_id uuid, id uuid, created_at timestamptz, api_key_id uuid, request_id text, operation text, model text,
  provider text, outcome text, streamed boolean, input_tokens integer, output_tokens integer, cached_tokens integer,
  reasoning_tokens integer, charged_tokens bigint, cost_usd numeric, duration_ms integer
);
create type month_tokens as (tenant_id uuid, month date, tokens bigint);

-- Writes a batch of finished requests: usage rows, what they take from leases and budgets, completions to be stored, and
-- the keys' last use. Sending a batch again changes nothing, so it can be repeated when a connection broke.
-- leased: what the instance believes to have leased of the charges; unleased: the rest of them; both one element a
-- tenant and month. more: { completions: […], messages: […], keys: [{tenant_id, id}] }, each optional.
-- Columns that a later version adds to completions or messages must allow null: an older version does not send them,
-- and a default would not apply here.
create function settle(tenants text, instance uuid, requests settled_request[], leased month_tokens[],
                       unleased month_tokens[], more jsonb) returns void
  language plpgsql as $$
declare
  fresh integer;
  lowered month_tokens[];
begin
  perform set_config('ectus.tenants', tenants, true);
  insert into usage (tenant_id, id, created_at, api_key_id, request_id, operation, model, provider, outcome, streamed,
                     input_tokens, output_tokens, cached_tokens, reasoning_tokens, charged_tokens, cost_usd, duration_ms)
    select tenant_id, id, created_at, api_key_id, request_id, operation, model, provider, outcome, streamed,
           input_tokens, output_tokens, cached_tokens, reasoning_tokens, charged_tokens, cost_usd, duration_ms
    from unnest(requests)
    on conflict do nothing;
  get diagnostics fresh = row_count;
  -- A batch is committed as a whole: none of its rows is new, so all of it is there. A completion that was deleted since
  -- must not come back.
  if fresh = 0 then return; end if;
  if fresh < cardinality(requests) then
    raise exception 'a settlement has % of % requests that are settled already', cardinality(requests) - fresh, cardinality(requests);
  end if;

  if cardinality(leased) > 0 then
    perform lock_instance(instance);
    with done as (
      update token_leases l set tokens = l.tokens - c.tokens from unnest(leased) c
        where l.tenant_id = c.tenant_id and l.month = c.month and l.instance_id = instance and l.tokens >= c.tokens
        returning l.tenant_id, l.month, c.tokens
    )
    select array_agg(row (done.tenant_id, done.month, done.tokens)::month_tokens) into lowered from done;
  end if;
  if coalesce(cardinality(lowered), 0) < coalesce(cardinality(leased), 0) then
    perform charge_beyond_leases(instance, array(select c from unnest(leased) c except select d from unnest(lowered) d), unleased);
  elsif cardinality(unleased) > 0 then
    insert into token_budgets as b (tenant_id, month, committed)
      select tenant_id, month, tokens from unnest(unleased) order by tenant_id, month
      on conflict (tenant_id, month) do update set committed = b.committed + excluded.committed;
  end if;

  if more is null then return; end if;
  insert into completions select * from jsonb_populate_recordset(null::completions, more -> 'completions')
    on conflict do nothing;
  insert into messages select * from jsonb_populate_recordset(null::messages, more -> 'messages') on conflict do nothing;
  update api_keys set last_used_at = now() from (
    select k.tenant_id, k.id from api_keys k
      join jsonb_to_recordset(more -> 'keys') as used (tenant_id uuid, id uuid) using (tenant_id, id)
      for no key update of k skip locked
  ) used
  where api_keys.tenant_id = used.tenant_id and api_keys.id = used.id;
end $$;

-- The rare part of a settlement: leases that are gone or smaller than the instance believes. They pay what they can, and
-- the budget is charged with the rest.
create function charge_beyond_leases(instance uuid, leased month_tokens[], unleased month_tokens[]) returns void
  language plpgsql as $$
declare
  charge record;
  paid bigint;
begin
  for charge in
    select tenant_id, month, sum(of_lease)::bigint as of_lease, sum(of_budget)::bigint as of_budget
      from (select tenant_id, month, tokens as of_lease, 0 as of_budget from unnest(leased)
            union all select tenant_id, month, 0, tokens from unnest(unleased)) charges
      group by tenant_id, month order by tenant_id, month
  loop
    insert into token_budgets (tenant_id, month) values (charge.tenant_id, charge.month) on conflict do nothing;
    perform from token_budgets where tenant_id = charge.tenant_id and month = charge.month for update;
    select least(tokens, charge.of_lease) into paid from token_leases
      where tenant_id = charge.tenant_id and month = charge.month and instance_id = instance for update;
    paid := coalesce(paid, 0);
    update token_leases set tokens = tokens - paid
      where tenant_id = charge.tenant_id and month = charge.month and instance_id = instance;
    update token_budgets set committed = committed + charge.of_budget + charge.of_lease - paid
      where tenant_id = charge.tenant_id and month = charge.month;
  end loop;
end $$;

-- Takes back what one instance held that has not renewed its lease: it is gone, and its requests with it. Returns the
-- tokens, or null when there is no such lease. An instance that is at work on its leases is passed over.
create function reclaim_lease() returns bigint language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp as $$
declare
  expired record;
  given bigint;
begin
  -- The offset keeps the planner from trying locks of leases that have not expired (manual, 13.3.5).
  select tenant_id, month, instance_id into expired
    from (select tenant_id, month, instance_id from public.token_leases where expires_at < now() offset 0) candidates
    where pg_try_advisory_xact_lock(hashtextextended(instance_id::text, 0)) limit 1;
  if not found then return null; end if;
  perform from public.token_budgets where tenant_id = expired.tenant_id and month = expired.month for update;
  delete from public.token_leases
    where tenant_id = expired.tenant_id and month = expired.month and instance_id = expired.instance_id and expires_at < now()
    returning tokens into given;
  update public.token_budgets set committed = committed - coalesce(given, 0)
    where tenant_id = expired.tenant_id and month = expired.month;
  return coalesce(given, 0);
end $$;

-- Keeps an instance's leases for longer, and returns those that it still has.
create function renew_leases(tenants text, instance uuid, ttl interval)
  returns table (renewed_tenant uuid, renewed_month date) language plpgsql as $$
begin
  perform set_config('ectus.tenants', tenants, true);
  return query
    with live as (
      select tenant_id, month from token_leases
        where instance_id = instance and tenant_id = any (tenants::uuid[]) and expires_at > now()
        for update skip locked
    )
    update token_leases l set expires_at = now() + ttl from live
      where l.tenant_id = live.tenant_id and l.month = live.month and l.instance_id = instance
      returning l.tenant_id, l.month;
end $$;

revoke execute on function lease_tokens, return_tokens, lease_rate, return_rate, lock_instance, settle, charge_beyond_leases,
  reclaim_lease, renew_leases from public;
grant execute on function lease_tokens, return_tokens, lease_rate, return_rate, lock_instance, settle, charge_beyond_leases,
  reclaim_lease, renew_leases to ectus_app;
