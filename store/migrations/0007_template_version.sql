-- +goose Up
-- As in sandboxes and snapshots: version counts the writes of a row, and a write names
-- the version that it was made from.
ALTER TABLE templates ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
