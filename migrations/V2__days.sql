-- Years of data: `batches` and `results` become partitioned by day, and submissions may say how long they are kept.
--
-- An id is a UUIDv7: its first 48 bits are milliseconds of UTC, so a range of ids is a range of time. `submissions` stays
-- one table: its rows are updated by id, and an update through 400 partitions costs milliseconds.
--
-- Online: nothing is scanned or rewritten here, so the locks are held for milliseconds. What was stored before stays
-- where it is and becomes the DEFAULT partition; the Queue's owner turns that into a partition of its own without
-- stopping anybody (services/queue/src/maintenance), and makes the days from then on.
LOCK TABLE submissions, batches, results IN ACCESS EXCLUSIVE MODE;

-- Kept at least this long after its end; NULL: as long as the Queue keeps others.
ALTER TABLE submissions ADD COLUMN retention_seconds bigint CHECK (retention_seconds > 0);

ALTER TABLE batches RENAME TO batches_default;
ALTER TABLE batches_default RENAME CONSTRAINT batches_pkey TO batches_default_pkey;
CREATE TABLE batches (
    LIKE batches_default INCLUDING DEFAULTS INCLUDING STORAGE,
    PRIMARY KEY (submission_id, sequence)
) PARTITION BY RANGE (submission_id);
ALTER TABLE batches ATTACH PARTITION batches_default DEFAULT;

ALTER TABLE results RENAME TO results_default;
ALTER TABLE results_default RENAME CONSTRAINT results_pkey TO results_default_pkey;
CREATE TABLE results (
    LIKE results_default INCLUDING DEFAULTS INCLUDING STORAGE,
    PRIMARY KEY (submission_id, position)
) PARTITION BY RANGE (submission_id);
ALTER TABLE results ATTACH PARTITION results_default DEFAULT;

