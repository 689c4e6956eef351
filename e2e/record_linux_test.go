package e2e

import (
	"encoding/json"
	"testing"
)

// record prints the figures of a test as one line of JSON, which scripts/soak
// collects.
func record(t *testing.T, name string, figures map[string]any) {
	t.Helper()
	figures["test"] = name
	line, err := json.Marshal(figures)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("figures %s", line)
}
