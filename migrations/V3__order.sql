-- Order of work. New columns with constant defaults and a new table: nothing is rewritten, nothing is locked for long, and
-- a program that does not know them goes on.

ALTER TABLE submissions
    -- 0 to 9, the higher the sooner.
    ADD COLUMN priority         smallint NOT NULL DEFAULT 5,
    -- None of its tasks is leased before.
    ADD COLUMN not_before       timestamptz,
    -- Cancelled then, if it has not ended.
    ADD COLUMN deadline         timestamptz,
    -- How many of its tasks workers may hold at once. NULL: no limit.
    ADD COLUMN max_leased_tasks integer,
    -- Why it was cancelled: 'caller', 'deadline', … NULL: it was not, or by a program that did not say.
    ADD COLUMN end_reason       text;

-- What operators say about a tenant's work as a whole. Few rows, rarely written.
CREATE TABLE tenant_controls (
    -- Empty: everyone.
    tenant           text        PRIMARY KEY,
    -- None of its tasks is leased.
    paused           boolean     NOT NULL DEFAULT false,
    -- How many of its tasks workers may hold at once. NULL: no limit.
    max_leased_tasks integer,
    updated_at       timestamptz NOT NULL DEFAULT now()
);
