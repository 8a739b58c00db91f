-- How many workers were lost while they held the range (services/queue/src/core/poison.rs). Instant: a constant default is
-- kept in the catalog, and older programs need not name the column.
ALTER TABLE leases ADD COLUMN strikes smallint NOT NULL DEFAULT 0;
