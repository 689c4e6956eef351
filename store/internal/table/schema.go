package table

import (
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/store/internal/database"
)

// Schema is the version of the database format that this program writes and reads:
// the number of its last migration. A backup is a database, and has the same one.
// Changes by number:
//
//	1  sandboxes, templates, API keys and settings
//	2  claims on snapshots: pause, snapshot, continuation and fork
//	3  quarantine, orphans, and the record of garbage
//	4  indexes and counts, so that no request grows with the rows
//	5  the timeout and the environment of a create, and spawn counts
//	6  node, driver and version of sandboxes and snapshots, and the create request
//	7  version of templates
//	8  what a sandbox may reach
//	9  how requests reach its programs
//	10 templates that clients build
//	11 the freshness of checkouts
//	12 snapshots that came from other nodes
//	13 how many machines of a template are kept warm
//	14 events of sandboxes
//
// A program refuses a database of a higher number (ErrNewer), and migrates one of a
// lower number when a daemon opens it. There is no way back but a backup.
const Schema = 14

var (
	// ErrNewer: the schema is that of a newer program.
	ErrNewer = errors.New("a newer version of rundlet wrote the database")
	// ErrOlder: the schema is that of an older program, and was not changed.
	ErrOlder = errors.New("an older version of rundlet wrote the database")
)

// CheckNewer refuses a database that a newer program wrote: a program that does not
// know a column cannot keep its contents true.
func CheckNewer(found int64) error {
	if found > Schema {
		return fmt.Errorf("%w: schema %d, this program knows %d; use the newer program, or restore a backup from before it", ErrNewer, found, Schema)
	}
	return nil
}

// Current fails if the schema is older than the one that this program reads.
func Current(db *database.DB) error {
	if found := db.Version(); found < Schema {
		return fmt.Errorf("%w: schema %d, this program needs %d; start \"rundlet serve\" of this version once", ErrOlder, found, Schema)
	}
	return nil
}
