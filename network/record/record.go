// Package record keeps the file that says what the uplink has changed in the daemon's namespace, so that any later process can
// undo it. It makes no changes there, and only package network may import it.
package record

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"

	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/network/slash30"
)

// Format is the version of Uplink. 1 is the first; a record without a
// number has it, too. A newer one is refused: to undo it one has to know what was done.
const Format = 1

// Uplink is the file that outlives the process.
type Uplink struct {
	Format int64        `json:"format"`
	Subnet netip.Prefix `json:"subnet"`
	// Forwarding is the former value of the switch of each interface.
	Forwarding map[string]string `json:"forwarding"`
}

// Load reads the record of a path; ok is false if there is none. One that cannot be read has no subnet.
func Load(path string) (rec Uplink, ok bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return rec, false, nil
	}
	if err != nil {
		return rec, false, err
	}
	// A damaged record is what a loss of power leaves, and that undid the
	// changes too: it is one without a subnet, and gets removed.
	if err := format.CheckJSON("the record of the uplink "+path, b, Format); err != nil {
		return rec, false, err
	}
	if json.Unmarshal(b, &rec) != nil || !rec.Subnet.Addr().Is4() || rec.Subnet.Bits() != slash30.Bits {
		return Uplink{}, true, nil
	}
	return rec, true, nil
}

// Save replaces the record of a path as a whole, with the present Format.
func Save(path string, rec Uplink) error {
	rec.Format = Format
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
