-- +goose Up
-- Templates that clients build. One has a name, and its builds have tags. A build that is ready has a
-- claim of kind template, snapshot_id, and a log, log_id, which several builds of the same recipe may share. tags and lines are JSON.
CREATE TABLE built_templates (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    public     INTEGER NOT NULL DEFAULT 0,
    key_id     TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX built_templates_key ON built_templates (key_id, created_at);
CREATE TABLE builds (
    id          TEXT PRIMARY KEY,
    template_id TEXT NOT NULL,
    state       TEXT NOT NULL,
    tags        TEXT NOT NULL,
    step        TEXT NOT NULL,
    message     TEXT NOT NULL,
    vcpus       INTEGER NOT NULL,
    memory_mib  INTEGER NOT NULL,
    disk_mib    INTEGER NOT NULL,
    snapshot_id TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    log_id      TEXT NOT NULL,
    version     INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX builds_log ON builds (log_id);
CREATE TABLE build_logs (
    id    TEXT PRIMARY KEY,
    lines TEXT NOT NULL
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER builds_removed AFTER DELETE ON builds WHEN NOT EXISTS (SELECT 1 FROM builds WHERE log_id = old.log_id) BEGIN
    DELETE FROM build_logs WHERE id = old.log_id;
END;
-- +goose StatementEnd
CREATE INDEX builds_template ON builds (template_id, created_at DESC, id);
CREATE INDEX builds_state ON builds (state, key_id, created_at) WHERE state IN ('waiting', 'building');
CREATE TABLE build_tags (
    template_id TEXT NOT NULL,
    tag         TEXT NOT NULL,
    build_id    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (template_id, tag)
) STRICT;
CREATE INDEX build_tags_build ON build_tags (build_id);

-- defaults says how commands run that do not say it themselves, as JSON; empty is as the agent does.
ALTER TABLE sandboxes ADD COLUMN defaults TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN defaults TEXT NOT NULL DEFAULT '';
