-- Several Queue processes share the shards. New tables only: a program that does not know them goes on.

-- The processes that take shards. Renewed about once a second together with the shards that they own.
CREATE TABLE queue_processes (
    id         uuid        PRIMARY KEY,
    -- The URL under which Gateways and Workers reach it.
    address    text        NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 20);

-- What a tenant has brought, by the process that took it: each counts for itself and writes its own row, at most once a
-- second. What earlier programs counted stands in tenant_usage; the sum of both counts.
CREATE TABLE tenant_usage_parts (
    tenant  text   NOT NULL,
    -- In UTC.
    day     date   NOT NULL,
    process uuid   NOT NULL,
    tasks   bigint NOT NULL,
    bytes   bigint NOT NULL,
    PRIMARY KEY (tenant, day, process)
) WITH (fillfactor = 50);
CREATE INDEX tenant_usage_parts_by_day ON tenant_usage_parts (day);

-- The shard of a submission, for tables that do not store it.
CREATE FUNCTION shard_of(submission_id uuid) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (get_byte(uuid_send(submission_id), 15) & 63)::smallint
$$;
