-- +goose Up
-- egress has the rules of a sandbox for what it may reach, as JSON; empty is none. The
-- column allow_internet stays what its request said.
ALTER TABLE sandboxes ADD COLUMN egress TEXT NOT NULL DEFAULT '';
