-- Whether a submission's inline bytes are stored even where nothing can need them again: where every task of a batch has
-- SUCCEEDED or MISMATCHED when the batch is committed. Its `tasks` then hold no inputs and no lengths: no bytes at all,
-- unless digests are expected. A constant default: no row is rewritten. A program that does not know the column never
-- leaves anything out.
ALTER TABLE submissions ADD COLUMN keep_inputs boolean NOT NULL DEFAULT false;
