//go:build linux

package sudo

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/agent/account"
)

func TestParse(t *testing.T) {
	cmd := []string{"ls", "-l"}
	for in, want := range map[string]options{
		"ls -l":                {user: "root", command: cmd},
		"-u ann ls -l":         {user: "ann", command: cmd},
		"-uann -- ls -l":       {user: "ann", command: cmd},
		"--user=ann ls -l":     {user: "ann", command: cmd},
		"--user ann ls -l":     {user: "ann", command: cmd},
		"-nEHu #5 ls -l":       {user: "#5", preserve: true, home: true, command: cmd},
		"A=1 B=2 ls -l":        {user: "root", env: []string{"A=1", "B=2"}, command: cmd},
		"-n A=1 -- B=2 ls -l":  {user: "root", env: []string{"A=1", "B=2"}, command: cmd},
		"--preserve-env ls -l": {user: "root", preserve: true, command: cmd},
		"-S -p prompt ls -l":   {user: "root", command: cmd},
		"-i":                   {user: "root", login: true, command: []string{}},
		"-s ls -l":             {user: "root", shell: true, command: cmd},
		"-k":                   {user: "root", done: true, command: []string{}},
		"-v":                   {user: "root", done: true, command: []string{}},
		"-l":                   {user: "root", list: true, command: []string{}},
	} {
		got, err := parse(strings.Fields(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-n", "-u", "-g grp ls", "-b ls", "-e file", "--preserve-env=A ls", "--login=x", "-i -s", "--unknown ls", "-u ann"} {
		if o, err := parse(strings.Fields(in)); err == nil {
			t.Errorf("%s: %+v", in, o)
		}
	}
}

func TestPlan(t *testing.T) {
	u := account.User{Name: "ann", Home: "/home/ann", Shell: "/bin/zsh"}
	environ := []string{"PATH=/evil", "HOME=/home/me", "SECRET=s", "TERM=xterm", "SHELL=/bin/me", "NODE_EXTRA_CA_CERTS=/c"}
	planned := func(args string) program {
		o, err := parse(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		return plan(o, u, environ, []string{"SUDO_USER=me"})
	}
	has := func(p program, kv ...string) {
		t.Helper()
		for _, e := range kv {
			if !slices.Contains(p.env, e) {
				t.Errorf("%s is missing in %v", e, p.env)
			}
		}
	}
	p := planned("A=1 ls -l")
	has(p, "A=1", "HOME=/home/ann", "USER=ann", "LOGNAME=ann", "TERM=xterm", "NODE_EXTRA_CA_CERTS=/c", "SUDO_USER=me", "SUDO_COMMAND=ls -l", "PATH="+securePath)
	if p.argv0 != "ls" || value(p.env, "SECRET") != "" || p.dir != "" {
		t.Errorf("%+v", p)
	}
	p = planned("-E ls")
	has(p, "SECRET=s", "HOME=/home/me", "USER=ann", "PATH="+securePath)
	has(planned("-EH ls"), "SECRET=s", "HOME=/home/ann")
	p = planned("-i echo a;b $X")
	if p.argv0 != "/bin/zsh" || !slices.Equal(p.argv, []string{"-zsh", "-c", `echo a\;b $X`}) || p.dir != "/home/ann" || value(p.env, "HOME") != "/home/ann" {
		t.Errorf("%+v", p)
	}
	if p = planned("-s"); p.argv0 != "/bin/me" || !slices.Equal(p.argv, []string{"/bin/me"}) {
		t.Errorf("%+v", p)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-nEu ann A=1 -- ls")
	f.Fuzz(func(t *testing.T, in string) {
		o, err := parse(strings.Split(in, " "))
		if err == nil && len(o.command) == 0 && !o.login && !o.shell && !o.done && !o.list {
			t.Errorf("%q runs nothing", in)
		}
	})
}
