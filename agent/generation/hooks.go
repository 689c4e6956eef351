//go:build linux

package generation

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	hookTimeout  = 10 * time.Second
	hooksTimeout = 60 * time.Second
)

// hookEnv is what a hook gets: what root's processes get, and the generation.
func hookEnv(sandbox map[string]string, id string) []string {
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": "/root", "USER": "root", "LOGNAME": "root",
	}
	maps.Copy(env, sandbox)
	env["RUNDLET_GENERATION"] = id
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// runAll runs the hooks one after the other, in the order of their names. A hook
// that fails does not keep the next from running.
func (n *Notifier) runAll(ctx context.Context, env []string) {
	entries, err := os.ReadDir(n.root + HookDir)
	if err != nil {
		return // there are none
	}
	ctx, cancel := context.WithTimeout(ctx, n.hooksTimeout)
	defer cancel()
	for _, e := range entries {
		path := filepath.Join(n.root+HookDir, e.Name())
		info, err := os.Stat(path)
		if strings.HasPrefix(e.Name(), ".") || err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		if ctx.Err() != nil {
			n.report(e.Name(), context.Cause(ctx), nil)
			return
		}
		if output, err := n.run(ctx, path, env); err != nil {
			n.report(e.Name(), err, output)
		}
	}
}

func (n *Notifier) report(hook string, err error, output []byte) {
	// Quoted: neither the name nor the output may look like another line.
	_, _ = fmt.Fprintf(n.console, "rundlet-agent: restored.d/%.100q: %v: %q\n", hook, err, output)
}

// run runs one hook as root and returns the beginning of its output.
func (n *Notifier) run(ctx context.Context, path string, env []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, n.hookTimeout)
	defer cancel()
	return n.reaper.Run(ctx, []string{path}, env)
}
