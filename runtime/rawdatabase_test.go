package runtime

import (
	"database/sql"
	"testing"
)

// rawDatabase opens a database behind the back of the program, which may be writing.
func rawDatabase(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
