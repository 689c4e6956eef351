package wire

import (
	"encoding/base64"
	"regexp"
	"strings"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

const (
	cursorSeparator = "__"
	cursorAscending = "asc"
	maxCursor       = 256
)

// cursorID matches ids of sandboxes, templates, snapshots and builds.
var cursorID = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// FormatCursor makes a page token: a place in the order, and which order.
func FormatCursor(c sandbox.Cursor, ascending bool) string {
	text := c.StartedAt.UTC().Format(time.RFC3339Nano) + cursorSeparator + c.ID
	if ascending {
		text += cursorSeparator + cursorAscending
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// ParseCursor reads a page token; nil and empty are the first page.
func ParseCursor(token *string, ascending bool) (*sandbox.Cursor, error) {
	if token == nil || *token == "" {
		return nil, nil
	}
	if len(*token) > maxCursor {
		return nil, refusal.Invalidf("nextToken is not valid")
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*token, "="))
	if err != nil {
		return nil, refusal.Invalidf("nextToken is not valid")
	}
	parts := strings.Split(string(text), cursorSeparator)
	if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[2] != cursorAscending {
		return nil, refusal.Invalidf("nextToken is not valid")
	}
	started, err := time.Parse(time.RFC3339Nano, parts[0])
	if err != nil || !cursorID.MatchString(parts[1]) {
		return nil, refusal.Invalidf("nextToken is not valid")
	}
	if (len(parts) == 3) != ascending {
		return nil, refusal.Invalidf("nextToken belongs to a list in another order")
	}
	return &sandbox.Cursor{StartedAt: started, ID: parts[1]}, nil
}
