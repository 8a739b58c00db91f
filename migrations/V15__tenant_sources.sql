-- What a tenant's tasks may name besides inline bytes: beginnings of URIs, as workers announce theirs. A new column without a
-- default: nothing is rewritten, and a program that does not know it goes on.

ALTER TABLE tenant_controls
    -- NULL: nothing was said; '{}': nothing.
    ADD COLUMN sources text[];
