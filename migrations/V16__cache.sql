-- Digests of objects, with what the objects were when they were read; and what submissions may take from there. New tables, and
-- a new column without a default: nothing is rewritten, and a program that does not know them goes on.

ALTER TABLE submissions
    -- NULL: not said.
    ADD COLUMN cache_mode text CHECK (cache_mode IN ('use', 'refresh', 'bypass'));

CREATE TABLE cache_entries (
    -- BLAKE3 over whose, what and which digest.
    key        bytea       PRIMARY KEY,
    tenant     text        NOT NULL,
    uri        text        NOT NULL,
    -- An encoded hashmesh.cache.v1.StoredEntry.
    value      bytea       NOT NULL,
    -- What was invalidated later does not count.
    generation bigint      NOT NULL,
    -- When it was put, or last taken; to the hour.
    used_at    timestamptz NOT NULL DEFAULT now(),
    -- How often it was brought from here, or put again.
    uses       integer     NOT NULL DEFAULT 0,
    -- The lowest go first when room is wanted: when it was used, and for how many bytes a hit saves a while more.
    worth      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX cache_entries_uri ON cache_entries USING hash (uri);
CREATE INDEX cache_entries_worth ON cache_entries (worth);
CREATE INDEX cache_entries_uses ON cache_entries (uses) WHERE uses > 0;

-- What was invalidated: every Cache service reads on where it was.
CREATE TABLE cache_invalidations (
    -- Given out under a lock, so that they are committed in order.
    generation bigint      PRIMARY KEY,
    -- Empty: every tenant's.
    tenant     text        NOT NULL,
    -- With prefix: everything that begins with it.
    uri        text        NOT NULL,
    prefix     boolean     NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);

-- What has been given out, also when its rows are gone; and the key that values in Redis are sealed with.
CREATE TABLE cache_state (
    id         boolean PRIMARY KEY DEFAULT true CHECK (id),
    generation bigint  NOT NULL DEFAULT 0,
    -- 32 random bytes.
    seal_key   bytea   NOT NULL
);
