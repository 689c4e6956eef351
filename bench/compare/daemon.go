package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/bench/processor"
	"github.com/rundlet/rundlet/client"
)

// Build is a program to compare.
type Build struct {
	// Name is unique, and Path that of the program.
	Name, Path string
}

// daemon is a build that serves, with separate state. Stop ends it.
type daemon struct {
	build Build
	cmd   *exec.Cmd
	log   string
	ended chan struct{} // closed when the process has ended
	api   client.API
	// own has the daemon, and what it starts until that joins a group of its driver;
	// machines is above those, and nil until the first sandbox was looked at.
	own, machines *processor.Group
}

const (
	// startTime is what a daemon may take until it is healthy, and stopTime until it
	// has ended its sandboxes: a bound against a hang.
	startTime, stopTime = time.Minute, 2 * time.Minute
	lookInterval        = 50 * time.Millisecond
)

// start starts a daemon with its directories below state and run, and waits until it
// serves. It has no warm pool: what is compared is what a create does.
func start(ctx context.Context, b Build, state, run string) (_ *daemon, err error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dirs := []string{"--state-dir", filepath.Join(state, "state"), "--cache-dir", filepath.Join(state, "cache"), "--run-dir", run}
	d := &daemon{build: b, log: filepath.Join(state, "log"), ended: make(chan struct{})}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	address := fmt.Sprintf("127.0.0.1:%d", port)
	d.cmd = exec.CommandContext(context.WithoutCancel(ctx), b.Path, append([]string{"serve", "--listen", address, "--no-uplink", "--warm", "0", "--prepared", "0"}, dirs...)...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	tie(d.cmd)
	if d.own, err = processor.Make("rundlet-compare-" + b.Name); err != nil {
		return nil, err
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // The tie is to the thread.
		defer runtime.UnlockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			_ = d.cmd.Wait()
		}
		close(d.ended)
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", b.Path, err), d.own.Remove())
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", b.Path, err), d.stop())
		}
	}()
	d.api = client.API{URL: "http://" + address, HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
	if err := d.healthy(ctx); err != nil {
		return nil, err
	}
	if err := d.own.Add(d.cmd.Process.Pid); err != nil {
		return nil, err
	}
	d.api.Key, err = d.key(ctx, dirs)
	return d, err
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// healthy waits until the daemon answers.
func (d *daemon) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("not healthy in %s", startTime))
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.api.URL+"/health", nil)
		if err != nil {
			return err
		}
		if resp, err := d.api.HTTP.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 300 {
				return nil
			}
		}
		select {
		case <-d.ended:
			return fmt.Errorf("the daemon ended: %s", d.lastWords())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lookInterval):
		}
	}
}

// key asks the build itself for the key of its daemon.
func (d *daemon) key(ctx context.Context, dirs []string) (string, error) {
	out, err := exec.CommandContext(ctx, d.build.Path, append([]string{"env", "--json"}, dirs...)...).Output()
	if err != nil {
		return "", fmt.Errorf("rundlet env: %w", err)
	}
	var env struct{ E2B_API_KEY string }
	if err := json.Unmarshal(out, &env); err != nil {
		return "", fmt.Errorf("rundlet env: %w", err)
	}
	return env.E2B_API_KEY, nil
}

// lastWords is the end of the log.
func (d *daemon) lastWords() string {
	log, _ := os.ReadFile(d.log)
	log = bytes.TrimSpace(log)
	return string(log[max(0, len(log)-1000):])
}

// used is the processor time of the daemon and its sandboxes since they began.
func (d *daemon) used() (time.Duration, error) {
	used, err := d.own.Used()
	if err != nil || d.machines == nil {
		return used, err
	}
	machines, err := d.machines.Used()
	return used + machines, err
}

// findMachines looks for the group of the sandboxes while there is one. A driver without
// control groups leaves all in the daemon's.
func (d *daemon) findMachines() {
	for _, pid := range children(d.cmd.Process.Pid) {
		g, err := processor.Of(pid)
		if err != nil {
			continue // It has ended.
		}
		if !g.Is(d.own) {
			d.machines = g.Parent()
			return
		}
	}
}

// children returns the processes that a process started.
func children(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		data, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(data)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// stop ends the daemon and its sandboxes, as Ctrl-C does, and waits for that.
func (d *daemon) stop() error {
	if d.api.HTTP != nil {
		d.api.HTTP.CloseIdleConnections()
	}
	_ = d.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-d.ended:
		return d.own.Remove()
	case <-time.After(stopTime):
	}
	_ = d.cmd.Process.Kill()
	<-d.ended
	return errors.Join(fmt.Errorf("the daemon of %s did not end in %s and was killed; it may leave sandboxes", d.build.Name, stopTime), d.own.Remove())
}
