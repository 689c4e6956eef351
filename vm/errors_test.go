package vm

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  Error
		want string
	}{
		{Error{Op: "list"}, "list"},
		{Error{Op: "start", ID: "a", Kind: ErrNotFound}, "start a: not found"},
		{Error{Op: "start", ID: "a", Err: fs.ErrExist}, "start a: file already exists"},
		{Error{Op: "start", ID: "a", Kind: ErrUnavailable, Err: fs.ErrExist}, "start a: unavailable: file already exists"},
		{Error{Op: "start", ID: "a", Hint: "try again"}, "start a"},
		{Error{Op: "start", ID: "a\nb"}, `start "a\nb"`},
		{Error{Op: "start", ID: strings.Repeat("x", 1000)}, `start "` + strings.Repeat("x", 80) + `"`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%#v says %q, want %q", c.err, got, c.want)
		}
	}
}

func TestErrorShowsClassAndCause(t *testing.T) {
	var err error = &Error{Op: "start", ID: "a", Kind: ErrUnavailable, Err: &fs.PathError{Op: "open", Path: "p", Err: fs.ErrExist}}
	var path *fs.PathError
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, fs.ErrExist) || !errors.As(err, &path) {
		t.Errorf("class or cause of %v is hidden", err)
	}
	if errors.Is(err, ErrNotFound) {
		t.Errorf("%v has a class that it was not given", err)
	}
	if empty := (&Error{Op: "start"}).Unwrap(); len(empty) != 0 {
		t.Errorf("an error without a cause unwraps to %v", empty)
	}
}

func TestErrorClassesDiffer(t *testing.T) {
	classes := []error{
		ErrNotFound, ErrAlreadyExists, ErrInvalid, ErrInvalidTransition, ErrUnsupported, ErrUnavailable, ErrIncompatible,
	}
	for i, a := range classes {
		for j, b := range classes {
			if errors.Is(a, b) != (i == j) {
				t.Errorf("errors.Is(%v, %v) is %v", a, b, i != j)
			}
		}
	}
}

func TestTransitionError(t *testing.T) {
	err := TransitionError("start", "a", StatusDestroyed, StatusRunning)
	if !errors.Is(err, ErrInvalidTransition) {
		t.Errorf("%v is not ErrInvalidTransition", err)
	}
	if want := "start a: invalid transition: from destroyed to running"; err.Error() != want {
		t.Errorf("text is %q, want %q", err, want)
	}
}

func TestValidate(t *testing.T) {
	longest := strings.Repeat("a", MaxIDLength)
	for _, c := range []struct {
		id         string
		asID, snap bool // accepted as a machine id, as a snapshot id
	}{
		{"a", true, true},
		{"0", true, true},
		{"A-b_C9", true, true},
		{longest, true, true},
		{"a.b", false, true},
		{"v1.2.3", false, true},
		{"a.", false, true},
		{"", false, false},
		{longest + "a", false, false},
		{".", false, false},
		{"..", false, false},
		{".a", false, false},
		{"a..b", false, false},
		{"-a", false, false},
		{"_a", false, false},
		{"a/b", false, false},
		{`a\b`, false, false},
		{"a b", false, false},
		{"a\x00", false, false},
		{"a\n", false, false},
		{"é", false, false},
		{"\xff", false, false},
	} {
		check := func(what string, err error, ok bool) {
			t.Helper()
			if (err == nil) != ok || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s %q: error is %v, want accepted %v", what, c.id, err, ok)
			}
		}
		check("id", ValidateID(c.id), c.asID)
		check("snapshot id", ValidateSnapshotID(c.id), c.snap)
	}
}

func TestInfoHas(t *testing.T) {
	i := Info{Capabilities: []Capability{CapabilityDial, CapabilityWait}}
	if !i.Has(CapabilityDial) || !i.Has(CapabilityWait) || i.Has(CapabilityRename) || (Info{}).Has(CapabilityDial) {
		t.Errorf("Has disagrees with %q", i.Capabilities)
	}
}

var (
	idPattern       = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\z`)
	snapshotPattern = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\z`)
)

func FuzzValidateID(f *testing.F) {
	for _, s := range []string{"a", "a.b", "..", "a..b", "-a", "a/b", "", strings.Repeat("x", 65), "é", "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if got, want := ValidateID(id) == nil, idPattern.MatchString(id); got != want {
			t.Errorf("ValidateID(%q) accepts: %v, the pattern %v", id, got, want)
		}
		snap := ValidateSnapshotID(id)
		if want := snapshotPattern.MatchString(id) && !strings.Contains(id, ".."); (snap == nil) != want {
			t.Errorf("ValidateSnapshotID(%q) accepts: %v, the pattern %v", id, snap == nil, want)
		}
		if snap == nil && !filepath.IsLocal(id) || snap == nil && filepath.Base(id) != id {
			t.Errorf("%q is accepted, but is not a file name", id)
		}
		for _, err := range []error{snap, ValidateID(id), &Error{Op: "get", ID: id}} {
			if err != nil && (strings.ContainsAny(err.Error(), "\n\r\x00") || len(err.Error()) > 1000) {
				t.Errorf("the error for %q is not one short line: %q", id, err)
			}
		}
	})
}
