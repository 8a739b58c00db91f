-- The Queue's tables. A batch is a row; results are packed rows; neither is ever updated.
-- What is true is what is committed here: the owner's memory is rebuilt from these tables alone.

-- Who owns which part of the work. A write under an old epoch is refused (see check_epochs).
-- Changes at takeovers only: every transaction reads it, and must not wade through the dead rows of renewals.
CREATE TABLE shards (
    shard   smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
    owner   uuid,
    epoch   bigint   NOT NULL DEFAULT 0,
    address text     NOT NULL DEFAULT ''
);
INSERT INTO shards (shard) SELECT generate_series(0, 63);

-- Until when the owner of an epoch may count on a shard. Renewed about once a second.
CREATE TABLE shard_leases (
    shard      smallint    PRIMARY KEY,
    epoch      bigint      NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 20);
INSERT INTO shard_leases (shard) SELECT generate_series(0, 63);

-- Updated at seal, completion and cancel, and `resolved_through` at most once a second: never per commit.
CREATE TABLE submissions (
    id               uuid        PRIMARY KEY,
    tenant           text        NOT NULL,
    shard            smallint    NOT NULL,
    state            text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'sealed', 'completed', 'cancelled')),
    algorithms       smallint[]  NOT NULL,
    max_attempts     smallint    NOT NULL,
    labels           jsonb       NOT NULL DEFAULT '{}',
    retry_of         uuid,
    -- Known once sealed.
    batch_count      integer,
    -- Every batch with a lower sequence is resolved. May lag; never runs ahead.
    resolved_through integer     NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now(),
    ended_at         timestamptz
) WITH (fillfactor = 80);
CREATE INDEX submissions_by_tenant ON submissions (tenant, id DESC);
CREATE INDEX submissions_unfinished ON submissions (shard) WHERE state IN ('open', 'sealed');
CREATE INDEX submissions_by_retry ON submissions (retry_of) WHERE retry_of IS NOT NULL;

CREATE TABLE batches (
    submission_id    uuid        NOT NULL,
    sequence         integer     NOT NULL,
    task_count       integer     NOT NULL,
    byte_count       integer     NOT NULL,
    -- Tasks of the submission up to and including this batch: the newest row holds the total.
    accepted_through bigint      NOT NULL,
    -- BLAKE3 of the decoded tasks in canonical form.
    fingerprint      bytea       NOT NULL,
    -- An encoded hashmesh.v1.PackedTasks without names.
    tasks            bytea       NOT NULL,
    -- The tasks' names one after another, and where each ends. NULL: no task has one.
    names            bytea,
    name_ends        integer[],
    -- Common prefix of the URIs. NULL: all tasks are inline.
    reference_prefix text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (submission_id, sequence)
);
-- Payload does not compress in general, and compressing costs more than writing.
ALTER TABLE batches ALTER COLUMN tasks SET STORAGE EXTERNAL,
                    ALTER COLUMN names SET STORAGE EXTERNAL,
                    ALTER COLUMN name_ends SET STORAGE EXTERNAL;

CREATE TABLE results (
    submission_id    uuid        NOT NULL,
    -- The first outcome's position; the row covers [position, position + task_count).
    position         bigint      NOT NULL,
    sequence         integer     NOT NULL,
    first_task       integer     NOT NULL,
    task_count       integer     NOT NULL,
    attempt          smallint    NOT NULL,
    -- A byte per task, the number of its hashmesh.v1.OutcomeStatus. NULL: all succeeded.
    statuses         bytea,
    -- An encoded hashmesh.v1.PackedOutcomes with `digests` and `failures` only.
    outcomes         bytea       NOT NULL,
    kernel           text        NOT NULL,
    -- Totals of the submission after this row.
    succeeded        bigint      NOT NULL,
    mismatched       bigint      NOT NULL,
    failed           bigint      NOT NULL,
    hashed_bytes     bigint      NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (submission_id, position)
);
ALTER TABLE results ALTER COLUMN outcomes SET STORAGE EXTERNAL;

-- Written behind, about a second late and never waited for: shows who holds what, and keeps failed attempts over restarts.
CREATE TABLE leases (
    submission_id uuid        NOT NULL,
    sequence      integer     NOT NULL,
    first_task    integer     NOT NULL,
    task_count    integer     NOT NULL,
    attempt       smallint    NOT NULL,
    -- The worker that holds the range; NULL: the range waits for its next attempt.
    worker        text,
    since         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (submission_id, sequence, first_task)
);

CREATE TABLE idempotency_keys (
    shard               smallint    NOT NULL,
    tenant              text        NOT NULL,
    key                 text        NOT NULL,
    submission_id       uuid        NOT NULL,
    options_fingerprint bytea       NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, tenant, key)
);

-- Refuses a transaction whose owner lost a shard. Called in a statement of its own after `lock_shards`, so that its
-- snapshot is taken under the locks: under READ COMMITTED a check in the same statement would see the past.
CREATE FUNCTION check_epochs(wanted_shards smallint[], wanted_epochs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    stale smallint;
BEGIN
    SELECT wanted.shard INTO stale
    FROM unnest(wanted_shards, wanted_epochs) AS wanted (shard, epoch)
    LEFT JOIN shards ON shards.shard = wanted.shard AND shards.epoch = wanted.epoch
    WHERE shards.shard IS NULL
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'shard % has another owner', stale USING ERRCODE = 'HM001';
    END IF;
    PERFORM set_config('hashmesh.fenced', 'yes', true);
END
$$;

-- True in a transaction that passed check_epochs. Statements are sent without waiting for one another: if BEGIN itself
-- failed, what follows it would run and commit by itself, outside the fence. Every write therefore asks for this.
CREATE FUNCTION fenced() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('hashmesh.fenced', true) = 'yes'
$$;

-- Refuses a statement that wrote another number of rows than it had to: COMMIT is already on its way by then, so only
-- an error can still stop it.
CREATE FUNCTION expect_rows(written bigint, wanted bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF written IS DISTINCT FROM wanted THEN
        RAISE EXCEPTION 'wrote % rows, wanted %', written, wanted USING ERRCODE = 'HM002';
    END IF;
END
$$;

-- A name as text: as it is where it is UTF-8 (RFC 3629), with octal escapes where it is not or has a zero byte.
-- Judged by a pattern over the bytes as Latin-1: catching the conversion's error would take a subtransaction per name,
-- and no parallel plan may have those.
CREATE FUNCTION name_text(name bytea) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN position('\x00'::bytea IN name) > 0 THEN encode(name, 'escape')
        WHEN convert_from(name, 'LATIN1') ~ ('^(?:[\u0001-\u007F]|[\u00C2-\u00DF][\u0080-\u00BF]'
            || '|\u00E0[\u00A0-\u00BF][\u0080-\u00BF]|[\u00E1-\u00EC\u00EE\u00EF][\u0080-\u00BF]{2}'
            || '|\u00ED[\u0080-\u009F][\u0080-\u00BF]|\u00F0[\u0090-\u00BF][\u0080-\u00BF]{2}'
            || '|[\u00F1-\u00F3][\u0080-\u00BF]{3}|\u00F4[\u0080-\u008F][\u0080-\u00BF]{2})*$')
        THEN convert_from(name, 'UTF8')
        ELSE encode(name, 'escape')
    END
$$;

-- One row per task, for people: SELECT status, COUNT(*) FROM tasks GROUP BY status.
-- First what is recorded (from results), then what is not (from batches that results do not cover).
CREATE VIEW tasks AS
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
