-- Tenants, their keys, users, stored completions, files, usage, budgets and the audit log.
-- Every tenant-owned table has tenant_id first in its primary key and row-level security on the tenants in scope.

-- The tenants that the current transaction may touch: the setting ectus.tenants, an array literal of ids.
-- Unset or empty means none.
create function scope_tenants() returns uuid[]
  language sql stable parallel safe
  return nullif(current_setting('ectus.tenants', true), '')::uuid[];

create table tenants (
  id uuid primary key,
  name text not null check (length(name) between 1 and 200),
  state text not null default 'active' check (state in ('active', 'suspended')),
  requests_per_minute integer check (requests_per_minute > 0),
  tokens_per_minute integer check (tokens_per_minute > 0),
  monthly_token_budget bigint check (monthly_token_budget >= 0),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on column tenants.requests_per_minute is 'Of each key that has no limit of its own; null is no limit';

-- The platform itself: owner of the operator's keys and of audit entries that belong to no tenant.
insert into tenants (id, name) values ('00000000-0000-0000-0000-000000000000', 'platform');

create table api_keys (
  tenant_id uuid not null references tenants (id),
  id uuid not null,
  name text not null check (length(name) between 1 and 200),
  prefix text not null,
  digest bytea not null check (length(digest) = 32),
  scopes text[] not null check (scopes <@ array['inference', 'admin', 'operator'] and cardinality(scopes) > 0),
  requests_per_minute integer check (requests_per_minute > 0),
  tokens_per_minute integer check (tokens_per_minute > 0),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  primary key (tenant_id, id),
  -- The operator's scope belongs to the platform's keys and to no other.
  check (('operator' = any (scopes)) = (tenant_id = '00000000-0000-0000-0000-000000000000'))
);
create index api_keys_digest on api_keys (digest);
comment on column api_keys.digest is 'HMAC-SHA-256 of the key under API_KEY_SECRET';

create table users (
  tenant_id uuid not null references tenants (id),
  id uuid not null,
  name text not null check (length(name) between 1 and 200),
  email text not null check (length(email) between 3 and 320),
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create unique index users_email on users (tenant_id, lower(email));

create table completions (
  tenant_id uuid not null references tenants (id),
  id uuid not null,
  created_at timestamptz not null,
  model text not null,
  metadata jsonb not null default '{}',
  end_user text,
  request jsonb not null,
  response jsonb not null,
  nul_replaced boolean not null default false,
  primary key (tenant_id, id)
);
comment on column completions.request is 'Parameters of the request without its messages';
comment on column completions.response is 'The answer without its choices';
comment on column completions.nul_replaced is 'The model wrote U+0000, which is stored as U+FFFD';

create table messages (
  tenant_id uuid not null,
  completion_id uuid not null,
  position integer not null,
  direction text not null check (direction in ('input', 'output')),
  role text not null,
  body jsonb not null,
  finish_reason text,
  logprobs jsonb,
  primary key (tenant_id, completion_id, position),
  foreign key (tenant_id, completion_id) references completions (tenant_id, id) on delete cascade
);

create table files (
  tenant_id uuid not null references tenants (id),
  id uuid not null,
  created_at timestamptz not null default now(),
  filename text not null check (length(filename) between 1 and 255),
  purpose text not null,
  content_type text not null,
  bytes bigint not null check (bytes >= 0),
  sha256 bytea not null check (length(sha256) = 32),
  primary key (tenant_id, id)
);

create table usage (
  tenant_id uuid not null,
  id uuid not null,
  created_at timestamptz not null,
  api_key_id uuid not null,
  request_id text not null,
  operation text not null,
  model text not null,
  provider text not null,
  outcome text not null check (outcome in ('completed', 'client_closed', 'interrupted')),
  streamed boolean not null,
  input_tokens integer check (input_tokens >= 0),
  output_tokens integer check (output_tokens >= 0),
  cached_tokens integer check (cached_tokens >= 0),
  reasoning_tokens integer check (reasoning_tokens >= 0),
  charged_tokens bigint not null check (charged_tokens >= 0),
  cost_usd numeric(20, 12),
  duration_ms integer not null,
  primary key (tenant_id, id, created_at)
) partition by range (created_at);
comment on column usage.input_tokens is 'Null when the provider did not say: unknown, never guessed';
comment on column usage.charged_tokens is 'What the budget was charged: the tokens, or the reservation where they are unknown';

create table audit_log (
  tenant_id uuid not null,
  id uuid not null,
  created_at timestamptz not null default now(),
  actor_type text not null check (actor_type in ('api_key', 'operator', 'system')),
  actor_id uuid,
  action text not null,
  target_type text not null,
  target_id text,
  request_id text,
  details jsonb not null default '{}',
  primary key (tenant_id, id, created_at)
) partition by range (created_at);
create index audit_log_created on audit_log (tenant_id, created_at desc, id desc);

create function refuse_audit_change() returns trigger language plpgsql as $$
begin
  raise exception 'the audit log is append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger audit_log_append_only before update or delete on audit_log
  for each row execute function refuse_audit_change();
-- Partitions get the first trigger by themselves; this one is made for each of them.
create trigger audit_log_not_truncated before truncate on audit_log
  for each statement execute function refuse_audit_change();

-- Tokens of a tenant's month (UTC) that nobody else can have: those that are spent and those that instances hold to
-- spend. Invariant with a budget: committed <= monthly_token_budget when a lease is given.
create table token_budgets (
  tenant_id uuid not null references tenants (id),
  month date not null,
  committed bigint not null default 0 check (committed >= 0),
  primary key (tenant_id, month)
);

-- What an instance still holds of them. A settlement lowers it and leaves token_budgets alone, so that it writes one row
-- that belongs to its instance.
create table token_leases (
  tenant_id uuid not null,
  month date not null,
  instance_id uuid not null,
  tokens bigint not null check (tokens >= 0),
  expires_at timestamptz not null,
  primary key (tenant_id, month, instance_id),
  foreign key (tenant_id, month) references token_budgets (tenant_id, month) on delete cascade
) with (fillfactor = 50);
create index token_leases_expiry on token_leases (expires_at);

-- What each key has taken of the current minute. Unlogged: after a crash the minute is over.
create unlogged table rate_windows (
  tenant_id uuid not null,
  api_key_id uuid not null,
  window_start timestamptz not null,
  requests bigint not null default 0,
  tokens bigint not null default 0,
  primary key (tenant_id, api_key_id)
);

-- Row-level security: the application sees the tenants in scope, the owner of the schema sees all.
do $$
declare
  t text;
begin
  foreach t in array array['api_keys', 'users', 'completions', 'messages', 'files', 'usage', 'audit_log',
                           'token_budgets', 'token_leases', 'rate_windows'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    -- As a subquery, the scope is read once a statement; without it, once a row.
    execute format('create policy tenants_in_scope on %I to ectus_app using (tenant_id = any ((select scope_tenants())::uuid[])) with check (tenant_id = any ((select scope_tenants())::uuid[]))', t);
    execute format('create policy owner on %I to current_user using (true) with check (true)', t);
  end loop;
end $$;

-- The platform in scope sees and changes every tenant's row in this one table: that is what an operator's key is for.
alter table tenants enable row level security, force row level security;
create policy owner on tenants to current_user using (true) with check (true);
create policy platform_in_scope on tenants to ectus_app
  using ('00000000-0000-0000-0000-000000000000' = any ((select scope_tenants())::uuid[]))
  with check ('00000000-0000-0000-0000-000000000000' = any ((select scope_tenants())::uuid[]));
-- A tenant may read its own row, but not raise its own limits.
create policy tenants_in_scope on tenants for select to ectus_app
  using (id = any ((select scope_tenants())::uuid[]));

-- What is spent of a month, and what instances hold of it.
create view token_spending with (security_invoker) as
  select b.tenant_id, b.month, (b.committed - coalesce(sum(l.tokens), 0))::bigint as spent,
         coalesce(sum(l.tokens), 0)::bigint as leased
  from token_budgets b left join token_leases l on l.tenant_id = b.tenant_id and l.month = b.month
  group by b.tenant_id, b.month;

grant usage on schema public to ectus_app;
grant select on token_spending to ectus_app;
grant select, insert, update on tenants, api_keys, token_budgets to ectus_app;
grant select, insert, update, delete on users, completions, messages, files, token_leases, rate_windows to ectus_app;
grant select, insert on usage, audit_log to ectus_app;

-- Months for which partitions exist; rows outside go to the default partition, so that none is ever refused.
create table usage_default partition of usage default;
create table audit_log_default partition of audit_log default;
create trigger audit_log_not_truncated before truncate on audit_log_default
  for each statement execute function refuse_audit_change();

-- A month of which the default partition has rows already stays there: its partition could only be made by moving
-- them, and the audit log lets nobody do that.
create procedure create_month_partitions(first_month date, months integer) language plpgsql as $$
declare
  t text;
  month timestamp;
  part text;
  since timestamptz;
  until timestamptz;
  late boolean;
begin
  foreach t in array array['usage', 'audit_log'] loop
    for i in 0 .. months - 1 loop
      month := date_trunc('month', first_month::timestamp) + make_interval(months => i);
      part := t || to_char(month, '_YYYY_MM');
      since := month at time zone 'UTC';
      until := (month + interval '1 month') at time zone 'UTC';
      -- Asked first, because making a partition waits for every reader of the table.
      continue when to_regclass(part) is not null;
      execute format('select exists (select from %I where created_at >= $1 and created_at < $2)', t || '_default')
        into late using since, until;
      continue when late;
      execute format('create table %I partition of %I for values from (%L) to (%L)', part, t, since, until);
      if t = 'audit_log' then
        execute format('create trigger audit_log_not_truncated before truncate on %I for each statement execute function refuse_audit_change()', part);
      end if;
    end loop;
  end loop;
end $$;
revoke execute on procedure create_month_partitions from public;

-- Looks up a key across tenants: the only function that sees past row-level security.
create function find_api_key(digests bytea[])
  returns table (
    tenant_id uuid, key_id uuid, digest bytea, scopes text[], expires_at timestamptz, revoked_at timestamptz,
    tenant_state text, requests_per_minute integer, tokens_per_minute integer, monthly_token_budget bigint
  )
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
  as $$
    select k.tenant_id, k.id, k.digest, k.scopes, k.expires_at, k.revoked_at, t.state,
           coalesce(k.requests_per_minute, t.requests_per_minute),
           coalesce(k.tokens_per_minute, t.tokens_per_minute), t.monthly_token_budget
    from public.api_keys k join public.tenants t on t.id = k.tenant_id
    where k.digest = any (digests)
  $$;
revoke execute on function find_api_key from public;
grant execute on function find_api_key to ectus_app;

-- Tells every instance to forget what it has cached of a key or of a tenant. The key's id and not its digest, because
-- a digest changes when the secret is rotated.
create function notify_key_change() returns trigger language plpgsql as $$
begin
  perform pg_notify('ectus_key_changes', (case when tg_op = 'DELETE' then old.id else new.id end)::text);
  return null;
end $$;
-- Not on a change of last_used_at, which every settlement may write.
create trigger api_keys_change
  after insert or delete or update of digest, scopes, expires_at, revoked_at, requests_per_minute, tokens_per_minute
  on api_keys for each row execute function notify_key_change();

create function notify_tenant_change() returns trigger language plpgsql as $$
begin
  perform pg_notify('ectus_tenant_changes', new.id::text);
  return null;
end $$;
create trigger tenants_change after update on tenants for each row execute function notify_tenant_change();
