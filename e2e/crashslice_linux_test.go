package e2e

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var crashSlice = flag.Int("crash-slice", -1, "the slice of the crash matrix to run in its short form (-1 chooses it by the commit)")

// headCommit returns the hash of the commit that is checked out.
func headCommit() (string, error) {
	out, err := exec.Command("git", "rev-parse", "--verify", "HEAD").Output()
	return strings.TrimSpace(string(out)), err
}

// chooseSlice returns which of n slices a run takes, and why: the one asked for, or
// else one by the hash of the commit, so that each commit tries other steps and the
// same commit always the same. Sources without history go by the day.
func chooseSlice(asked, n int, commit func() (string, error), now time.Time) (slice int, why string) {
	if asked >= 0 {
		return asked % n, "as -crash-slice asks"
	}
	hash, err := commit()
	if err == nil && len(hash) >= 12 {
		var number uint64
		if number, err = strconv.ParseUint(hash[:12], 16, 64); err == nil {
			return int(number % uint64(n)), "by commit " + hash[:12]
		}
	}
	day := now.Unix() / (24 * 60 * 60)
	return int(day % int64(n)), fmt.Sprintf("by day %d: no commit is known (git rev-parse: %q, %v)", day, hash, err)
}

// short leaves one step of each operation. A slice is a number below the length of
// the longest operation; the operations start at different steps, so that one slice
// is not a crash at the first step of all of them.
func short(ops []crashOp, slice int) {
	for i := range ops {
		steps := ops[i].steps
		ops[i].steps = []string{steps[(slice+3*i)%len(steps)]}
	}
}

// lengths are how many steps each operation has.
func lengths(ops []crashOp) []int {
	var out []int
	for _, op := range ops {
		out = append(out, len(op.steps))
	}
	return out
}

func TestTheSlicesOfTheCrashMatrixCoverEveryStep(t *testing.T) {
	turns := map[string]bool{}
	n := slices.Max(lengths(crashOps()))
	for slice := range n {
		ops := crashOps()
		short(ops, slice)
		for _, op := range ops {
			turns[op.name+"/"+op.steps[0]] = true
		}
	}
	for _, op := range crashOps() {
		for _, step := range op.steps {
			if !turns[op.name+"/"+step] {
				t.Errorf("%s at %s is in none of the %d slices", op.name, step, n)
			}
		}
	}
}

func TestACommitChoosesItsSlice(t *testing.T) {
	const n = 38
	at := time.Unix(3*24*60*60+5, 0)
	is := func(hash string, err error) func() (string, error) {
		return func() (string, error) { return hash, err }
	}
	for name, c := range map[string]struct {
		asked  int
		commit func() (string, error)
		want   int
		why    string
	}{
		"by commit":         {-1, is("00000000002a"+strings.Repeat("f", 28), nil), 4, "by commit 00000000002a"},
		"asked for":         {7, is("00000000002a"+strings.Repeat("f", 28), nil), 7, "-crash-slice"},
		"zero is asked for": {0, is("00000000002a"+strings.Repeat("f", 28), nil), 0, "-crash-slice"},
		"beyond the last":   {n + 1, nil, 1, "-crash-slice"},
		"no history":        {-1, is("", errors.New("no repository")), 3, "by day 3: no commit is known (git rev-parse: \"\", no repository)"},
		"no hash":           {-1, is("HEAD", nil), 3, "no commit is known"},
		"not a hash":        {-1, is(strings.Repeat("x", 40), nil), 3, "invalid syntax"},
	} {
		t.Run(name, func(t *testing.T) {
			slice, why := chooseSlice(c.asked, n, c.commit, at)
			if slice != c.want || !strings.Contains(why, c.why) {
				t.Errorf("got slice %d, %s; want %d, %s", slice, why, c.want, c.why)
			}
		})
	}
	taken := map[int]bool{}
	for i := range 40 * n {
		hash := fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		slice, _ := chooseSlice(-1, n, is(hash, nil), at)
		taken[slice] = true
	}
	if len(taken) != n {
		t.Errorf("%d commits ran %d slices of %d", 40*n, len(taken), n)
	}
}
