-- What tenants may bring within a day, and what they have brought. New columns without defaults and a new table: nothing is
-- rewritten, and a program that does not know them goes on.

ALTER TABLE tenant_controls
    -- NULL: any number.
    ADD COLUMN tasks_per_day bigint CHECK (tasks_per_day > 0),
    ADD COLUMN bytes_per_day bigint CHECK (bytes_per_day > 0);

-- Written by the owner at most once a second, for tenants that bring work.
CREATE TABLE tenant_usage (
    tenant text   NOT NULL,
    -- In UTC.
    day    date   NOT NULL,
    tasks  bigint NOT NULL,
    bytes  bigint NOT NULL,
    PRIMARY KEY (tenant, day)
);
