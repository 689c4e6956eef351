//go:build linux

package guest

import (
	"maps"
	"strings"
	"testing"
)

func TestVariablesOfAnImage(t *testing.T) {
	long := strings.Repeat("x", maxVariable)
	for name, c := range map[string]struct {
		env     []string
		want    map[string]string
		leftOut int
		path    string
	}{
		"none":            {nil, map[string]string{}, 0, systemPath},
		"some":            {[]string{"A=1", "B=x=y", "C=", "PATH=/app:/bin"}, map[string]string{"A": "1", "B": "x=y", "C": "", "PATH": "/app:/bin"}, 0, "/app:/bin"},
		"the last counts": {[]string{"A=1", "A=2", "PATH=/a", "PATH=/b"}, map[string]string{"A": "2", "PATH": "/b"}, 0, "/b"},
		"for the loader":  {[]string{"LD_PRELOAD=/x.so"}, map[string]string{"LD_PRELOAD": "/x.so"}, 0, systemPath},
		"no name":         {[]string{"=x", "", "A", "B=1"}, map[string]string{"B": "1"}, 3, systemPath},
		"a NUL":           {[]string{"A\x00B=1", "C=\x00", "PATH=/a\x00b"}, map[string]string{}, 3, systemPath},
		"too long":        {[]string{"A=" + long, "B=" + long[3:], "C=" + long[2:], long + "=", "PATH=/" + long}, map[string]string{"B": long[3:]}, 4, systemPath},
		"a shell's":       {[]string{"PATH=/a\"; reboot; \""}, map[string]string{"PATH": "/a\"; reboot; \""}, 0, systemPath},
		"ends a word":     {[]string{"PATH=/a}; reboot; #"}, map[string]string{"PATH": "/a}; reboot; #"}, 0, systemPath},
		"two lines":       {[]string{"PATH=/a\n/b"}, map[string]string{"PATH": "/a\n/b"}, 0, systemPath},
	} {
		t.Run(name, func(t *testing.T) {
			got, leftOut := Variables(c.env)
			if !maps.Equal(got, c.want) || leftOut != c.leftOut {
				t.Errorf("got %.300q, %d left out", got, leftOut)
			}
			if agents := Env(c.env); agents[0] != "PATH="+binDir+":"+c.path {
				t.Errorf("the agent has %.300q", agents)
			}
		})
	}
}
