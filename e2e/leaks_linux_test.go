package e2e

import (
	"encoding/json"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// wire has what arrives in the internet, packet by packet.
type wire struct {
	mu     sync.Mutex
	labels map[string]bool // Of attempts, wherever in a packet they are.
	to     map[string]bool // Destinations of IPv4.
}

var label = regexp.MustCompile(`leak-[a-z0-9]+`)

func (w *wire) see(packet []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range label.FindAll(packet, -1) {
		w.labels[string(l)] = true
	}
	if len(packet) >= 20 && packet[0]>>4 == 4 {
		w.to[net.IP(packet[16:20]).String()] = true
	}
}

// has returns the attempts of a list that have arrived.
func (w *wire) has(attempts []string) (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range attempts {
		if w.labels["leak-"+a] {
			out = append(out, a)
		}
	}
	return out
}

func (w *wire) destinations() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for to := range w.to {
		out = append(out, to)
	}
	slices.Sort(out)
	return out
}

// TestNothingLeaksFromASandboxWithNames makes 40 attempts to get something out of a sandbox by what its names do not open. The same
// program on the host shows that each of them can arrive.
func TestNothingLeaksFromASandboxWithNames(t *testing.T) {
	srv, api, _ := newServer(t)
	seen := &wire{labels: map[string]bool{}, to: map[string]bool{}}
	web := makeNames(t, func() {
		listen(t, ":853", "internet")
		if err := address("wan1", "2001:db8::2/64"); err != nil {
			t.Fatal(err)
		}
		packets(t, "wan1", seen.see)
	})
	if err := address("wan0", "2001:db8::1/64"); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 20 * time.Minute,
		Allow: []string{allowedHost, "*." + allowedHost}, Deny: []string{"0.0.0.0/0"}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "what is allowed is reached", func() bool { return fetch(t, api, sb, allowedHost) == "internet" })
	addresses := []string{internetAddr, farAddr, lanAddr, metadataAddr, nameServer, allowedHost, forbiddenHost}
	if err := upload(ctx, api, sb, "/home/user/leak.py", leaker); err != nil {
		t.Fatal(err)
	}
	for range 3 { // What one attempt leaves behind may help the next.
		var out, errs strings.Builder
		code, err := api.Agent(sb).Run(ctx, client.Command{
			Args: append([]string{"python3", "/home/user/leak.py"}, addresses...), User: "root", Stdout: &out, Stderr: &errs,
		})
		if err != nil || code != 0 {
			t.Fatalf("exit code %d, %v: %s", code, err, errs.String())
		}
	}
	if fetch(t, api, sb, allowedHost) != "internet" {
		t.Error("afterwards nothing is reached that is allowed")
	}
	seen.mu.Lock()
	arrived := len(seen.labels)
	seen.mu.Unlock()
	if arrived != 0 {
		t.Errorf("arrived: %v", seen.labels)
	}
	for _, to := range seen.destinations() {
		if to != internetAddr && to != nameServer && to != secondServer {
			t.Errorf("packets for %s left", to)
		}
	}
	if bad := web.wrong(); len(bad) > 0 {
		t.Errorf("what is for other hosts arrives: %q", bad)
	}

	var attempts, missing []string
	until(t, "the attempts arrive from the host", func() bool {
		script := exec.Command("python3", append([]string{"-c", leaker}, addresses...)...)
		var errs strings.Builder
		script.Stderr = &errs
		out, err := script.Output()
		if err == nil {
			err = json.Unmarshal(out, &attempts)
		}
		if err != nil {
			t.Fatalf("%v: %s", err, errs.String())
		}
		have := seen.has(attempts)
		missing = slices.DeleteFunc(slices.Clone(attempts), func(a string) bool { return a == "router" || slices.Contains(have, a) })
		if len(missing) > 0 {
			t.Logf("missing: %v\n%s", missing, errs.String())
		}
		return len(missing) == 0 && slices.Contains(seen.destinations(), metadataAddr)
	})
	t.Logf("%d attempts", len(attempts))
	if err := api.Kill(ctx, sb.ID); err != nil {
		t.Error(err)
	}
	srv.stop(t)
}
