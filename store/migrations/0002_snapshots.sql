-- +goose Up
-- A row is a claim on a snapshot of the driver. Several rows may claim the same
-- one (vm_id, snapshot): it goes when the last of them goes. "saving" is written
-- before the driver is asked for it, so what the driver has and no row claims
-- belongs to no row.
CREATE TABLE snapshots (
    id          TEXT PRIMARY KEY,
    instance    TEXT NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL,
    name        TEXT NOT NULL DEFAULT '',
    vm_id       TEXT NOT NULL,
    snapshot    TEXT NOT NULL,
    source      TEXT NOT NULL,
    parent      TEXT NOT NULL,
    template_id TEXT NOT NULL,
    alias       TEXT NOT NULL,
    build_id    TEXT NOT NULL,
    spec        TEXT NOT NULL,
    vcpus       INTEGER NOT NULL,
    memory_mib  INTEGER NOT NULL,
    disk_mib    INTEGER NOT NULL,
    reason      TEXT NOT NULL DEFAULT '',
    manifest    TEXT NOT NULL DEFAULT '',
    bytes       INTEGER NOT NULL DEFAULT 0,
    key_id      TEXT NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX snapshots_name ON snapshots (name) WHERE name <> '';
CREATE INDEX snapshots_files ON snapshots (vm_id, snapshot);

-- deadline is when a transitional state has to have ended; snapshot_id is what a
-- paused sandbox resumes from, filesystem_only that there is no memory in it;
-- origin_id what it was restored from; spec how.
ALTER TABLE sandboxes ADD COLUMN deadline INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN snapshot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN filesystem_only INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN origin_id TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN spec TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN on_timeout TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN auto_resume INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandboxes ADD COLUMN follows_up TEXT NOT NULL DEFAULT '';

ALTER TABLE templates ADD COLUMN manifest TEXT NOT NULL DEFAULT '';
