package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// fork asks for copies of a sandbox, as an SDK does.
func fork(ctx context.Context, api client.API, sb client.Sandbox, count int) ([]client.Sandbox, error) {
	body, err := json.Marshal(map[string]int{"count": count, "timeout": 300})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api.URL+"/sandboxes/"+sb.ID+"/fork", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-API-Key", api.Key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("fork: %s", resp.Status)
	}
	var results []struct {
		Sandbox *client.Sandbox `json:"sandbox"`
		Error   *client.Error   `json:"error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&results); err != nil {
		return nil, err
	}
	var children []client.Sandbox
	for _, r := range results {
		if r.Error != nil {
			return children, r.Error
		}
		if r.Sandbox == nil {
			return children, errors.New("fork: neither a sandbox nor an error")
		}
		children = append(children, *r.Sandbox)
	}
	return children, nil
}

func TestAForkedSandboxIsNotItsParent(t *testing.T) {
	srv, api, dir := newServer(t)
	before := takeCensus(t, dir)
	parent, err := api.Create(t.Context(), "base", 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), api, parent, "echo kept > ~/f; cat /run/rundlet/generation > ~/seen"); err != nil {
		t.Fatal(err)
	}
	children, err := fork(t.Context(), api, parent, 2)
	if err != nil || len(children) != 2 {
		t.Fatalf("%d children, %v", len(children), err)
	}
	all := append(children, parent)
	for what, script := range map[string]string{
		"host name":  "hostname",
		"machine id": "cat /etc/machine-id",
		"boot id":    "cat /proc/sys/kernel/random/boot_id",
		"sandbox id": "echo $E2B_SANDBOX_ID",
		"randomness": "head -c 16 /dev/urandom | od -An -tx1",
		"address":    `python3 -c 'import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("` + internetAddr + `", 9)); print(s.getsockname()[0])'`,
		"generation": "cat /run/rundlet/generation",
	} {
		seen := map[string]string{}
		for _, sb := range all {
			out, err := run(t.Context(), api, sb, script)
			if err != nil {
				t.Errorf("%s of %s: %v", what, sb.ID, err)
			}
			if other, ok := seen[out]; ok || out == "" {
				t.Errorf("%s of %s is %q, as of %s", what, sb.ID, out, other)
			}
			seen[out] = sb.ID
		}
	}
	for _, sb := range children {
		if out, err := run(t.Context(), api, sb, `cat ~/f; [ "$E2B_SANDBOX_ID" = "$(hostname)" ] && ! cmp -s ~/seen /run/rundlet/generation && echo ok`); err != nil || out != "kept\nok\n" {
			t.Errorf("%s answers %q, %v", sb.ID, out, err)
		}
		// The token of the one does not open the other.
		wrong := sb
		wrong.EnvdAccessToken = parent.EnvdAccessToken
		if parent.EnvdAccessToken == "" || sb.EnvdAccessToken == "" {
			t.Fatal("a sandbox has no access token: this test shows nothing")
		}
		if out, err := run(t.Context(), api, wrong, "echo entered"); err == nil || out != "" {
			t.Errorf("%s takes its parent's token: %q, %v", sb.ID, out, err)
		}
	}
	killAll(t, api, all)
	before.await(t, dir)
	srv.stop(t)
}
