package compare

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// sidesOf are two builds with three rounds of step "create" and one of them with "fork".
func sidesOf() []*sideRounds {
	ms := func(wall, processor int) sample {
		return sample{time.Duration(wall) * time.Millisecond, time.Duration(processor) * time.Millisecond}
	}
	refused := &client.Error{Code: http.StatusNotFound, Message: "no such path"}
	old := &sideRounds{d: &daemon{build: Build{Name: "base"}}, lacks: map[string]error{"fork": refused}}
	now := &sideRounds{d: &daemon{build: Build{Name: "new"}}, lacks: map[string]error{}}
	for i := range 3 {
		old.rounds = append(old.rounds, map[string]sample{"create": ms(20+i, 10), wholeLife: ms(20+i, 10)})
		now.rounds = append(now.rounds, map[string]sample{"create": ms(10+i, 10), "fork": ms(5, 5), wholeLife: ms(15, 15)})
	}
	return []*sideRounds{old, now}
}

func TestAReportHasRowsThatOneBuildLacks(t *testing.T) {
	r := report(Config{Base: Build{Name: "base"}, New: Build{Name: "new"}}, 3, sidesOf())
	rows := map[string]Row{}
	for _, row := range r.Rows {
		rows[row.Name] = row
	}
	if len(rows) != len(steps)+1 {
		t.Errorf("%d rows", len(rows))
	}
	create := rows["create"]
	if f := create.Wall.Base; f == nil || *f != (Figures{3, 20, 20, 21}) || create.Wall.Ratio == nil || create.Wall.Ratio.Value > 0.55 || create.Processor.Ratio.Value != 1 {
		t.Errorf("create: %+v", create)
	}
	fork := rows["fork"]
	if fork.Wall.Base != nil || fork.Wall.New == nil || fork.Wall.New.N != 3 || fork.Wall.Ratio != nil {
		t.Errorf("fork: %+v", fork)
	}
	var text, data strings.Builder
	if err := errors.Join(r.WriteText(&text), r.WriteJSON(&data)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"base has no fork: no such path", "20.0 20.0 21.0"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if !strings.Contains(data.String(), `"base": null`) {
		t.Errorf("%s", &data)
	}
}

func TestOnlyAMissingOperationIsSkipped(t *testing.T) {
	for err, want := range map[error]bool{
		&client.Error{Code: 404}: true, &client.Error{Code: 405}: true, &client.Error{Code: 501}: true,
		&client.Error{Code: 409}: false, &client.Error{Code: 500}: false, errors.New("connection refused"): false,
	} {
		if got := unsupported(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
	if unsupported(nil) {
		t.Error("success is unsupported")
	}
}

func TestADaemonThatDoesNotServeLeavesNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	script := filepath.Join(t.TempDir(), "rundlet")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho no sandboxes here >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{script: "no sandboxes here", script + "-missing": "no such file"} {
		name := filepath.Base(t.TempDir()) + fmt.Sprint(time.Now().UnixNano())
		c := Config{
			Base: Build{name, path}, New: Build{"new", path}, Rounds: 1, Progress: func(string) {},
			StateDir: filepath.Join(t.TempDir(), "state"), RunDir: filepath.Join(t.TempDir(), "run"),
		}
		if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
		for _, dir := range []string{c.StateDir, c.RunDir} {
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left: %s, %v", dir, err)
			}
		}
		if left, _ := filepath.Glob("/sys/fs/cgroup/*/rundlet-compare-" + name + "-*"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	if _, err := Run(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "rounds must be positive") {
		t.Errorf("no rounds: %v", err)
	}
}
