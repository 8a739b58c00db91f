-- Who may use the mesh, and what was done with administrative rights. New tables only: nothing that runs notices.

-- Secrets are never stored, only the SHA-256 of each key's whole text.
CREATE TABLE api_keys (
    id             text        PRIMARY KEY,
    tenant         text        NOT NULL,
    -- Numbers of hashmesh.v1.Scope.
    scopes         smallint[]  NOT NULL CHECK (cardinality(scopes) > 0),
    description    text        NOT NULL DEFAULT '',
    text_hash      bytea       NOT NULL CHECK (octet_length(text_hash) = 32),
    -- The one before the last rotation, and until when it is accepted.
    previous_hash  bytea                CHECK (octet_length(previous_hash) = 32),
    previous_until timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz,
    revoked_at     timestamptz,
    -- Written at most once a minute.
    last_used_at   timestamptz
);
CREATE INDEX api_keys_newest ON api_keys (created_at DESC, id DESC);

CREATE TABLE audit (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    -- A key's id, or 'local'.
    actor   text        NOT NULL,
    action  text        NOT NULL,
    target  text        NOT NULL,
    detail  text        NOT NULL DEFAULT ''
);
