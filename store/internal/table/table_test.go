package table

import (
	"errors"
	"testing"
	"time"
)

func TestTimesAreKept(t *testing.T) {
	for _, at := range []time.Time{{}, time.UnixMicro(1), time.UnixMicro(1_700_000_000_123_456)} {
		if got := FromMicros(Micros(at)); !got.Equal(at) {
			t.Errorf("%v became %v", at, got)
		}
	}
	if Micros(time.Time{}) != 0 {
		t.Error("the zero time is not 0")
	}
}

func TestStatementsNameTheVersion(t *testing.T) {
	insert, update := InsertAndUpdate("t", "id, a,\n	version")
	if want := "INSERT INTO t (id, a,\n	version) VALUES (?1, ?2, ?3 + 1) ON CONFLICT DO NOTHING"; insert != want {
		t.Errorf("%s, want %s", insert, want)
	}
	if want := "UPDATE t SET a = ?2, version = ?3 + 1 WHERE id = ?1 AND version = ?3"; update != want {
		t.Errorf("%s, want %s", update, want)
	}
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	if err := CheckNewer(Schema); err != nil {
		t.Error(err)
	}
	if err := CheckNewer(Schema + 1); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
}
