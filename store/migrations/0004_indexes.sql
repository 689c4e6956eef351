-- +goose Up
-- What is asked with each request, or with each reading of the figures, is answered
-- by an index: a row has its spec and its manifest in it, some KiB.

-- Pages of one kind, the newest first; all of them, and those of one sandbox.
CREATE INDEX snapshots_newest ON snapshots (kind, created_at DESC, id) WHERE state = 'ready';
CREATE INDEX snapshots_source ON snapshots (source, kind, created_at DESC, id) WHERE state = 'ready';
-- How many a key has of a kind; of a row neither changes.
CREATE TABLE snapshot_counts (
    kind   TEXT NOT NULL,
    key_id TEXT NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (kind, key_id)
) STRICT;
INSERT INTO snapshot_counts SELECT kind, key_id, count(*) FROM snapshots GROUP BY kind, key_id;
-- +goose StatementBegin
CREATE TRIGGER snapshots_added AFTER INSERT ON snapshots BEGIN
    INSERT INTO snapshot_counts VALUES (new.kind, new.key_id, 1) ON CONFLICT (kind, key_id) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER snapshots_removed AFTER DELETE ON snapshots BEGIN
    UPDATE snapshot_counts SET n = n - 1 WHERE kind = old.kind AND key_id = old.key_id;
    DELETE FROM snapshot_counts WHERE kind = old.kind AND key_id = old.key_id AND n = 0;
END;
-- +goose StatementEnd
-- Of the rows that claim the same files, the one whose bytes count: the oldest.
ALTER TABLE snapshots ADD COLUMN counts INTEGER NOT NULL DEFAULT 0;
UPDATE snapshots SET counts = 1 WHERE id IN (
    SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY vm_id, snapshot ORDER BY created_at, id) AS nth FROM snapshots) WHERE nth = 1);
DROP INDEX snapshots_files;
CREATE INDEX snapshots_files ON snapshots (vm_id, snapshot, created_at, id);
CREATE INDEX snapshots_counting ON snapshots (vm_id, snapshot) WHERE counts = 1;
-- How many there are of a kind, and how large they are.
CREATE INDEX snapshots_figures ON snapshots (kind, counts, bytes) WHERE state = 'ready';

-- Sandboxes that need an operator.
CREATE INDEX sandboxes_state ON sandboxes (state, quarantined_at) WHERE state <> 'killed';
