-- +goose Up
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    hint       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- One row for each template that was prepared here. The newest build of an
-- alias is the one that create restores.
CREATE TABLE templates (
    id         TEXT PRIMARY KEY,
    alias      TEXT NOT NULL UNIQUE,
    build_id   TEXT NOT NULL,
    vm_id      TEXT NOT NULL,
    snapshot   TEXT NOT NULL,
    stamp      TEXT NOT NULL,
    spec       TEXT NOT NULL,
    vcpus      INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    disk_mib   INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Times are microseconds since the epoch; 0 is "not set".
CREATE TABLE sandboxes (
    id             TEXT PRIMARY KEY,
    instance       TEXT NOT NULL,
    template_id    TEXT NOT NULL,
    alias          TEXT NOT NULL,
    build_id       TEXT NOT NULL,
    state          TEXT NOT NULL,
    reason         TEXT NOT NULL DEFAULT '',
    metadata       TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    end_at         INTEGER NOT NULL,
    killed_at      INTEGER NOT NULL DEFAULT 0,
    vcpus          INTEGER NOT NULL,
    memory_mib     INTEGER NOT NULL,
    disk_mib       INTEGER NOT NULL,
    secure         INTEGER NOT NULL,
    private_ports  INTEGER NOT NULL,
    allow_internet INTEGER,
    key_id         TEXT NOT NULL,
    slot_id        TEXT NOT NULL DEFAULT ''
) STRICT;
-- An instance is one daemon's life on this machine: see layout.Instance.
CREATE INDEX sandboxes_live ON sandboxes (instance) WHERE state <> 'killed';
CREATE INDEX sandboxes_killed ON sandboxes (killed_at) WHERE state = 'killed';
