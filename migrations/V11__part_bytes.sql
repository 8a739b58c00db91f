-- The part size of composite digests. A new column without a default: nothing is rewritten, and a program that does not
-- know it goes on; it does not know the algorithms either that need it.

ALTER TABLE submissions
    -- NULL: none of its algorithms is composite.
    ADD COLUMN part_bytes bigint CHECK (part_bytes > 0);
