package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// figure scrapes the server's metrics and returns one, or an error if there is
// none of that name and labels.
func figure(ctx context.Context, api client.API, name string) (float64, error) {
	text, err := scrape(ctx, api)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "rundlet_"+name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no metric rundlet_%s", name)
}

func scrape(ctx context.Context, api client.API) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.URL+"/metrics", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-API-Key", api.Key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("metrics: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("metrics: %s", resp.Status)
	}
	return string(text), nil
}

// figures sums up all labels of a metric.
func figures(ctx context.Context, api client.API, name string) (sum float64, err error) {
	text, err := scrape(ctx, api)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "rundlet_"+name+"{"); ok {
			_, value, _ := strings.Cut(rest, "} ")
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, nil
}

// refill is how long the pool may take: it is not filled while the processors
// are under pressure, and for some time after that.
const refill = time.Minute

// awaitFigure waits until a metric has a value.
func awaitFigure(t *testing.T, api client.API, name string, want float64) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(refill)
	for {
		got, err := figure(t.Context(), api, name)
		if err == nil && got == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("rundlet_%s is %v, %v; want %v", name, got, err, want)
		}
	}
}

// TestTheFiguresOfANodeMove goes through a sandbox's life and looks at the
// metrics after each step.
func TestTheFiguresOfANodeMove(t *testing.T) {
	srv, api, dir := newServer(t, "--max-sandboxes=3", "--warm=1", "--queue-wait=1s")
	want := func(figures map[string]float64) {
		t.Helper()
		for name, want := range figures {
			if got, err := figure(t.Context(), api, name); err != nil || got != want {
				t.Errorf("rundlet_%s is %v, %v; want %v", name, got, err, want)
			}
		}
	}
	killed, err := figure(t.Context(), api, `sandbox_kills_total{reason="request"}`)
	if err != nil {
		t.Fatal(err)
	}
	awaitFigure(t, api, `warm_pool_ready{pool="base"}`, 1)
	hits, err := figure(t.Context(), api, `warm_pool_hits_total{pool="base"}`)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := api.Create(t.Context(), "base", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	awaitFigure(t, api, `warm_pool_ready{pool="base"}`, 1)
	want(map[string]float64{
		`sandboxes{state="running"}`:                  1,
		`warm_pool_hits_total{pool="base"}`:           hits + 1,
		`capacity_sandboxes`:                          3,
		`capacity_sandboxes_limit`:                    3,
		`capacity_sandboxes_reserved{for="active"}`:   1,
		`capacity_sandboxes_reserved{for="warm"}`:     1,
		`sandboxes_stuck`:                             0,
		`snapshots{kind="pause"}`:                     0,
		`sandbox_kills_total{reason="create_failed"}`: 0,
	})
	if err := api.Pause(t.Context(), sb.ID, true); err != nil {
		t.Fatal(err)
	}
	want(map[string]float64{
		`sandboxes{state="running"}`: 0, `sandboxes{state="paused"}`: 1, `snapshots{kind="pause"}`: 1,
		`capacity_sandboxes_reserved{for="active"}`: 0, `stage_seconds_count{stage="pause"}`: 1,
	})
	if bytes, err := figure(t.Context(), api, `snapshot_bytes{kind="pause"}`); err != nil || bytes < 1<<20 {
		t.Errorf("a paused sandbox has %v bytes, %v", bytes, err)
	}
	if _, _, err := api.Connect(t.Context(), sb.ID, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	children, err := fork(t.Context(), api, sb, 2)
	if err != nil {
		t.Fatal(err)
	}
	want(map[string]float64{
		`sandboxes{state="running"}`: 3, `sandboxes{state="paused"}`: 0, `snapshots{kind="pause"}`: 0, `snapshots{kind="fork"}`: 0,
		`stage_seconds_count{stage="resume"}`: 1, `stage_seconds_count{stage="fork"}`: 1,
		`capacity_sandboxes_reserved{for="active"}`: 3, `capacity_sandboxes_reserved{for="warm"}`: 0,
		// The warm one made room for the second child.
		`queue_yielded_total`: 1, `warm_pool_ready{pool="base"}`: 0, `queue_refused_total{kind="deadline"}`: 0,
	})
	if _, err := api.Create(t.Context(), "base", time.Minute); code(err) != http.StatusTooManyRequests {
		t.Errorf("a fourth: %v", err)
	}
	want(map[string]float64{`queue_refused_total{kind="deadline"}`: 1, `queue_refused_total{kind="canceled"}`: 0, `queue_pending`: 0})
	killAll(t, api, children)
	want(map[string]float64{`sandboxes{state="running"}`: 1, `sandbox_kills_total{reason="request"}`: killed + 2})
	srv = srv.crash(t, dir)
	want(map[string]float64{
		`sandboxes{state="running"}`: 1, `reconciled_total{action="recover"}`: 1, `reconciled_total{action="quarantine"}`: 0,
		`sandbox_kills_total{reason="request"}`: 0,
	})
	killAll(t, api, []client.Sandbox{sb})
	srv.stop(t)
}
