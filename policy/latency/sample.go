package latency

import (
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// The limits of a sample's tags. Tags may come from a guest, as a command line
// does; what exceeds a limit is cut and counted, and the sample itself stays.
const (
	MaxTags     = 16
	MaxTagKey   = 64  // bytes
	MaxTagValue = 256 // bytes
)

// Sample is one measurement with what it was measured on.
type Sample struct {
	Value time.Duration
	// Tags is nil for most.
	Tags map[string]string
}

// boundTags returns what fits the limits, and how many tags were dropped or
// shortened. The first keys in order stay, so that it is always the same ones.
func boundTags(tags map[string]string) (kept map[string]string, cut int) {
	if len(tags) == 0 {
		return nil, 0
	}
	kept = make(map[string]string, min(len(tags), MaxTags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if key == "" || len(key) > MaxTagKey || len(kept) == MaxTags {
			cut++
			continue
		}
		value := tags[key]
		if len(value) > MaxTagValue {
			value = value[:runeStart(value, MaxTagValue)]
			cut++
		}
		kept[key] = value
	}
	return kept, cut
}

// runeStart is the last place at or before i where a character begins, if one
// is near; not in what is no UTF-8.
func runeStart(s string, i int) int {
	for j := i; j > i-utf8.UTFMax; j-- {
		if utf8.RuneStart(s[j]) {
			return j
		}
	}
	return i
}
