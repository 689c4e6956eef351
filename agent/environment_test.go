//go:build linux

package agent_test

import (
	"os"
	"testing"

	"github.com/rundlet/rundlet/envd"
)

func TestTheVariablesAreInAFileForProgramsThatRunAlready(t *testing.T) {
	g := newGuest(t)
	path := g.root + "/run/rundlet/environment"
	want := func(when, text string) {
		t.Helper()
		b, _ := os.ReadFile(path)
		if string(b) != text {
			t.Errorf("%s: %s, want %s", when, b, text)
		}
	}
	req := envd.InitRequest{ControlToken: "c", SandboxID: "i", TemplateID: "t"}
	g.init(t, req)
	want("a template without programs", "")
	req.CurrentToken, req.Restored = "c", true
	g.init(t, req)
	want("restored", `{"E2B_SANDBOX":"true","E2B_SANDBOX_ID":"i","E2B_TEMPLATE_ID":"t"}`)
	req.Restored, req.SandboxID, req.Env = false, "j", map[string]string{"A": "1"}
	g.init(t, req)
	want("another sandbox", `{"A":"1","E2B_SANDBOX":"true","E2B_SANDBOX_ID":"j","E2B_TEMPLATE_ID":"t"}`)
	req.Env = nil
	g.init(t, req)
	want("without variables", `{"E2B_SANDBOX":"true","E2B_SANDBOX_ID":"j","E2B_TEMPLATE_ID":"t"}`)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
