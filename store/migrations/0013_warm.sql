-- +goose Up
-- How many machines of a template are kept warm, where a client has said it; otherwise it is as the server was started.
CREATE TABLE warm (
    template TEXT PRIMARY KEY,
    ready    INTEGER NOT NULL
) STRICT;
