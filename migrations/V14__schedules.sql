-- Submissions that are repeated. A new table and new columns without defaults: nothing is rewritten, and a program that does not
-- know them goes on; it runs nothing that is due.

CREATE TABLE schedules (
    tenant       text        NOT NULL,
    name         text        NOT NULL,
    cron         text        NOT NULL,
    time_zone    text        NOT NULL,
    -- An encoded SubmissionOptions, the same for every run.
    options      bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- NULL: there is no further time.
    next_run_at  timestamptz,
    last_run     uuid,
    runs         bigint      NOT NULL DEFAULT 0,
    skipped_runs bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, name)
);

CREATE INDEX schedules_due ON schedules (next_run_at);

ALTER TABLE submissions
    -- The schedule whose run it is, and the run before. NULL: it is none.
    ADD COLUMN schedule     text,
    ADD COLUMN previous_run uuid;
