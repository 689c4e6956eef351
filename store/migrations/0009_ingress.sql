-- +goose Up
-- ingress says how requests reach the programs of a sandbox, as JSON; empty is as they come.
ALTER TABLE sandboxes ADD COLUMN ingress TEXT NOT NULL DEFAULT '';
