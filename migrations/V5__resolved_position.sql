-- Outcomes of batches from `resolved_through` on have positions above this one: a new owner reads no others. May lag.
ALTER TABLE submissions ADD COLUMN resolved_position bigint NOT NULL DEFAULT 0;
