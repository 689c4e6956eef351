package launch

import "testing"

func TestCommand(t *testing.T) {
	for name, c := range map[string]struct {
		args            []string
		command, bundle string
	}{
		"boot":          {[]string{"runsc-sandbox", "--root=/r", "boot", "--bundle=/b", "--apply-caps=true", "id"}, "boot", "/b"},
		"gofer":         {[]string{"runsc-gofer", "--root=/r", "gofer", "--bundle", "/b", "id"}, "gofer", "/b"},
		"second start":  {[]string{"runsc-sandbox", "boot", "--bundle=/b", "--apply-caps=false", "id"}, "", ""},
		"command line":  {[]string{"runsc", "--root=/r", "exec", "id", "boot", "--bundle=/b"}, "boot", "/b"},
		"another":       {[]string{"runsc", "list"}, "", ""},
		"none":          {[]string{"runsc"}, "", ""},
		"bundle at end": {[]string{"runsc", "boot", "--bundle"}, "boot", ""},
	} {
		if command, bundle := Command(c.args); command != c.command || bundle != c.bundle {
			t.Errorf("%s: %q %q", name, command, bundle)
		}
	}
}
