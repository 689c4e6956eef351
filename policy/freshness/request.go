package freshness

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The metadata keys of a request. Those that begin with "firkin.sync." instead
// are accepted as well.
const (
	KeyBranch   = "rundlet.sync.branch"
	KeyTarget   = "rundlet.sync.target"
	KeyCheckout = "rundlet.sync.checkout"
)

const (
	prefix = "rundlet.sync."
	alias  = "firkin.sync."
)

// ErrInvalid is a request that is not understood.
var ErrInvalid = errors.New("invalid freshness request")

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

// Parse reads the request in a sandbox's metadata. Metadata that asks for
// nothing gives the zero Request. All values are hostile: what git could take
// for an option, a refspec or a revision expression is ErrInvalid, and so is a
// branch without a target or the other way round, since a sandbox that somebody
// wanted gated must not come up open.
func Parse(metadata map[string]string) (Request, error) {
	var r Request
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
func branch(s string) (string, error) { return ref(strings.TrimPrefix(s, "refs/heads/")) }

// maxRef is the longest name of a ref.
const maxRef = 255

// ref accepts what git check-ref-format does, short names included, and no
// refspec ("+a", "a:b") or revision ("a~1", "a@{u}"), nor what could be taken
// for an option. Hexadecimal commits are such names too.
func ref(s string) (string, error) {
	if s == "" || len(s) > maxRef {
		return "", fmt.Errorf("has %d characters, not 1 to %d", len(s), maxRef)
	}
	if !printable(s) || strings.ContainsAny(s, " ~^:?*[\\") {
		return "", errors.New("has a character that no ref has")
	}
	if strings.ContainsAny(s[:1], "-+") || s == "@" || strings.Contains(s, "@{") || strings.Contains(s, "..") {
		return "", errors.New("is an option, a refspec or a revision, not the name of a ref")
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock") {
			return "", fmt.Errorf("has the part %q, which no ref has", part)
		}
	}
	return s, nil
}

// maxPath is the longest path that Linux takes.
const maxPath = 4095

func checkout(s string) (string, error) {
	if len(s) > maxPath || !printable(s) {
		return "", errors.New("is too long for a path, or has a character that cannot be shown")
	}
	if !path.IsAbs(s) || path.Clean(s) != s || s == "/" {
		return "", errors.New("is not an absolute path without \".\", \"..\" and \"//\"")
	}
	return s, nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

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
	return []Command{
		git("fetch", "origin", r.Branch),
		git("checkout", r.Branch, "--"), // A ref, never a file of that name.
		git("reset", "--hard", r.Target, "--"),
	}
}
