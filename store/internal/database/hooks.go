package database

// What tests of this package and of store put their own in the place of. They are
// changed only while no database is open.
var (
	// Driver is the name of the driver of database/sql.
	Driver = "sqlite"
	// Exchanging is called between the steps of Exchange, which an error breaks off
	// there.
	Exchanging = func() error { return nil }
)
