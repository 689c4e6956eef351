package hygiene

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// text shows steps: "-" removes, ">" renames, "z" compresses.
func text(steps []Step) string {
	var out []string
	for _, s := range steps {
		switch s.Op {
		case Remove:
			out = append(out, "-"+s.From)
		case Rename:
			out = append(out, s.From+">"+s.To)
		case Compress:
			out = append(out, s.From+" z "+s.To)
		}
	}
	return strings.Join(out, ", ")
}

func TestRotationPlan(t *testing.T) {
	keep := func(n int) Rotation { return Rotation{MaxBytes: 10, Generations: n} }
	gz := func(n int) Rotation { return Rotation{MaxBytes: 10, Generations: n, Compress: true} }
	for _, tc := range []struct {
		name  string
		r     Rotation
		files string // Names; "+" marks those that are longer than MaxBytes.
		want  string
	}{
		{"nothing", keep(1), "", ""},
		{"just as long as allowed", keep(1), "a", ""},
		{"first time", keep(1), "a+", "a>a.1"},
		{"one generation", keep(1), "a+ a.1", "-a.1, a>a.1"},
		{"none", keep(0), "a+ a.1 a.2.gz", "-a.1, -a.2.gz, -a"},
		{"less than none", keep(-1), "a+", "-a"},
		{"three", keep(3), "a+ a.1 a.2 a.3", "-a.3, a.2>a.3, a.1>a.2, a>a.1"},
		{"a gap", keep(3), "a+ a.2", "a.2>a.3, a>a.1"},
		{"ten sorts after nine", keep(10), "a+ a.9 a.10", "-a.10, a.9>a.10, a>a.1"},
		{"fewer than before", keep(1), "a+ a.1 a.2 a.3.gz", "-a.1, -a.2, -a.3.gz, a>a.1"},
		{"compressed", gz(2), "a+ a.1.gz a.2.gz", "-a.2.gz, a.1.gz>a.2.gz, a>a.1, a.1 z a.1.gz"},
		{"compressed since today", gz(2), "a+ a.1", "a.1>a.2, a>a.1, a.1 z a.1.gz"},
		{"compression was cut short", gz(2), "a+ a.1 a.1.gz.tmp", "-a.1.gz.tmp, a.1>a.2, a>a.1, a.1 z a.1.gz"},
		{"compressed, but not removed", gz(2), "a+ a.1 a.1.gz", "-a.1, a.1.gz>a.2.gz, a>a.1, a.1 z a.1.gz"},
		{"rotated names are skipped", keep(1), "a.1+ b.2.gz+ c.1.gz.tmp+", ""},
		{"others are left alone", keep(1), "a+ ab.1 a.b a.1x a.01 a.1.gz.bak", "a>a.1"},
		{"two logs", keep(1), "b+ a+ a.1", "-a.1, a>a.1, b>b.1"},
		{"dots in the name", keep(1), "d.log+ d.log.1 d.1", "-d.log.1, d.log>d.log.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var files []LogFile
			for _, f := range strings.Fields(tc.files) {
				name, long := strings.CutSuffix(f, "+")
				files = append(files, LogFile{name, 10})
				if long {
					files[len(files)-1].Bytes++
				}
			}
			if got := text(tc.r.Plan(files)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
	if d := DefaultRotation(); d != (Rotation{16 << 20, 1, false}) {
		t.Errorf("the default is %+v", d)
	}
}

// TestRotationCutShortIsFinishedByTheNext plays rotations that end after a
// random step, and checks that none overwrites a file or keeps too many.
func TestRotationCutShortIsFinishedByTheNext(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		r := Rotation{MaxBytes: 10, Generations: rnd.IntN(4), Compress: rnd.IntN(2) == 0}
		disk := map[string]int{} // Name to which log it is.
		for log := range 30 {
			if _, there := disk["a"]; !there {
				disk["a"] = log
			}
			var files []LogFile
			for name := range disk {
				files = append(files, LogFile{name, 11})
			}
			steps := r.Plan(files)
			end := len(steps)
			if log < 28 && rnd.IntN(2) == 0 {
				end = rnd.IntN(end + 1)
			}
			for i, s := range steps[:end] {
				if _, there := disk[s.From]; !there {
					t.Fatalf("seed %d: %s: %s is not there", seed, text(steps), s.From)
				}
				if _, there := disk[s.To]; there {
					t.Fatalf("seed %d: %s: %s is overwritten", seed, text(steps), s.To)
				}
				cut := i == end-1 && end < len(steps)
				switch s.Op {
				case Remove:
					delete(disk, s.From)
				case Rename:
					disk[s.To] = disk[s.From]
					delete(disk, s.From)
				case Compress:
					disk[s.To] = disk[s.From]
					if !cut && (log == 29 || rnd.IntN(2) == 0) { // Else it ended before the removal.
						delete(disk, s.From)
					}
				}
			}
		}
		if _, there := disk["a"]; there && r.Generations > 0 {
			t.Fatalf("seed %d: not rotated: %v", seed, disk)
		}
		byAge := map[int]int{}
		for name, log := range disk {
			if name == "a" {
				continue
			}
			n := 0
			if _, err := fmt.Sscanf(strings.TrimSuffix(name, ".gz"), "a.%d", &n); err != nil || n > r.Generations {
				t.Fatalf("seed %d: kept %s of %d", seed, name, r.Generations)
			}
			byAge[n] = log
		}
		logs := []int{}
		for _, n := range slices.Sorted(maps.Keys(byAge)) {
			logs = append(logs, -byAge[n])
		}
		if !slices.IsSorted(logs) {
			t.Fatalf("seed %d: generations out of order: %v", seed, disk)
		}
	}
}
