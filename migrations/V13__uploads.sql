-- Objects that clients bring to the mesh's own store. Their bytes are there; here is which of them count. New tables only:
-- nothing that runs notices.

CREATE TABLE uploads (
    id           uuid        PRIMARY KEY,
    tenant       text        NOT NULL,
    -- 1: takes bytes; 2: has all, its layout may not be in the store yet; 3: complete; 4: deleted, the store is being emptied.
    state        smallint    NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 4),
    -- The number of whoever writes now; what others store counts no more.
    writer       integer     NOT NULL DEFAULT 1 CHECK (writer > 0),
    stored_bytes bigint      NOT NULL DEFAULT 0 CHECK (stored_bytes >= 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    expires_at   timestamptz NOT NULL,
    deleted_at   timestamptz,
    -- When the store was emptied for the first time: once more later, for what was on its way.
    emptied_at   timestamptz
);
CREATE INDEX uploads_open ON uploads (tenant) WHERE state <= 2;
CREATE INDEX uploads_expiring ON uploads (expires_at) WHERE state <= 3;
CREATE INDEX uploads_deleted ON uploads (deleted_at) WHERE state = 4;

-- What each writer stored of an upload, one behind the other.
CREATE TABLE upload_runs (
    upload_id  uuid    NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    writer     integer NOT NULL,
    bytes      bigint  NOT NULL CHECK (bytes > 0),
    PRIMARY KEY (upload_id, writer)
);
