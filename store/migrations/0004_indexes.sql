-- +goose Up
-- What is asked with each request, or with each reading of the figures, is answered
-- by an index: a row has its spec and its manifest in it, some KiB.

-- Pages of one kind, the newest first; all of them, and those of one sandbox.
CREATE INDEX snapshots_newest ON snapshots (kind, created_at DESC, id) WHERE state = 'ready';
CREATE INDEX snapshots_source ON snapshots (source, kind, created_at DESC, id) WHERE state = 'ready';
-- How many a key has.
CREATE INDEX snapshots_key ON snapshots (kind, key_id);
-- Who claims a snapshot of the driver, and how large it is.
DROP INDEX snapshots_files;
CREATE INDEX snapshots_files ON snapshots (vm_id, snapshot, created_at, id DESC, kind, state, bytes);

-- Who needs an operator.
CREATE INDEX sandboxes_state ON sandboxes (state, quarantined_at) WHERE state <> 'killed';
