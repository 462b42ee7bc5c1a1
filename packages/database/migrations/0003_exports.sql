-- Exports of a tenant's data, the parts of them that are written, and the public halves of the keys that sign them.

create table exports (
  tenant_id uuid not null references tenants (id),
  id uuid not null,
  created_at timestamptz not null default now(),
  created_by_type text not null check (created_by_type in ('api_key', 'operator')),
  created_by_id uuid,
  origin jsonb,
  idempotency_key text check (length(idempotency_key) between 1 and 255),
  row_format text not null check (row_format in ('ndjson', 'csv')),
  compression text not null check (compression in ('none', 'gzip', 'zstd')),
  scope jsonb not null,
  state text not null default 'queued' check (state in ('queued', 'running', 'ready', 'failed', 'expired')),
  phase text not null default 'waiting'
    check (phase in ('waiting', 'snapshot', 'tables', 'audit_log', 'files', 'verifying', 'sealing', 'done')),
  attempt integer not null default 0,
  interruptions integer not null default 0,
  worker_id uuid,
  lease_until timestamptz,
  started_at timestamptz,
  rows_done bigint not null default 0,
  rows_expected bigint,
  bytes_done bigint not null default 0,
  bytes_expected bigint,
  finished_at timestamptz,
  expires_at timestamptz,
  bag_name text,
  bag_digest bytea check (length(bag_digest) = 32),
  error_code text,
  error_message text,
  primary key (tenant_id, id),
  check ((state = 'running') = (lease_until is not null)),
  check (state <> 'ready' or (bag_name is not null and bag_digest is not null and expires_at is not null))
);
create unique index exports_idempotency on exports (tenant_id, idempotency_key);
create index exports_unfinished on exports (created_at, id) where state in ('queued', 'running');
create index exports_expiry on exports (expires_at) where state = 'ready';
comment on column exports.origin is 'Ids and trace of the request that asked for it';
comment on column exports.lease_until is 'Until when its worker is taken for alive';
comment on column exports.attempt is 'Counts the workers that took it up; a worker may write only while it is its own';
comment on column exports.interruptions is 'Counts those of them that died, or failed for a reason that passes; not those that were stopped';
comment on column exports.rows_expected is 'Null until it was counted';
comment on column exports.bytes_done is 'Of rows before compression and of files';
comment on column exports.bag_digest is 'SHA-256 of tagmanifest-sha256.txt';

-- A file of a bag that is whole and durable in the storage. Rows of a table have a range of keys: from the key after
-- that of the part before it to last_key.
create table export_parts (
  tenant_id uuid not null,
  export_id uuid not null,
  path text not null check (length(path) between 1 and 250),
  kind text not null check (kind in ('rows', 'file', 'tag')),
  blob_id uuid not null,
  bytes bigint not null check (bytes >= 0),
  sha256 bytea not null check (length(sha256) = 32),
  source text,
  number integer check (number > 0),
  row_count bigint check (row_count >= 0),
  row_bytes bigint check (row_bytes >= 0),
  row_digest text check (row_digest ~ '^[0-9a-f]{16}$'),
  last_key jsonb,
  primary key (tenant_id, export_id, path),
  foreign key (tenant_id, export_id) references exports (tenant_id, id) on delete cascade,
  check ((kind = 'rows') = (number is not null and row_count is not null and row_bytes is not null and row_digest is not null)),
  check ((kind = 'tag') = (source is null))
);
create index export_parts_blob on export_parts (tenant_id, blob_id);
comment on column export_parts.source is 'The table of rows, the id of a file';
comment on column export_parts.row_bytes is 'Before compression';
comment on column export_parts.last_key is 'Key of its last row as texts; null if its table has no more rows';

-- Keys that bags were signed with, so that old bags can be checked when the key has changed.
create table signing_keys (
  kid text primary key,
  public_key bytea not null check (length(public_key) = 32),
  created_at timestamptz not null default now()
);
comment on column signing_keys.kid is 'JWK thumbprint (RFC 7638)';

do $$
declare
  t text;
begin
  foreach t in array array['exports', 'export_parts'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy tenants_in_scope on %I to ectus_app using (tenant_id = any ((select scope_tenants())::uuid[])) with check (tenant_id = any ((select scope_tenants())::uuid[]))', t);
    execute format('create policy owner on %I to current_user using (true) with check (true)', t);
  end loop;
end $$;
alter table signing_keys enable row level security, force row level security;
create policy owner on signing_keys to current_user using (true) with check (true);
create policy everybody on signing_keys to ectus_app using (true) with check (true);
grant select, insert, update, delete on exports, export_parts to ectus_app;
grant select, insert on signing_keys to ectus_app;

-- Wakes workers when there may be something to do: an export that waits, or a place.
create function notify_export_change() returns trigger language plpgsql as $$
begin
  perform pg_notify('ectus_exports', '');
  return null;
end $$;
create trigger exports_change after insert or delete or update of state on exports
  for each row execute function notify_export_change();

-- Gives a worker the next export that waits, or one whose worker is gone: at most so many at a time in all, and of one
-- tenant. One that pauses has no worker, and takes no place. Sees past row-level security, since a worker has to find
-- whose turn it is.
create function claim_export(worker uuid, lease interval, most integer, most_of_tenant integer)
  returns table (tenant_id uuid, id uuid)
  language plpgsql security definer
  set search_path = pg_catalog, public, pg_temp
  as $$
#variable_conflict use_column
begin
  -- Or two that claim at once would both see a free place.
  perform pg_advisory_xact_lock(hashtextextended('ectus claim_export', 0));
  if (select count(*) from public.exports
      where state = 'running' and worker_id is not null and lease_until > now()) >= most then return; end if;
  return query
    update public.exports set state = 'running', phase = 'waiting', attempt = attempt + 1,
                              interruptions = interruptions + (state = 'running')::integer, worker_id = worker,
                              lease_until = now() + lease, started_at = coalesce(started_at, now())
    where (tenant_id, id) = (
      select e.tenant_id, e.id from public.exports e
      where (e.state = 'queued' or e.state = 'running' and e.lease_until <= now())
        and (select count(*) from public.exports o where o.tenant_id = e.tenant_id and o.state = 'running'
               and o.worker_id is not null and o.lease_until > now()) < most_of_tenant
      order by e.created_at, e.id limit 1 for update skip locked)
    returning exports.tenant_id, exports.id;
end $$;
revoke execute on function claim_export from public;
grant execute on function claim_export to ectus_app;

-- Exports whose time is over, of all tenants.
create function find_expired_exports(most integer) returns table (tenant_id uuid, id uuid)
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
  as $$
    select tenant_id, id from public.exports where state = 'ready' and expires_at <= now() order by expires_at limit most
  $$;
revoke execute on function find_expired_exports from public;
grant execute on function find_expired_exports to ectus_app;

-- Since when the oldest export of all tenants that is not finished waits or runs.
create function oldest_unfinished_export() returns timestamptz
  language sql stable security definer
  set search_path = pg_catalog, public, pg_temp
  as $$
    select min(created_at) from public.exports where state in ('queued', 'running')
  $$;
revoke execute on function oldest_unfinished_export from public;
grant execute on function oldest_unfinished_export to ectus_app;
