package hygiene

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// Rotation is how log files are kept short.
type Rotation struct {
	// MaxBytes is the longest that a log gets: one that is longer is rotated.
	MaxBytes int64
	// Generations is how many old ones are kept, as name.1 (the newest),
	// name.2 and so on; 0 keeps none.
	Generations int
	// Compress keeps them as name.1.gz and so on.
	Compress bool
}

// DefaultRotation keeps one generation of 16 MiB, uncompressed.
func DefaultRotation() Rotation { return Rotation{MaxBytes: 16 << 20, Generations: 1} }

// LogFile is a file of a directory of logs.
type LogFile struct {
	Name  string // without its directory
	Bytes int64
}

// Op is what a step does.
type Op string

// The operations. Compress writes a complete To beside From, and removes From
// when To is durable.
const (
	Remove   Op = "remove"
	Rename   Op = "rename"
	Compress Op = "compress"
)

// Step is one step of a rotation.
type Step struct {
	Op       Op
	From, To string
}

// rotated is the name of an old generation, or of one that is being compressed.
var rotated = regexp.MustCompile(`^(.+)\.([1-9][0-9]{0,3})(\.gz|\.gz\.tmp)?$`)

// Rotated reports whether name is that of an old generation, which is never
// rotated itself.
func Rotated(name string) bool { return rotated.MatchString(name) }

// Temporary is the name under which a generation is compressed.
func Temporary(name string) string { return name + ".tmp" }

// Plan returns the steps that rotate the logs of one directory that are longer
// than MaxBytes, in order, logs by name. Every name that a step renames to is
// free by then, so that a rotation that was cut short is finished by the next:
// its half-made files are removed, and nothing is overwritten.
func (r Rotation) Plan(files []LogFile) []Step {
	names := map[string]bool{}
	for _, f := range files {
		names[f.Name] = true
	}
	var steps []Step
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b LogFile) int { return cmp.Compare(a.Name, b.Name) }) {
		if f.Bytes > r.MaxBytes && !Rotated(f.Name) {
			steps = append(steps, r.rotate(f.Name, names)...)
		}
	}
	return steps
}

// rotate returns the steps for one log, given the names of its directory.
func (r Rotation) rotate(log string, names map[string]bool) []Step {
	var steps []Step
	kept := map[int]string{} // The suffix of each generation.
	for _, name := range slices.Sorted(maps.Keys(names)) {
		m := rotated.FindStringSubmatch(name)
		if m == nil || m[1] != log {
			continue
		}
		n, _ := strconv.Atoi(m[2])
		_, twice := kept[n] // Compressed already: ".gz" sorts after "".
		switch {
		case m[3] == ".gz.tmp", n >= r.Generations:
			steps = append(steps, Step{Op: Remove, From: name})
		case twice:
			steps = append(steps, Step{Op: Remove, From: fmt.Sprintf("%s.%d", log, n)})
			fallthrough
		default:
			kept[n] = m[3]
		}
	}
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(kept))) {
		steps = append(steps, Step{Rename, fmt.Sprintf("%s.%d%s", log, n, kept[n]), fmt.Sprintf("%s.%d%s", log, n+1, kept[n])})
	}
	if r.Generations <= 0 {
		return append(steps, Step{Op: Remove, From: log})
	}
	steps = append(steps, Step{Rename, log, log + ".1"})
	if r.Compress {
		steps = append(steps, Step{Compress, log + ".1", log + ".1.gz"})
	}
	return steps
}
