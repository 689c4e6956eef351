// Package format refuses files that a newer Rundlet wrote. Each format on disk has one
// number, a constant beside its reader that says what each number brought; a change
// that an older program would misread raises it. The formats are
//
//	database and backup      store.Schema
//	state directory          node/statedir.Format
//	manifest of a snapshot   policy/snapshot.Schema, which checks it itself, and one of
//	                         each driver
//	record of a machine      one of each driver
//	record of the uplink     network.uplinkFormat
//	root image of the host   image/hostbase.rootFormat
//	record of an image       image/catalogue.recordFormat
//
// The package imports the standard library only; all but policy may import it.
package format

import (
	"encoding/json"
	"fmt"
	"os"
)

// NewerError says that a file was written by a newer program. It is intact, and
// nothing was done about it.
type NewerError struct {
	// Format is the name of the format, with what the file is of.
	Format string
	// Found is the number in the file, and Known the highest of this program.
	Found, Known int64
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%.200s was written by a newer rundlet: format %d, this program knows %d; use the newer program", e.Format, e.Found, e.Known)
}

// Check returns a *NewerError if the number that was found is higher than the one that
// is known.
func Check(format string, found, known int64) error {
	if found > known {
		return &NewerError{Format: format, Found: found, Known: known}
	}
	return nil
}

// CheckJSON is Check for the member "format" of a JSON object. It looks at nothing else: what a later version has is not damage. Of what is not such an
// object it says nothing.
func CheckJSON(format string, data []byte, known int64) error {
	var version struct {
		Format int64 `json:"format"`
	}
	_ = json.Unmarshal(data, &version)
	return Check(format, version.Format, known)
}

// ReadJSON reads a file with such an object into v: an *fs.PathError if it cannot be read, a *NewerError whose format ends with the path, or another error if it
// is damaged.
func ReadJSON(format, file string, known int64, v any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := CheckJSON(format+" "+file, data, known); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
