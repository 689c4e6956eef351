-- +goose Up
-- What the driver has and no row claims is set aside: it may be of a row that this
-- database lost. since is when it was first found; discard, that an operator gave
-- it up.
CREATE TABLE orphans (
    kind     TEXT NOT NULL,
    vm_id    TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    name     TEXT NOT NULL UNIQUE,
    since    INTEGER NOT NULL,
    discard  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, vm_id, snapshot)
) STRICT;

-- Snapshots of the driver that are known to be garbage as soon as no row claims
-- them: their last claim was given up, or their build has not ended yet.
CREATE TABLE garbage (
    vm_id    TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    since    INTEGER NOT NULL,
    PRIMARY KEY (vm_id, snapshot)
) STRICT;

-- When a sandbox was quarantined; reason says why.
ALTER TABLE sandboxes ADD COLUMN quarantined_at INTEGER NOT NULL DEFAULT 0;
