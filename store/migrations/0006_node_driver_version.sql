-- +goose Up
-- node and driver say where a row's machine and files are: the node that has them,
-- and the driver that made them. Empty means "written before this schema"; the next
-- start of a daemon fills both in.
--
-- version counts the writes of a row. A write names the version that it was made
-- from, and changes nothing if the row has another one by then.
--
-- request is the original create request, as JSON, without the values of
-- environment variables: they are in environments, which ends with the sandbox.
ALTER TABLE sandboxes ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN driver TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sandboxes ADD COLUMN request TEXT NOT NULL DEFAULT '';

ALTER TABLE snapshots ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN driver TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
