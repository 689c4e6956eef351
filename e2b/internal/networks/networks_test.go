package networks

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/api/gen/openapi"
)

const secret = "7c1d-secret"

// What is read of an update and of a new sandbox is the same, and no error has the value of a header.
func TestRules(t *testing.T) {
	for body, want := range map[string]string{
		`{"rules":null}`: "{[] [] map[] <nil>}", `{"rules":{}}`: "{[] [] map[] <nil>}",
		`{"rules":{"A.example":[{"transform":{"headers":{"X-Key":"` + secret + `"}}}]}}`: "{[] [] map[a.example:map[X-Key:" + secret + "]] <nil>}",
		`{"rules":{"a":null,"b":[null],"c":[{"transform":{"headers":null}}]}}`:           "{[] [] map[a:map[] b:map[] c:map[]] <nil>}",
		`{"rules":{"a":[{"transform":{"headers":{"X":"` + secret + `"},"x":1}}]}}`:       "transform.x",
		`{"rules":{"a":[{"transform":{"headers":{"X":"` + secret + `"}}},{}]}}`:          `"a" has 2 rules`,
		`{"rules":{"a":[{"transform":{"headers":{"X":"` + secret + `"}}}],"A":[]}}`:      `"a" twice`,
		`{"rules":{"a":[{"transform":{"headers":{"X":"` + secret + `"}}}]},"y":"z"}`:     "network.y",
	} {
		var n openapi.SandboxNetwork
		var u openapi.SandboxNetworkUpdate
		for _, into := range []any{&n, &u} {
			if err := json.Unmarshal([]byte(body), into); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
		}
		out, _, err := Of(&n)
		updated, updateErr := OfUpdate(&u)
		for _, err := range []error{err, updateErr} {
			if strings.HasPrefix(want, "{") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret)) {
				t.Errorf("%s: %v", body, err)
			}
		}
		if strings.HasPrefix(want, "{") && (fmt.Sprint(out) != want || fmt.Sprint(updated) != want) {
			t.Errorf("%s: %v, %v, want %s", body, out, updated, want)
		}
	}
}
