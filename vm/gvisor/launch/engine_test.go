package launch

import "testing"

func TestEngineName(t *testing.T) {
	const name = "rundlet-sandbox-0123456789abcdef"
	for path, want := range map[string]string{
		"/s/engines/" + name:                name,
		"/s/engines/" + name + " (deleted)": name,
		name:                                name,
		"/s/engines/." + name + "123":       "",
		name + "0":                          "",
		name[:len(name)-1]:                  "",
		name[:len(name)-1] + "g":            "",
		"/usr/bin/rundlet":                  "",
		"":                                  "",
	} {
		if got := EngineName(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
