package snapshot

import (
	"errors"
	"fmt"
)

// MaxDepth is the longest chain of ancestors that Ancestors follows: forks of
// forks, and every pause and resume, make it one longer.
const MaxDepth = 10000

// ErrLineage is a chain of parents that returns to itself or does not end
// within MaxDepth.
var ErrLineage = errors.New("bad snapshot lineage")

// Ancestors returns the artifacts that id comes from, its parent first. The
// chain ends at a root, or at a parent that byID does not know: one that was
// deleted. With ErrLineage it returns what it found until then.
func Ancestors(id Ref, byID func(Ref) (Manifest, bool)) ([]Manifest, error) {
	var chain []Manifest
	seen := map[Ref]bool{id: true}
	m, ok := byID(id)
	for ok && m.Parent != "" {
		switch {
		case seen[m.Parent]:
			return chain, fmt.Errorf("%w: %s is its own ancestor", ErrLineage, m.Parent)
		case len(chain) == MaxDepth:
			return chain, fmt.Errorf("%w: %s has more than %d ancestors", ErrLineage, id, MaxDepth)
		}
		seen[m.Parent] = true
		if m, ok = byID(m.Parent); ok {
			chain = append(chain, m)
		}
	}
	return chain, nil
}
