-- +goose Up
-- What happened to sandboxes. An event is written in the transaction of the row that it is about, and outlives it.
-- AUTOINCREMENT: no position is used twice, also when all events are gone.
CREATE TABLE events (
    position     INTEGER PRIMARY KEY AUTOINCREMENT,
    nonce        INTEGER NOT NULL, -- the random part of its id
    type         TEXT NOT NULL,
    data         TEXT NOT NULL,    -- a JSON object, or ''
    sandbox_id   TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    template_id  TEXT NOT NULL,
    build_id     TEXT NOT NULL,
    key_id       TEXT NOT NULL,
    at           INTEGER NOT NULL
) STRICT;
-- Each index ends with the position: pages of one sandbox, pages of some types, and the oldest of a key.
CREATE INDEX events_sandbox ON events (sandbox_id, position, type);
CREATE INDEX events_type ON events (type);
CREATE INDEX events_key ON events (key_id);
