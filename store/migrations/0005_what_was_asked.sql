-- +goose Up
-- The timeout that the create of a sandbox asked for, in microseconds; 0: not known.
ALTER TABLE sandboxes ADD COLUMN timeout INTEGER NOT NULL DEFAULT 0;

-- The environment that sandboxes, and snapshots of them, were given, as JSON. It is
-- read only when a sandbox boots again. It goes with what it is of.
CREATE TABLE environments (
    id  TEXT PRIMARY KEY,
    env TEXT NOT NULL
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER sandboxes_ended AFTER UPDATE OF state ON sandboxes WHEN new.state = 'killed' BEGIN
    DELETE FROM environments WHERE id = new.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sandboxes_dropped AFTER DELETE ON sandboxes BEGIN
    DELETE FROM environments WHERE id = old.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER snapshots_dropped AFTER DELETE ON snapshots BEGIN
    DELETE FROM environments WHERE id = old.id;
END;
-- +goose StatementEnd

-- How many sandboxes were created from a template, by its alias, and when last.
CREATE TABLE spawns (
    template TEXT PRIMARY KEY,
    n        INTEGER NOT NULL,
    last     INTEGER NOT NULL
) STRICT;
