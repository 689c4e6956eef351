package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// burden is what makes a sandbox hard to save.
type burden struct {
	name string
	// take is a command that takes it; it prints "ready".
	take string
	// count is a command that prints how much there is of it, and want that.
	count, want string
}

// burdens are a sandbox near its memory limit, one with many files, and one
// with many processes.
func burdens(memory, files, processes int) []burden {
	return []burden{
		{"memory", fmt.Sprintf(`nohup python3 -c '
import os, time
x = [os.urandom(1 << 20) for _ in range(%d)]
open("/home/user/held", "w").write(str(len(x)))
time.sleep(1 << 30)' >/dev/null 2>&1 & while ! [ -s ~/held ]; do sleep 0.1; done; echo ready`, memory),
			"cat ~/held; pgrep -c python3", fmt.Sprintf("%d1", memory)},
		{"files", fmt.Sprintf(`mkdir ~/many && cd ~/many && python3 -c '
import os
for i in range(%d):
    if i %% 1000 == 0: os.mkdir(str(i // 1000))
    open("%%d/%%d" %% (i // 1000, i), "w").close()' && echo ready`, files),
			"find ~/many -type f | wc -l", fmt.Sprint(files)},
		{"processes", fmt.Sprintf(`for i in $(seq %d); do sleep 1000000 >/dev/null 2>&1 </dev/null & done; echo ready`, processes),
			"pgrep -c sleep", fmt.Sprint(processes)},
	}
}

// saveTime is how long one save or restore may take on a busy machine.
const saveTime = 5 * time.Minute

// TestSavingNeverDestroys pauses and resumes sandboxes that are hard to save:
// each comes back with what it had, or the pause is refused and it goes on.
func TestSavingNeverDestroys(t *testing.T) {
	rounds, hard := 1, burdens(400, 15000, 60)
	if *soak {
		rounds, hard = 34, burdens(470, 100000, 300)
	}
	n := newNode(t)
	saved, refused, destroyed := map[string]int{}, map[string]int{}, map[string]int{}
	for round := range rounds {
		for _, b := range hard {
			was, err := saveOne(t.Context(), n.api, b)
			switch {
			case err != nil:
				destroyed[b.name]++
				t.Errorf("round %d, %s: %v", round, b.name, err)
			case was:
				saved[b.name]++
			default:
				refused[b.name]++
			}
		}
		if *soak {
			t.Logf("round %d: saved %v, refused %v, destroyed %v", round, saved, refused, destroyed)
		}
	}
	record(t, "saves of burdened sandboxes", map[string]any{"saved": saved, "refused": refused, "destroyed": destroyed})
	if len(saved) == 0 {
		t.Error("every save was refused")
	}
	n.finish(t)
}

// saveOne reports whether the sandbox was saved and resumed; false is a save
// that was refused. An error means that something was lost.
func saveOne(ctx context.Context, api client.API, b burden) (saved bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*saveTime)
	defer cancel()
	sb, err := api.Create(ctx, "base", live)
	if err != nil {
		return false, err
	}
	defer func() {
		if kill := api.Kill(context.WithoutCancel(ctx), sb.ID); err == nil {
			err = kill
		}
	}()
	if out, err := run(ctx, api, sb, b.take); err != nil || out != "ready\n" {
		return false, fmt.Errorf("take it: %q, %w", out, err)
	}
	pauseErr := api.Pause(ctx, sb.ID, true)
	if pauseErr == nil {
		if sb, _, err = api.Connect(ctx, sb.ID, live); err != nil {
			return false, fmt.Errorf("it was paused and is not resumed: %w", err)
		}
	}
	out, err := run(ctx, api, sb, b.count)
	if got := strings.ReplaceAll(out, "\n", ""); err != nil || got != b.want {
		return false, fmt.Errorf("it has %q, want %q (pause: %w, %w)", got, b.want, pauseErr, err)
	}
	return pauseErr == nil, nil
}
