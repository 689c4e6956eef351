//go:build linux

package generation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	hookTimeout  = 10 * time.Second
	hooksTimeout = 60 * time.Second
	// maxOutput is what is kept of a hook's output, for the case that it fails.
	maxOutput = 4 << 10
	// drainAfterExit is how long output is still read that something the hook
	// started holds open.
	drainAfterExit = 100 * time.Millisecond
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
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	pid, exit, err := n.reaper.Start(path, []string{path}, &syscall.ProcAttr{
		// A group, to be killed as a whole, but no session, as for any command.
		Dir: "/", Env: env, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	w.Close()
	if err != nil {
		return nil, err
	}
	output := make(chan []byte, 1)
	go func() {
		begin, _ := io.ReadAll(io.LimitReader(r, maxOutput))
		_, _ = io.Copy(io.Discard, r) // so that it does not block
		output <- begin
	}()
	stop := context.AfterFunc(ctx, func() {
		// One that just ended needs no killing.
		_ = n.reaper.Signal(pid, syscall.SIGKILL, true)
	})
	status := <-exit
	overdue := !stop()
	_ = r.SetReadDeadline(time.Now().Add(drainAfterExit))
	begin := <-output
	switch {
	case overdue:
		return begin, fmt.Errorf("killed: %w", context.Cause(ctx))
	case status.Signaled():
		return begin, errors.New("signal: " + status.Signal().String())
	case status != 0:
		return begin, fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return begin, nil
}
