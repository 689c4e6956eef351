package wire

import (
	"regexp"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// idPattern has a bound of the length that keeps a label of the DNS and a little more.
var idPattern = regexp.MustCompile(`^[a-z0-9]{1,63}$`)

// ParseID returns the sandbox id in text, which may have the legacy form
// "<id>-<client>".
func ParseID(text string) (string, error) {
	id, client, legacy := strings.Cut(text, "-")
	if !idPattern.MatchString(id) || legacy && !idPattern.MatchString(client) {
		return "", refusal.InvalidSandboxID.With()
	}
	return id, nil
}

// namePattern is [namespace/]name[:tag].
var namePattern = regexp.MustCompile(`^([a-z0-9][a-z0-9_-]*/)?[a-z0-9][a-z0-9_-]*(:[a-z0-9_.-]+)?$`)

// maxName is the longest name as it is kept: an id made of it has a tag besides.
const maxName = 128

// BareName is a name as it is kept: in lower case, and without the tag that
// every name has.
func BareName(name string) string {
	return strings.TrimSuffix(strings.ToLower(name), ":"+defaultTag)
}

// defaultTag is the tag of a name without one.
const defaultTag = sandbox.DefaultTag

// WithoutTag is the name without its tag, which all its tags share.
func WithoutTag(name string) string {
	bare, _, _ := strings.Cut(name, ":")
	return bare
}

// ParseName checks the name or id of a snapshot.
func ParseName(name string) (string, error) {
	bare := BareName(name)
	if len(bare) > maxName || !namePattern.MatchString(strings.ToLower(name)) {
		return "", refusal.Invalidf("a snapshot name is [namespace/]name[:tag] of letters, digits, hyphens and underscores, at most %d; got %.64q", maxName, name)
	}
	return bare, nil
}
