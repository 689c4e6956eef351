-- +goose Up
-- freshness is the gate of a sandbox whose checkout of a repository has to be up to date before clients may write, as JSON; empty is
-- none. That of a snapshot is what its sandbox had.
ALTER TABLE sandboxes ADD COLUMN freshness TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN freshness TEXT NOT NULL DEFAULT '';
