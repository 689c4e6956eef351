package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAProxyIsSetWithoutShowingItsPassword(t *testing.T) {
	t.Setenv("LOGIN", "me:hunter2:x")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	has := func(proxy string) string {
		return `{"network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"],"egressProxy":` + proxy + `}}`
	}
	const rest = `"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"]`
	const plain = `{"address":"old:1"}`
	for _, c := range []struct{ detail, args, want string }{
		{`{}`, "--proxy a.example:1080", `{"egressProxy":{"address":"a.example:1080","password":"","username":""}}`},
		{`{}`, "--proxy a:1 --proxy-login env:LOGIN --proxy-tls", `{"egressProxy":{"address":"a:1","password":"hunter2:x","tls":{"caCert":"","enabled":true,"serverName":""},"username":"me"}}`},
		{`{}`, "--proxy a:1 --proxy-ca " + ca, `{"egressProxy":{"address":"a:1","password":"","tls":{"caCert":"PEM","enabled":true,"serverName":""},"username":""}}`},
		{has(plain), "--proxy new:2", `{` + rest + `,"egressProxy":{"address":"new:2","password":"","username":""}}`},
		{has(plain), "--deny 2.2.2.2", `{"denyOut":["2.2.2.2"],"egressProxy":{"address":"old:1","password":"","username":""}}`},
		{has(plain), "--no-proxy", `{` + rest + `}`},
		{has(`{"address":"old:1","username":"me"}`), "--no-proxy --deny 2.2.2.2", `{"denyOut":["2.2.2.2"]}`},
		{has(`{"address":"old:1","username":"me"}`), "--open", `{}`},
	} {
		out, changed, err := runNetwork(t, c.detail, `[]`, false, append([]string{"i1"}, strings.Fields(c.args)...)...)
		if err != nil || changed != c.want {
			t.Errorf("%s: %s, %v, want %s", c.args, changed, err, c.want)
		}
		if strings.Contains(out, "hunter2") {
			t.Errorf("%s shows %s", c.args, out)
		}
	}
	shown := has(`{"address":"old:1","username":"me","tls":{"enabled":true}}`)
	if out, _, err := runNetwork(t, shown, `[]`, false, "i1"); err != nil || !strings.Contains(out, "proxy:   me@old:1 (TLS)\n") {
		t.Errorf("%s, %v", out, err)
	}
	if out, _, err := runNetwork(t, shown, `[]`, true, "i1"); err != nil || !strings.Contains(strings.Join(strings.Fields(out), ""), `"proxy":{"address":"old:1","username":"me","tls":true}`) {
		t.Errorf("%s, %v", out, err)
	}
}

func TestAProxyThatCannotBeKeptIsNotDropped(t *testing.T) {
	login := `{"network":{"egressProxy":{"address":"old:1","username":"me"}}}`
	encrypted := `{"network":{"egressProxy":{"address":"old:1","tls":{"enabled":true}}}}`
	for _, c := range []struct{ detail, args, want string }{
		{login, "--deny 2.2.2.2", "repeat --proxy"}, {encrypted, "--no-headers", "repeat --proxy"},
		{`{}`, "--proxy-tls", "need --proxy"}, {`{}`, "--proxy-login env:PATH", "need --proxy"}, {`{}`, "--no-proxy --proxy a:1", "cannot be given with"},
		{`{}`, "--proxy a:1 --proxy-login hunter2:x", "not on the command line"}, {`{}`, "--proxy a:1 --proxy-ca /nothing/there", "no such file"},
		{`{}`, "--open --proxy a:1", "removes all rules"},
	} {
		_, changed, err := runNetwork(t, c.detail, `[]`, false, append([]string{"i1"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") || changed != "" {
			t.Errorf("%s: %v, changed %s", c.args, err, changed)
		}
	}
}
