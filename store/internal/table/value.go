package table

import (
	"encoding/json"
	"errors"
	"time"
)

// ErrNotFound: no such row.
var ErrNotFound = errors.New("not found")

// Micros is how a time is kept; the zero time is 0.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the time that Micros kept.
func FromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// List is a list of texts as one argument of a query, for json_each.
func List[T ~string](texts []T) string {
	text, _ := json.Marshal(texts) // Texts encode.
	return string(text)
}
