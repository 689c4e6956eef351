package freshness

import (
	"cmp"
	"fmt"
	"maps"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
)

// The metadata keys of a request. Those that begin with "firkin.sync." instead
// are accepted as well.
const (
	KeyBranch   = "rundlet.sync.branch"
	KeyTarget   = "rundlet.sync.target"
	KeyCheckout = "rundlet.sync.checkout"
	// KeySync has the value Off for a sandbox that keeps the checkout that its template has.
	KeySync = "rundlet.sync"
)

// Off is the one value of KeySync.
const Off = "off"

const (
	prefix = "rundlet.sync."
	alias  = "firkin.sync."
	heads  = "refs/heads/"
)

// ErrInvalid is a request that is not understood. It is a sandbox.ErrInvalid.
var ErrInvalid = fmt.Errorf("%w: freshness request", sandbox.ErrInvalid)

// Request is what a sandbox's metadata asks for. The zero Request asks for
// nothing.
type Request struct {
	// Branch is fetched and checked out, Target is what it is reset to: a
	// commit or the name of a ref. Both are set, or none.
	Branch, Target string
	// Checkout is the absolute path of the work tree in the guest. If it is
	// set the runtime syncs in the background; otherwise the caller that made the
	// sandbox does, and says so.
	Checkout string
}

// Gated reports whether writes wait for a sync.
func (r Request) Gated() bool { return r.Branch != "" }

// For is Parse for a sandbox of a template. What the metadata leaves out is that of the template's repository, if it has
// one: a sandbox of a branch is kept at that branch, unless its metadata says KeySync is Off.
func For(metadata map[string]string, repo sandbox.Repository) (Request, error) {
	if repo == (sandbox.Repository{}) {
		return Parse(metadata)
	}
	filled := maps.Clone(metadata)
	if filled == nil {
		filled = map[string]string{}
	}
	given := func(key string) bool {
		return metadata[key] != "" || metadata[alias+strings.TrimPrefix(key, prefix)] != ""
	}
	asked := given(KeyBranch) || given(KeyTarget) || given(KeyCheckout)
	if metadata[KeySync] != "" || !asked && repo.Branch == "" {
		return Parse(metadata)
	}
	if !given(KeyBranch) {
		filled[KeyBranch] = repo.Branch
	}
	if !given(KeyTarget) {
		filled[KeyTarget] = "origin/" + strings.TrimPrefix(cmp.Or(filled[KeyBranch], metadata[alias+"branch"]), heads)
	}
	if !given(KeyCheckout) {
		filled[KeyCheckout] = repo.Checkout
	}
	return Parse(filled)
}

// Parse reads the request in a sandbox's metadata. Metadata that asks for
// nothing gives the zero Request. All values are hostile: what git could take
// for an option, a refspec or a revision expression is ErrInvalid, and so is a
// branch without a target or the other way round, since a sandbox that somebody
// wanted gated must not come up open.
func Parse(metadata map[string]string) (Request, error) {
	var r Request
	switch metadata[KeySync] {
	case "", Off:
	default:
		return Request{}, fmt.Errorf("%w: %s can be %q only", ErrInvalid, KeySync, Off)
	}
	for _, f := range []struct {
		key   string
		value *string
		check func(string) (string, error)
	}{
		{KeyBranch, &r.Branch, branch},
		{KeyTarget, &r.Target, ref},
		{KeyCheckout, &r.Checkout, checkout},
	} {
		value, err := lookup(metadata, f.key)
		if err != nil {
			return Request{}, err
		}
		if value == "" {
			continue
		}
		if *f.value, err = f.check(value); err != nil {
			return Request{}, fmt.Errorf("%w: %s: %.80q %w", ErrInvalid, f.key, value, err)
		}
	}
	if (r.Branch == "") != (r.Target == "") || r.Checkout != "" && r.Branch == "" {
		return Request{}, fmt.Errorf("%w: %s and %s belong together, and %s needs both", ErrInvalid, KeyBranch, KeyTarget, KeyCheckout)
	}
	if r.Gated() && metadata[KeySync] == Off {
		return Request{}, fmt.Errorf("%w: %s is %q, and other keys ask for a sync", ErrInvalid, KeySync, Off)
	}
	return r, nil
}

// lookup returns the value of a key or its alias.
func lookup(metadata map[string]string, key string) (string, error) {
	other := alias + strings.TrimPrefix(key, prefix)
	a, b := metadata[key], metadata[other]
	if a != "" && b != "" && a != b {
		return "", fmt.Errorf("%w: %s and %s differ", ErrInvalid, key, other)
	}
	if a == "" {
		return b, nil
	}
	return a, nil
}

// branch accepts the name of a branch, with or without refs/heads/.
func branch(s string) (string, error) { return ref(strings.TrimPrefix(s, heads)) }

func ref(s string) (string, error) { return s, sandbox.CheckRef(s) }

func checkout(s string) (string, error) { return s, sandbox.CheckCheckout(s) }

// Command is a program to run in the guest, without a shell.
type Command struct {
	Args []string
	Env  []string // KEY=VALUE, in addition to the guest's own
	Dir  string
}

// Commands returns what brings the checkout up to date, in order; nil without
// a checkout to work on. The first that fails ends the sync: Gate.Fail.
func (r Request) Commands() []Command {
	if r.Checkout == "" {
		return nil
	}
	git := func(args ...string) Command {
		return Command{
			Args: append([]string{"git"}, args...),
			Env:  []string{"GIT_TERMINAL_PROMPT=0"}, // A prompt could not be answered.
			Dir:  r.Checkout,
		}
	}
	target := r.Target
	if branch, ok := strings.CutPrefix(target, "origin/"); ok {
		target = "refs/remotes/origin/" + branch // A tag of that name comes first otherwise.
	}
	return []Command{
		git("fetch", "origin", heads+r.Branch), // A tag of that name comes first otherwise.
		// A ref, never a file of that name. What the reset would overwrite does not keep it from another branch.
		git("checkout", "--force", r.Branch, "--"),
		git("reset", "--hard", target, "--"),
	}
}
