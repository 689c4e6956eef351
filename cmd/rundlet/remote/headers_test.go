package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHeadersAreSetWithoutShowingThem(t *testing.T) {
	t.Setenv("API_KEY", "hunter2")
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const key = `"rules":{"a.example":[{"transform":{"headers":{"X-Key":"hunter2"}}}]}`
	has := `{"network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"],` + key + `}}`
	for _, c := range []struct{ detail, args, want string }{
		{`{}`, "--header a.example:X-Key=env:API_KEY", `{` + key + `}`},
		{`{}`, "--header a.example:X-Key=file:" + file, `{` + key + `}`},
		{has, "--header *.b.example:A=env:API_KEY --header *.b.example:B=env:API_KEY", `{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"],"rules":{"*.b.example":[{"transform":{"headers":{"A":"hunter2","B":"hunter2"}}}]}}`},
		{has, "--no-headers", `{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"]}`},
		{has, "--deny 2.2.2.2", `{"denyOut":["2.2.2.2"],` + key + `}`},
		{has, "--deny 2.2.2.2 --no-headers", `{"denyOut":["2.2.2.2"]}`},
		{has, "--open", `{}`},
		{`{"allowInternetAccess":false}`, "--header a.example:X-Key=env:API_KEY", `{"allow_internet_access":false,` + key + `}`},
	} {
		out, changed, err := runNetwork(t, c.detail, `[]`, false, append([]string{"i1"}, strings.Fields(c.args)...)...)
		if err != nil || changed != c.want {
			t.Errorf("%s: %s, %v, want %s", c.args, changed, err, c.want)
		}
		if strings.Contains(out, "hunter2") {
			t.Errorf("%s shows %s", c.args, out)
		}
	}
	if out, _, err := runNetwork(t, has, `[]`, false, "i1"); err != nil || !strings.Contains(out, "headers: X-Key for a.example\n") || strings.Contains(out, "hunter2") {
		t.Errorf("%s, %v", out, err)
	}
	if out, _, err := runNetwork(t, has, `[]`, true, "i1"); err != nil || !strings.Contains(strings.Join(strings.Fields(out), ""), `"headers":{"a.example":["X-Key"]}`) || strings.Contains(out, "hunter2") {
		t.Errorf("%s, %v", out, err)
	}
}

func TestBadHeadersAreRefusedWithoutShowingThem(t *testing.T) {
	t.Setenv("EMPTY", "")
	dir := t.TempDir()
	for name, text := range map[string]string{"large": strings.Repeat("x", maxSecret+1), "empty": "\r\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for flag, want := range map[string]string{
		"a.example: Authorization: hunter2": "--header must be", "a.example: Authorization: hunter2==": "--header must be",
		"a.example:Authorization:hunter2=": "--header must be", "a.example:A=Bearer hunter2": "not on the command line",
		"a.example:A=env:": "not set or empty", "a.example:A=env:EMPTY": `"EMPTY" is not set or empty`,
		"a.example:A=file:" + dir + "/empty": "empty is empty", "a.example:A=file:" + dir + "/large": "more than 65536 bytes",
		"a.example:A=file:" + dir: "is a directory", "a.example:A=file:": "no such file",
	} {
		_, changed, err := runNetwork(t, `{}`, `[]`, false, "i1", "--header", flag)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || changed != "" {
			t.Errorf("%s: %v, changed %s", flag, err, changed)
		}
	}
	for args, want := range map[string]string{
		"--header a.example": "must be HOST:NAME", "--header a.example:X": "must be HOST:NAME", "--header :X=env:A": "must be HOST:NAME",
		"--header a.example:X=hunter2": "not on the command line", "--header a.example:X=env:NOT_SET_AT_ALL": "is not set or empty",
		"--header a.example:X=file:/nothing/there": "no such file", "--header a:X=env:PATH --header a:X=env:PATH": "given twice",
		"--no-headers --header a:X=env:PATH": "cannot be given with", "--open --no-headers": "removes all rules",
	} {
		_, changed, err := runNetwork(t, `{}`, `[]`, false, append([]string{"i1"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || changed != "" {
			t.Errorf("%s: %v, changed %s", args, err, changed)
		}
	}
}
