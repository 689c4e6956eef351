package remote

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/policy/egress/bundle"
)

func TestBundlesAreListed(t *testing.T) {
	out, _, err := runNetwork(t, `{}`, `[]`, false, "bundles")
	if err != nil || !strings.HasPrefix(out, "BUNDLE") || strings.Count(out, "\n") != len(bundle.Names())+1 ||
		!strings.Contains(out, "\nbundle:rubygems     index.rubygems.org rubygems.org\n") {
		t.Errorf("%s, %v", out, err)
	}
	out, _, err = runNetwork(t, `{}`, `[]`, true, "bundles")
	var list []struct {
		Entry string
		Hosts []string
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(out, err)
	}
	if err != nil || len(list) != len(bundle.Names()) {
		t.Errorf("%d bundles, %v", len(list), err)
	}
	for _, b := range list {
		if name, is := strings.CutPrefix(b.Entry, bundle.Prefix); !is || len(b.Hosts) == 0 || !slices.Equal(b.Hosts, bundle.Hosts(name)) {
			t.Errorf("%+v", b)
		}
	}
	if _, _, err := runNetwork(t, `{}`, `[]`, false, "bundles", "pypi"); err == nil {
		t.Error("an argument is accepted")
	}
}

// The command beside it still takes the id of a sandbox, and an entry as it is.
func TestABundleIsAllowed(t *testing.T) {
	shown := `{"allowInternetAccess":false,"network":{"allowOut":["bundle:pypi"]}}`
	out, changed, err := runNetwork(t, shown, `[]`, false, "i1", "--no-internet", "--allow", "bundle:pypi")
	if err != nil || changed != `{"allowOut":["bundle:pypi"],"allow_internet_access":false}` || out != "allowed: bundle:pypi\ndenied:  everything else\n" {
		t.Errorf("%q, changed %s, %v", out, changed, err)
	}
}
