package wire

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

// listParameters are the parameters of the API that are lists. The protocol has them
// joined by commas; clients also send them repeated.
var listParameters = []string{"state", "sandbox_ids", "types"}

// ReadQuery checks the query of a request, and gives it the one form that the
// generated code reads: a list is joined by commas and has each value once, and a
// parameter without a value is not there.
func ReadQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	// A parameter that cannot be read must not pass as one that is not there.
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refusal.Invalidf("the query string is not valid")
	}
	for name, values := range q {
		if slices.Contains(listParameters, name) {
			values = []string{strings.Join(elements(values), ",")}
		}
		values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		if len(values) == 0 {
			delete(q, name)
		} else {
			q[name] = values
		}
	}
	r.URL.RawQuery = q.Encode()
	return nil
}

// elements are those of a list, each once, in their order.
func elements(values []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, v := range values {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.TrimSpace(e); e != "" && !seen[e] {
				seen[e] = true
				out = append(out, e)
			}
		}
	}
	return out
}
