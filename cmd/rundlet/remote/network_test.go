package remote

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/cmd/rundlet/command/commandtest"
)

// runNetwork is runSeen for a sandbox that has sent nothing.
func runNetwork(t *testing.T, detail, refused string, json bool, args ...string) (out, changed string, err error) {
	t.Helper()
	return runSeen(t, detail, refused, `{}`, json, args...)
}

// runSeen runs the command against a server that knows one sandbox and records changes of it.
func runSeen(t *testing.T, detail, refused, traffic string, json bool, args ...string) (out, changed string, err error) {
	t.Helper()
	handle := func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "GET /sandboxes/i1":
			fmt.Fprint(w, detail)
		case "GET /sandboxes/i1/network/refused":
			fmt.Fprint(w, refused)
		case "GET /sandboxes/i1/network/traffic":
			if traffic == "" { // As of a daemon of an earlier release.
				http.Error(w, `{"code":404,"message":"no such route"}`, http.StatusNotFound)
			}
			fmt.Fprint(w, traffic)
		case "PUT /sandboxes/i1/network":
			body, _ := io.ReadAll(r.Body)
			changed = strings.TrimSpace(string(body))
			w.WriteHeader(http.StatusNoContent)
		default:
			http.Error(w, `{"code":404,"message":"no such sandbox"}`, http.StatusNotFound)
		}
	}
	out, errs, err := commandtest.Run(t.Context(), t, handle, json, Sandbox, append([]string{"network"}, args...)...)
	return out + errs, changed, err
}

func TestTheNetworkOfASandboxIsShown(t *testing.T) {
	for want, detail := range map[string]string{
		"allowed: everything but private addresses\n":                                            `{}`,
		"denied:  everything else\n":                                                             `{"allowInternetAccess":false}`,
		"allowed: 1.1.1.1\ndenied:  everything else\n":                                           `{"network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"]}}`,
		"denied:  1.1.1.1 2.0.0.0/8\nallowed: everything else but private addresses\n":           `{"network":{"denyOut":["1.1.1.1","2.0.0.0/8"]}}`,
		"allowed: 2.2.2.2\ndenied:  2.0.0.0/8\nallowed: everything else but private addresses\n": `{"network":{"allowOut":["2.2.2.2"],"denyOut":["2.0.0.0/8"]}}`,
	} {
		if out, changed, err := runNetwork(t, detail, `[]`, false, "i1"); err != nil || out != want || changed != "" {
			t.Errorf("%s: %q, %v, changed %q, want %q", detail, out, err, changed, want)
		}
	}
	refused := `[{"protocol":"tcp","address":"1.1.1.1","port":443,"count":2,"firstAt":"2026-01-02T03:04:05Z","lastAt":"2026-01-02T03:04:06Z"},` +
		`{"protocol":"icmp","address":"2.2.2.2","port":0,"count":1,"firstAt":"2026-01-02T03:04:05Z","lastAt":"2026-01-02T03:04:05Z"},` +
		`{"protocol":"dns","address":"","name":"a.example","port":0,"count":1,"firstAt":"2026-01-02T03:04:05Z","lastAt":"2026-01-02T03:04:05Z"},` +
		`{"protocol":"tcp","address":"3.3.3.3","name":"b.example","port":443,"count":1,"firstAt":"2026-01-02T03:04:05Z","lastAt":"2026-01-02T03:04:05Z"}]`
	out, _, err := runNetwork(t, `{}`, refused, false, "i1")
	if err != nil || !strings.Contains(out, "REFUSED") || !strings.Contains(out, "1.1.1.1:443            tcp") || !strings.Contains(out, "2.2.2.2                icmp") ||
		!strings.Contains(out, "\na.example              dns") || !strings.Contains(out, "\nb.example 3.3.3.3:443  tcp") {
		t.Errorf("%s, %v", out, err)
	}
	out, _, err = runNetwork(t, `{"allowInternetAccess":false}`, `[]`, true, "i1")
	if compact := strings.Join(strings.Fields(out), ""); err != nil || compact != `{"sandboxID":"i1","allowInternetAccess":false,"allowOut":[],"denyOut":[],"refused":[],"traffic":{"bytesOut":0,"packetsOut":0,"bytesIn":0,"packetsIn":0,"connections":0,"refusedConnections":0,"refusedQueries":0,"refusedPackets":0,"hosts":null,"forgottenHosts":0}}` {
		t.Errorf("%s, %v", out, err)
	}
}

func TestTheTrafficOfASandboxIsShown(t *testing.T) {
	const all = `{"bytesOut":1099511627776,"packetsOut":2,"bytesIn":3,"packetsIn":4,"connections":5,"refusedConnections":6,"refusedQueries":7,"refusedPackets":8,"hosts":[],"forgottenHosts":0}`
	const open = "allowed: everything but private addresses\n"
	for traffic, want := range map[string]string{
		`{}`: open,
		all: open + "traffic: 1099511627776 bytes in 2 packets out, 3 bytes in 4 packets in\n" +
			"by name: 5 connections opened, 6 refused, 7 queries refused\nrefused: at least 8 packets\n",
		`{"packetsOut":1,"bytesOut":60}`: open + "traffic: 60 bytes in 1 packets out, 0 bytes in 0 packets in\n",
		`{"refusedQueries":1}`:           open + "by name: 0 connections opened, 0 refused, 1 queries refused\n",
	} {
		if out, changed, err := runSeen(t, `{}`, `[]`, traffic, false, "i1"); err != nil || out != want || changed != "" {
			t.Errorf("%s: %q, %v", traffic, out, err)
		}
	}
	out, _, err := runSeen(t, `{}`, `[]`, all, true, "i1")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(out), ""), `"traffic":`+all) {
		t.Errorf("%s, %v", out, err)
	}
}

func TestTheNetworkOfASandboxIsChanged(t *testing.T) {
	for args, want := range map[string]string{
		"i1 --no-internet --allow 1.1.1.1":   `{"allowOut":["1.1.1.1"],"allow_internet_access":false}`,
		"i1 --deny 2.0.0.0/8 --deny 3.3.3.3": `{"denyOut":["2.0.0.0/8","3.3.3.3"]}`,
		"i1 --open":                          `{}`,
	} {
		if _, changed, err := runNetwork(t, `{}`, `[]`, false, strings.Fields(args)...); err != nil || changed != want {
			t.Errorf("%s: %s, %v", args, changed, err)
		}
	}
	for args, want := range map[string]string{
		"i1 --open --allow 1.1.1.1": "--open removes all rules", "i2": "network of i2: no such sandbox", "i2 --open": "set the network of i2: no such sandbox",
	} {
		if _, changed, err := runNetwork(t, `{}`, `[]`, false, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) || changed != "" {
			t.Errorf("%s: %v, changed %q", args, err, changed)
		}
	}
}

// The program may be newer than the daemon, as before a restart.
func TestADaemonThatDoesNotCountIsEnough(t *testing.T) {
	out, changed, err := runSeen(t, `{}`, `[]`, "", false, "i1", "--deny", "1.1.1.1")
	if err != nil || changed != `{"denyOut":["1.1.1.1"]}` || !strings.Contains(out, "allowed: everything but private addresses\n") {
		t.Errorf("%q, %s, %v", out, changed, err)
	}
	if _, _, err := runSeen(t, `{}`, `[]`, "", false, "i1", "--learn"); err == nil || !strings.Contains(err.Error(), "no such route") {
		t.Errorf("it learns from nothing: %v", err)
	}
}