-- The lowest id of an instant.
CREATE FUNCTION first_id(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT rpad(lpad(to_hex(floor(extract(epoch FROM instant) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

-- The lowest id of a day of UTC.
CREATE FUNCTION first_id_of(day date) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT first_id(day::timestamp AT TIME ZONE 'UTC')
$$;

-- The day of UTC in which an id was minted.
CREATE FUNCTION day_of(id uuid) RETURNS date
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (timestamp '1970-01-01' + ('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint
                                     * interval '1 millisecond')::date
$$;

-- The partitions of `batches` and `results`, which ids they hold, and tables that were detached and not dropped yet.
-- Their names are the truth: NAME_YYYYMMDD holds a day, NAME_before_YYYYMMDD all before it, NAME_default the rest.
CREATE VIEW partitions AS
SELECT found.parent,
       found.name,
       found.attached,
       found.kind,
       CASE found.kind WHEN 'day' THEN first_id_of(found.day)
                       WHEN 'before' THEN '00000000-0000-0000-0000-000000000000'::uuid END AS from_id,
       CASE found.kind WHEN 'day' THEN first_id_of(found.day + 1)
                       WHEN 'before' THEN first_id_of(found.day) END AS to_id
FROM (SELECT parent.name AS parent,
             c.relname::text AS name,
             c.relispartition AS attached,
             CASE WHEN c.relname ~ '_before_\d{8}$' THEN 'before'
                  WHEN c.relname ~ '_\d{8}$' THEN 'day'
                  ELSE 'default' END AS kind,
             to_date(substring(c.relname FROM '\d{8}$'), 'YYYYMMDD') AS day
      FROM (VALUES ('batches'), ('results')) AS parent (name)
      JOIN pg_class parent_table ON parent_table.oid = parent.name::regclass
      JOIN pg_class c ON c.relnamespace = parent_table.relnamespace AND c.relkind = 'r'
                     AND c.relname ~ ('^' || parent.name || '_((before_)?\d{8}|default)$')) AS found;

-- Makes a day's partition. False: it is there. Fails with a check violation if the DEFAULT partition holds rows of the day.
CREATE FUNCTION make_day(parent text, day date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    name text := parent || to_char(day, '_YYYYMMDD');
BEGIN
    IF to_regclass(quote_ident(name)) IS NOT NULL
       OR EXISTS (SELECT FROM partitions p
                  WHERE p.parent = make_day.parent AND p.attached AND p.kind = 'before' AND p.to_id > first_id_of(day))
    THEN
        RETURN false;
    END IF;
    -- ATTACH lets inserts go on, where CREATE … PARTITION OF would wait for them and they for it.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING CONSTRAINTS)', name, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, name, first_id_of(day), first_id_of(day + 1));
    RETURN true;
END
$$;

-- Turns what was stored before there were days into a partition of its own, in three steps, each of which may be
-- repeated. First: nothing from `day` on may be added to it. Short lock; what is there is not looked at.
CREATE FUNCTION bound_default(parent text, day date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (submission_id < %L) NOT VALID',
                   parent || '_default', to_char(day, '"before_"YYYYMMDD'), first_id_of(day));
END
$$;

-- Second: finds that nothing from `day` on is there. Reads everything, while work goes on.
CREATE FUNCTION check_default(parent text, day date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT %I', parent || '_default', to_char(day, '"before_"YYYYMMDD'));
END
$$;

-- Instead of the third, where the day has come too close: as before the first.
CREATE FUNCTION unbound_default(parent text, day date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', parent || '_default', to_char(day, '"before_"YYYYMMDD'));
END
$$;

-- Third: the bounds. Short lock.
CREATE FUNCTION retire_default(parent text, day date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    old text := parent || '_default';
    name text := parent || to_char(day, '"_before_"YYYYMMDD');
BEGIN
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, old);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', old, name);
    EXECUTE format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', name, old || '_pkey', name || '_pkey');
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', parent, name, first_id_of(day));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', name, to_char(day, '"before_"YYYYMMDD'));
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', old, parent);
END
$$;

-- Takes a partition out of its table: a change of the catalog, under a lock that the caller must not wait for long.
-- Refuses if a submission is left in it. DETACH CONCURRENTLY is not to be had where there is a DEFAULT partition.
CREATE FUNCTION detach_partition(parent text, name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, name);
    IF EXISTS (SELECT FROM partitions p JOIN submissions s ON s.id >= p.from_id AND s.id < p.to_id
               WHERE p.parent = detach_partition.parent AND p.name = detach_partition.name)
    THEN
        RAISE EXCEPTION 'partition % still has submissions', name USING ERRCODE = 'HM003';
    END IF;
END
$$;

-- Drops a table that was detached.
CREATE FUNCTION drop_detached(name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM partitions p WHERE p.name = drop_detached.name AND NOT p.attached) THEN
        EXECUTE format('DROP TABLE %I', name);
    END IF;
END
$$;

-- As it was, over the new tables. A constant submission_id reaches every table, so that only its day is read.
CREATE OR REPLACE VIEW tasks AS
SELECT r.submission_id,
       r.sequence,
       r.first_task + i AS task,
       CASE WHEN b.names IS NULL THEN NULL
            ELSE name_text(substring(b.names FROM coalesce(b.name_ends[r.first_task + i], 0) + 1
                                     FOR b.name_ends[r.first_task + i + 1] - coalesce(b.name_ends[r.first_task + i], 0)))
       END AS name,
       CASE WHEN r.statuses IS NULL THEN 'succeeded'
            ELSE (ARRAY['succeeded', 'mismatched', 'failed'])[get_byte(r.statuses, i)]
       END AS status,
       r.attempt::integer AS attempt,
       b.created_at
FROM results r
CROSS JOIN LATERAL generate_series(0, r.task_count - 1) AS i
LEFT JOIN batches b ON b.submission_id = r.submission_id AND b.sequence = r.sequence
UNION ALL
SELECT b.submission_id,
       b.sequence,
       t AS task,
       CASE WHEN b.names IS NULL THEN NULL
            ELSE name_text(substring(b.names FROM coalesce(b.name_ends[t], 0) + 1
                                     FOR b.name_ends[t + 1] - coalesce(b.name_ends[t], 0)))
       END AS name,
       CASE WHEN s.state = 'cancelled' THEN 'cancelled'
            WHEN l.worker IS NOT NULL THEN 'leased'
            ELSE 'queued'
       END AS status,
       coalesce(l.attempt::integer, 1) AS attempt,
       b.created_at
FROM submissions s
JOIN batches b ON b.submission_id = s.id AND b.sequence >= s.resolved_through
CROSS JOIN LATERAL generate_series(0, b.task_count - 1) AS t
LEFT JOIN leases l ON l.submission_id = b.submission_id AND l.sequence = b.sequence
                  AND t >= l.first_task AND t < l.first_task + l.task_count
WHERE s.state <> 'completed'
  AND NOT EXISTS (SELECT FROM results r
                  WHERE r.submission_id = b.submission_id AND r.sequence = b.sequence
                    AND t >= r.first_task AND t < r.first_task + r.task_count);
