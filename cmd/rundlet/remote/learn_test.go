package remote

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/client"
)

const at = `"firstAt":"2026-01-02T03:04:05Z","lastAt":"2026-01-02T03:04:06Z"`

// reached is a host in the form of the API.
func reached(name string, ports string) string {
	text, _ := json.Marshal(name)
	return fmt.Sprintf(`{"name":%s,"ports":[%s],"queries":1,"connections":2,%s}`, text, ports, at)
}

// learned runs --learn for a sandbox with a policy that reached hosts.
func learned(t *testing.T, detail, refused string, hosts ...string) (out string, p proposal) {
	t.Helper()
	traffic := `{"hosts":[` + strings.Join(hosts, ",") + `],"forgottenHosts":0}`
	for _, asJSON := range []bool{false, true} {
		text, changed, err := runSeen(t, detail, refused, traffic, asJSON, "i1", "--learn")
		if err != nil || changed != "" {
			t.Fatalf("%v, changed %q", err, changed)
		}
		if !asJSON {
			out = text
		} else if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return out, p
}

const everyName = `{"network":{"allowOut":["*"],"denyOut":["0.0.0.0/0"]}}`

func TestAPolicyIsLearned(t *testing.T) {
	refused := `[{"protocol":"tcp","address":"1.1.1.1","port":443,"count":2,` + at + `},{"protocol":"dns","address":"","name":"z.example","port":0,"count":1,` + at + `}]`
	out, p := learned(t, everyName, refused, reached("b.example", "80,443"), reached("a.example", ""))
	const want = "rundlet sandbox network i1 --deny 0.0.0.0/0 --allow a.example --allow b.example"
	if first, _, _ := strings.Cut(out, "\n"); first != want || p.Command != want || !p.Learning || p.Begin != "" {
		t.Errorf("%q, %+v", first, p)
	}
	if got := fmt.Sprint(*p.Network); got != "{[a.example b.example] [0.0.0.0/0]}" {
		t.Error(got)
	}
	if len(p.Hosts) != 2 || p.Hosts[0].Name != "a.example" || len(p.Refused) != 1 || p.Refused[0].Name != "z.example" || len(p.Addresses) != 1 || p.Addresses[0].Address != "1.1.1.1" {
		t.Errorf("%+v", p)
	}
	for _, part := range []string{
		"\nREACHED    PORTS   CONNECTIONS  QUERIES  LAST", "\na.example  -       2            1 ", "\nb.example  80 443  2            1 ", "\nREFUSED", "\nz.example    dns", "\n1.1.1.1:443  tcp",
		"Note: what was refused by name", "Note: what was refused without a name", "Note: of a host without a port", "Note: what is seen is kept since",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("%s\nwithout %q", out, part)
		}
	}
	if strings.Contains(out, "some names only") || strings.Contains(out, "addresses that are allowed stay") || strings.Contains(out, "headers") {
		t.Error(out)
	}
}

func TestWhatIsAllowedAlreadyIsKeptByAProposal(t *testing.T) {
	detail := `{"network":{"allowOut":["*.example","9.9.9.9"],"denyOut":["0.0.0.0/0","8.8.8.8"],"rules":{"a.example":[{"transform":{"headers":{"X-Key":"hunter2"}}}]}}}`
	out, p := learned(t, detail, `[]`, reached("a.example", "443"))
	if p.Command != "rundlet sandbox network i1 --deny 0.0.0.0/0 --allow a.example --allow 9.9.9.9" {
		t.Error(p.Command)
	}
	for _, part := range []string{"some names only", "addresses that are allowed stay", "keeps the headers for a.example"} {
		if !strings.Contains(out, part) {
			t.Errorf("%s\nwithout %q", out, part)
		}
	}
	if strings.Contains(out, "hunter2") || strings.Contains(fmt.Sprint(p), "hunter2") {
		t.Error("the value of a header is shown")
	}
}

func TestItIsSaidHowToBeginToLearn(t *testing.T) {
	for detail, want := range map[string]string{
		`{}`: "rundlet sandbox network i1 --deny 0.0.0.0/0 --allow '*'",
		`{"allowInternetAccess":false,"network":{"allowOut":["9.9.9.9"]}}`:     "rundlet sandbox network i1 --deny 0.0.0.0/0 --allow '*' --allow 9.9.9.9",
		`{"network":{"allowOut":["9.9.9.9"],"denyOut":["8.8.8.8"]}}`:           "rundlet sandbox network i1 --deny 0.0.0.0/0 --allow '*' --allow 9.9.9.9",
		`{"network":{"allowOut":["what a newer server allows"],"denyOut":[]}}`: "rundlet sandbox network i1 --deny 0.0.0.0/0 --allow '*'",
	} {
		out, p := learned(t, detail, `[{"protocol":"tcp","address":"1.1.1.1","port":443,"count":2,`+at+`}]`, reached("a.example", "443"))
		if first, _, _ := strings.Cut(out, "\n"); first != want || p.Begin != want || p.Command != "" || p.Network != nil || p.Learning || len(p.Hosts) != 0 || len(p.Addresses) != 1 {
			t.Errorf("%s: %q, %+v", detail, first, p)
		}
		if !strings.Contains(out, "are not seen") {
			t.Error(out)
		}
	}
}

