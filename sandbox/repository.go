package sandbox

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Repository is the git repository that a template has a checkout of.
type Repository struct {
	// URL is where it was cloned from, without credentials.
	URL string `json:"url,omitempty"`
	// Branch is the branch that was checked out, which sandboxes are kept at; empty after a tag or a commit.
	Branch string `json:"branch,omitempty"`
	// Commit is what was checked out, in hexadecimal digits.
	Commit string `json:"commit,omitempty"`
	// Checkout is the absolute path of the work tree, and User its owner.
	Checkout string `json:"checkout,omitempty"`
	User     string `json:"user,omitempty"`
}

// FreshnessPhase is where a sandbox is on its way to a checkout that is up to date.
type FreshnessPhase string

// The phases. The store and the API spell them like this.
const (
	FreshnessRestored FreshnessPhase = "restored"
	FreshnessSyncing  FreshnessPhase = "syncing"
	FreshnessReady    FreshnessPhase = "ready"
	FreshnessFailed   FreshnessPhase = "failed"
)

// Freshness is the gate of a sandbox whose checkout has to be up to date before clients may write. The zero value has no gate.
type Freshness struct {
	Phase FreshnessPhase `json:"phase,omitempty"`
	// Reason is why the sync failed; empty in the other phases.
	Reason string `json:"reason,omitempty"`
	// Branch is fetched and checked out, and Target is the ref or the commit that it is reset to.
	Branch string `json:"branch,omitempty"`
	Target string `json:"target,omitempty"`
	// Checkout is the work tree, and User runs git in it; empty is the user of the sandbox. Without a Checkout the
	// caller that made the sandbox does the sync, and says how it ended.
	Checkout string `json:"checkout,omitempty"`
	User     string `json:"user,omitempty"`
}

// Empty reports whether there is no gate.
func (f Freshness) Empty() bool { return f == Freshness{} }

// Open reports whether clients may write.
func (f Freshness) Open() bool { return f.Empty() || f.Phase == FreshnessReady }

// Decided reports whether the gate waits for nothing: it is open, or its sync has failed.
func (f Freshness) Decided() bool { return f.Open() || f.Phase == FreshnessFailed }

// FreshnessError is the ErrConflict of a write to a sandbox whose sync has failed.
type FreshnessError struct{ Reason string }

func (e *FreshnessError) Error() string {
	return fmt.Sprintf("its checkout is not up to date, and writes are blocked: %s", e.Reason)
}

// Unwrap makes it an ErrConflict.
func (e *FreshnessError) Unwrap() error { return ErrConflict }

const (
	maxRef  = 255  // bytes of the name of a ref
	maxPath = 4095 // bytes; Linux takes no longer one
	maxURL  = 2048 // bytes of the URL of a repository
)

var commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// ValidCommit reports whether a text is the whole id of a commit.
func ValidCommit(s string) bool { return commitID.MatchString(s) }

// CheckRef accepts what git check-ref-format does, short names included, and no
// refspec ("+a", "a:b") or revision ("a~1", "a@{u}"), nor what could be taken
// for an option. Hexadecimal commits are such names too.
func CheckRef(s string) error {
	if s == "" || len(s) > maxRef {
		return fmt.Errorf("has %d characters, not 1 to %d", len(s), maxRef)
	}
	if !printable(s) || strings.ContainsAny(s, " ~^:?*[\\") {
		return errors.New("has a character that no ref has")
	}
	if strings.ContainsAny(s[:1], "-+") || s == "@" || strings.Contains(s, "@{") || strings.Contains(s, "..") {
		return errors.New("is an option, a refspec or a revision, not the name of a ref")
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock") {
			return fmt.Errorf("has the part %q, which no ref has", part)
		}
	}
	return nil
}

// CheckCheckout accepts an absolute, clean path of a directory other than the root.
func CheckCheckout(s string) error {
	if len(s) > maxPath || !printable(s) {
		return errors.New("is too long for a path, or has a character that cannot be shown")
	}
	if !path.IsAbs(s) || path.Clean(s) != s || s == "/" {
		return errors.New("is not an absolute path without \".\", \"..\" and \"//\"")
	}
	return nil
}

// CheckRepositoryURL accepts URLs of repositories without credentials: they would be in the template, and in each of its sandboxes.
func CheckRepositoryURL(s string) error {
	if len(s) > maxURL || !printable(s) || strings.Contains(s, " ") {
		return fmt.Errorf("has more than %d bytes, or a character that no URL has", maxURL)
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return errors.New("is not a URL, as https://HOST/PATH")
	}
	switch u.Scheme {
	case "https", "http", "git", "ssh":
	default:
		return fmt.Errorf("has the scheme %.20q: use https, http, git or ssh", u.Scheme)
	}
	if _, password := u.User.Password(); password || u.User != nil && u.Scheme != "ssh" {
		return errors.New("has credentials, which the template would keep: leave them out")
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
