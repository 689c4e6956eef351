package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/client"
)

// requestsThroughPauses pauses a sandbox again and again while clients ask its agent,
// and checks that each is answered by the agent, or with what E2B's clients know.
func (n *node) requestsThroughPauses(t *testing.T, pauses int, auto bool) {
	t.Helper()
	sb, err := n.api.CreateWith(t.Context(), client.CreateOptions{Template: "base", Timeout: live, AutoResume: auto, Pause: auto})
	if err != nil {
		t.Fatal(err)
	}
	ctx, enough := context.WithCancel(t.Context())
	var mu sync.Mutex
	seen := map[string]int{}
	var clients sync.WaitGroup
	for _, call := range []string{"GET /health", "GET /health", "POST /process.Process/List", "POST /process.Process/List"} {
		clients.Go(func() {
			for ctx.Err() == nil {
				answer := askAgent(t.Context(), n.api.Agent(sb), call)
				mu.Lock()
				seen[call+": "+answer]++
				mu.Unlock()
			}
		})
	}
	for range pauses {
		if err := n.api.Pause(t.Context(), sb.ID, true); err != nil {
			t.Error(err)
			break
		}
		if _, _, err := n.api.Connect(t.Context(), sb.ID, live); err != nil {
			t.Error(err)
			break
		}
		if _, err := run(t.Context(), n.api, sb, "true"); err != nil {
			t.Error(err)
			break
		}
	}
	enough()
	clients.Wait()
	for _, answer := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("auto-resume %v: %d times %s", auto, seen[answer], answer)
		get := strings.HasPrefix(answer, "GET")
		if _, code, _ := strings.Cut(answer, ": "); code[0] != '2' && (code != "502 The sandbox was not found" || auto && get) {
			t.Errorf("auto-resume %v: %d times %s", auto, seen[answer], answer)
		}
	}
	if err := n.api.Kill(t.Context(), sb.ID); err != nil {
		t.Error(err)
	}
}

// askAgent makes a call and returns its status, and the message of a refusal.
func askAgent(ctx context.Context, agent client.Agent, call string) string {
	method, path, _ := strings.Cut(call, " ")
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	req, err := http.NewRequestWithContext(ctx, method, agent.BaseURL+path, body)
	if err != nil {
		return err.Error()
	}
	req.Header = agent.Header.Clone()
	req.Header.Set("Content-Type", "application/json")
	resp, err := agent.HTTP.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	var refusal struct{ Message string }
	if resp.StatusCode < http.StatusBadRequest {
		_, _ = io.Copy(io.Discard, resp.Body)
		return fmt.Sprint(resp.StatusCode)
	}
	_ = json.NewDecoder(resp.Body).Decode(&refusal)
	return fmt.Sprintf("%d %s", resp.StatusCode, refusal.Message)
}