func TestNothingReachedIsNoProposal(t *testing.T) {
	for _, hosts := range [][]string{nil, {reached("-x.example", "443")}} {
		out, p := learned(t, everyName, `[]`, hosts...)
		if p.Command != "" || p.Network != nil || strings.Contains(out, "rundlet sandbox") || !strings.Contains(out, "no host was reached") {
			t.Errorf("%s\n%+v", out, p)
		}
	}
	var many []string
	for i := range 257 {
		many = append(many, reached(fmt.Sprintf("n%d.example", i), "443"))
	}
	if out, p := learned(t, everyName, `[]`, many...); p.Command != "" || p.Network != nil || !strings.Contains(out, "257 entries") {
		t.Errorf("%.200s\n%v", out, p.Notes)
	}
}

// A guest chooses names, and a server may be an older one that checks less.
func TestHostileNamesAreNeitherProposedNorShownAsTheyAre(t *testing.T) {
	var hosts []string
	hostile := []string{"a.example; rm -rf /", "$(id).example", "\x1b[2J.example", "--open", "a\nNote: all is well", "*", "*.example", "a.example' 'b", "10.0.0.1", "ä.example"}
	for _, name := range append(hostile, "good.example") {
		hosts = append(hosts, reached(name, "443"))
	}
	name, _ := json.Marshal("\x1b]0;title\x07\r\nfake")
	out, p := learned(t, everyName, `[{"protocol":"\u001b[1m","address":"","name":`+string(name)+`,"port":0,"count":1,`+at+`}]`, hosts...)
	if p.Command != "rundlet sandbox network i1 --deny 0.0.0.0/0 --allow good.example" || !strings.HasPrefix(out, p.Command+"\n") {
		t.Errorf("%q", p.Command)
	}
	if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) || strings.Contains(out, "\nNote: all is well") || strings.Contains(out, "\nfake") {
		t.Errorf("%q", out)
	}
	if got := strings.Count(strings.Join(p.Notes, "\n"), "no rule can name"); got != len(hostile) {
		t.Errorf("%d of %d: %q", got, len(hostile), p.Notes)
	}
}

func TestLearningChangesNothing(t *testing.T) {
	for _, args := range []string{"--open", "--no-internet", "--allow a.example", "--no-headers"} {
		_, changed, err := runSeen(t, everyName, `[]`, `{}`, false, append([]string{"i1", "--learn"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), "--learn changes nothing") || changed != "" {
			t.Errorf("%s: %v, %q", args, err, changed)
		}
	}
}

// A list that is not whole is said to be so.
func TestForgottenHostsAreSaid(t *testing.T) {
	hosts := []client.ReachedHost{{Name: "a.example"}}
	for forgotten, want := range map[uint64]bool{0: false, 3: true} {
		p := learn("i1", client.Network{Allow: []string{"*"}, Deny: []string{"0.0.0.0/0"}}, nil, client.Traffic{Hosts: hosts, ForgottenHosts: forgotten})
		if notes := strings.Join(p.Notes, "\n"); strings.Contains(notes, "3 times a host gave way") != want {
			t.Errorf("%d: %s", forgotten, notes)
		}
	}
}

// The command is one word for each entry, whatever the id is.
func TestTheCommandIsQuoted(t *testing.T) {
	p := learn("i1; id", client.Network{Allow: []string{"*"}, Deny: []string{"0.0.0.0/0"}}, nil, client.Traffic{Hosts: []client.ReachedHost{{Name: "a.example"}}})
	if p.Command != "rundlet sandbox network 'i1; id' --deny 0.0.0.0/0 --allow a.example" {
		t.Error(p.Command)
	}
}

func TestAProposalSaysWhatBecomesOfTheProxy(t *testing.T) {
	for _, c := range []struct {
		proxy *client.Proxy
		want  string
	}{
		{nil, ""}, {&client.Proxy{Address: "p.example:1080"}, "keeps the proxy"},
		{&client.Proxy{Address: "p.example:1080", Username: "u"}, "give --proxy"}, {&client.Proxy{Address: "p.example:1080", TLS: true}, "give --proxy"},
	} {
		n := client.Network{Allow: []string{"*"}, Deny: []string{"0.0.0.0/0"}, Proxy: c.proxy}
		notes := strings.Join(learn("i1", n, nil, client.Traffic{Hosts: []client.ReachedHost{{Name: "a.example"}}}).Notes, "\n")
		if !strings.Contains(notes, c.want) || strings.Contains(notes, "proxy") != (c.want != "") {
			t.Errorf("%+v: %s", c.proxy, notes)
		}
	}
}
