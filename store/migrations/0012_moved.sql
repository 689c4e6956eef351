-- +goose Up
-- holder_token is that of the agent in a snapshot that came from another node, by which this node controls it first; empty: the
-- token of the sandbox that it was taken of.
ALTER TABLE snapshots ADD COLUMN holder_token TEXT NOT NULL DEFAULT '';
