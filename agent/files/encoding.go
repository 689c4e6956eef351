//go:build linux

package files

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/agent/reply"
)

// conditional are the headers that only an unencoded reply can honour.
var conditional = []string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

// negotiate chooses "gzip" or "identity" for a reply; false if the client
// accepts neither.
func negotiate(r *http.Request) (string, bool) {
	gzip, identity := -1.0, -1.0
	other := -1.0
	for _, line := range r.Header.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(item, ";")
			q := quality(params)
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				gzip = q
			case "identity":
				identity = q
			case "*":
				other = q
			}
		}
	}
	if gzip < 0 {
		gzip = max(other, 0)
	}
	if identity < 0 {
		// Identity is acceptable unless it is ruled out.
		identity = 0.0001
		if other == 0 {
			identity = 0
		}
	}
	for _, name := range conditional {
		if r.Header.Get(name) != "" && identity > 0 {
			return "identity", true
		}
	}
	switch {
	case gzip > 0 && gzip >= identity:
		return "gzip", true
	case identity > 0:
		return "identity", true
	}
	return "", false
}

// quality reads ";q=0.5"; what cannot be read counts as 1.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(p), "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && q >= 0 && q <= 1 {
			return q
		}
	}
	return 1
}

func reply406(w http.ResponseWriter) {
	reply.Error(w, http.StatusNotAcceptable, "no acceptable encoding, available are gzip and identity")
}
