package record

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/rundlet/rundlet/internal/format"
)

func TestARecordIsWhatWasSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uplink.json")
	if _, ok, err := Load(path); ok || err != nil {
		t.Fatalf("without a file: %v, %v", ok, err)
	}
	rec := Uplink{Subnet: netip.MustParsePrefix("198.19.224.0/30"), Forwarding: map[string]string{"eth0": "0"}}
	if err := Save(path, rec); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v, %v", info.Mode(), err)
	}
	rec.Format = Format
	if got, ok, err := Load(path); !ok || err != nil || !reflect.DeepEqual(got, rec) {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
}

func TestADamagedRecordHasNoSubnetAndANewerOneIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uplink.json")
	for _, text := range []string{"", "{", `{"subnet":"198.19.224.0/29"}`, `{"subnet":"2001:db8::/30"}`, `[]`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if rec, ok, err := Load(path); !ok || err != nil || rec.Subnet.IsValid() {
			t.Errorf("%q: %+v, %v, %v", text, rec, ok, err)
		}
	}
	if err := os.WriteFile(path, []byte(`{"format":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var newer *format.NewerError
	if _, _, err := Load(path); !errors.As(err, &newer) || newer.Found != 2 {
		t.Errorf("%v", err)
	}
}
