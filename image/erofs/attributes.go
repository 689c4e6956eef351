//go:build linux

package erofs

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// prefixes are the begins of names that an image has a number for.
var prefixes = []struct {
	name  string
	index byte
}{
	{"system.posix_acl_access", 2}, {"system.posix_acl_default", 3},
	{"user.", 1}, {"trusted.", 4}, {"security.", 6},
}

const (
	attributesHead = 12
	attributeHead  = 4
)

// encodeAttributes returns extended attributes as they follow an inode.
func encodeAttributes(all map[string]string) ([]byte, error) {
	if len(all) == 0 {
		return nil, nil
	}
	out := make([]byte, attributesHead)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := all[name]
		i := slices.IndexFunc(prefixes, func(p struct {
			name  string
			index byte
		}) bool {
			return strings.HasPrefix(name, p.name)
		})
		if i < 0 || len(name) > maxName || strings.Contains(name, "\x00") {
			return nil, fmt.Errorf("an image cannot have the attribute %.300q", name)
		}
		if len(value) > math.MaxUint16 {
			return nil, fmt.Errorf("attribute %.300q has %d bytes, an image can have %d", name, len(value), math.MaxUint16)
		}
		rest := name[len(prefixes[i].name):]
		out = append(out, byte(len(rest)), prefixes[i].index)
		out = binary.LittleEndian.AppendUint16(out, uint16(len(value)))
		out = append(append(out, rest...), value...)
		out = append(out, make([]byte, -len(out)&3)...)
	}
	if attributesUnits(out) > math.MaxUint16 {
		return nil, fmt.Errorf("its attributes have %d bytes, which is too much for an image", len(out))
	}
	return out, nil
}

// attributesUnits is the length of attributes as an inode says it.
func attributesUnits(attributes []byte) int {
	if len(attributes) == 0 {
		return 0
	}
	return 1 + (len(attributes)-attributesHead)/attributeHead
}
