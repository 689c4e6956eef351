package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/client"
)

// An ordinary user serves sandboxes: nothing runs as root of the host, the sandboxes reach the internet and not the host, and
// live on when the daemon is killed, and so do their connections. At the end nothing is left.
func TestAnOrdinaryUserServesSandboxes(t *testing.T) {
	u := beOrdinary(t)
	srv, api, dir := newServer(t)
	makeInternet(t, func() { hold(t, ":9") })
	ctx := t.Context()
	sb, err := api.Create(ctx, "base", live)
	if err != nil {
		t.Fatal(err)
	}
	for pid, name := range processesOf(filepath.Join(dir, "none"), u.groups) {
		if ids := idsOf(pid); !ids.ordinary() {
			t.Errorf("process %d (%s) has %+v", pid, name, ids)
		}
	}
	reaches := func(sb client.Sandbox, when string) {
		t.Helper()
		for _, target := range []string{internetAddr + ":80", farAddr + ":80"} {
			if out := fetch(t, api, sb, target); out != "internet" {
				t.Errorf("%s, %s gives %q", when, target, out)
			}
		}
		for _, target := range []string{hostAddr + ":8080", metadataAddr + ":80", lanAddr + ":80", "198.19.223.249:8080", "198.19.223.250:8080", "198.19.223.251:8080"} {
			if out := fetch(t, api, sb, target); !strings.HasPrefix(out, "failed") || strings.Contains(out, "imed out") {
				t.Errorf("%s, what is refused at once, %s, gives %q", when, target, out)
			}
		}
	}
	reaches(sb, "created")
	denied, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: live, NoInternet: true})
	if err != nil {
		t.Fatal(err)
	}
	if out := fetch(t, api, denied, internetAddr+":80"); !strings.HasPrefix(out, "failed") {
		t.Errorf("without internet access, it gives %q", out)
	}

	count := startCounter(t, api, sb)
	goesOn := func(when string) {
		t.Helper()
		if err := count.advance(ctx, api); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	if err := api.Pause(ctx, sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := api.Connect(ctx, sb.ID, live); err != nil {
		t.Fatal(err)
	}
	goesOn("resumed")
	reaches(sb, "resumed")
	children, err := api.Fork(ctx, sb.ID, 1, live)
	if err != nil || children[0].Error != nil {
		t.Fatal(err, children)
	}
	reaches(*children[0].Sandbox, "forked")
	goesOn("forked")

	// A connection that the daemon has no part in.
	const talk = `import socket
s = socket.create_connection(("` + internetAddr + `", 9))
open("/home/user/open", "w").close()
s.recv(1)
open("/home/user/closed", "w").close()`
	if _, err := run(ctx, api, sb, "nohup python3 -c '"+talk+"' >/dev/null 2>&1 & until [ -e ~/open ]; do sleep 0.05; done"); err != nil {
		t.Fatal(err)
	}
	if err := srv.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-srv.exited
	srv = startServer(t, dir, cold...)
	goesOn("after a kill of the daemon")
	reaches(sb, "after a kill of the daemon")
	if out, err := run(ctx, api, sb, "ls ~/closed 2>/dev/null || echo open"); err != nil || out != "open\n" {
		t.Errorf("the connection is %q, %v", out, err)
	}

	srv.stop(t)
	await(t, func() (left []string, err error) {
		for pid, name := range processesOf(filepath.Join(dir, "none"), u.groups) {
			left = append(left, fmt.Sprint(pid, " ", name))
		}
		if _, err := os.Stat(filepath.Join("/run/user", fmt.Sprint(ordinaryID), "rundlet/namespaces.json")); err == nil {
			left = append(left, "the namespaces")
		}
		return left, nil
	})
}

// Somebody kills what keeps the namespaces. A command keeps them again while the daemon is inside, and the sandboxes reach the internet
// again. If the daemon was killed, too, the sandboxes are lost, and the next daemon serves.
func TestNamespacesThatNothingKeeps(t *testing.T) {
	u := beOrdinary(t)
	srv, api, dir := newServer(t)
	makeInternet(t, func() {})
	ctx := t.Context()
	killKeeper := func() {
		t.Helper()
		var record struct{ Keeper struct{ PID int } }
		text, err := os.ReadFile(filepath.Join("/run/user", fmt.Sprint(ordinaryID), "rundlet/namespaces.json"))
		if err == nil {
			err = json.Unmarshal(text, &record)
		}
		if err == nil {
			err = syscall.Kill(record.Keeper.PID, syscall.SIGKILL)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	reaches := func(when string) client.Sandbox {
		t.Helper()
		sb, err := api.Create(ctx, "base", live)
		if err != nil {
			t.Fatal(err)
		}
		if out := fetch(t, api, sb, internetAddr+":80"); out != "internet" {
			t.Errorf("%s, the internet gives %q", when, out)
		}
		return sb
	}
	sb := reaches("at first")
	killKeeper()
	df := u.command(os.Getenv(binEnv), "df", "--state-dir", filepath.Join(dir, "state"), "--cache-dir", filepath.Join(dir, "cache"))
	df.Dir, df.Env = dir, u.environ()
	if out, err := df.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out := fetch(t, api, sb, internetAddr+":80"); out != "internet" {
		t.Errorf("kept again, the internet gives %q", out)
	}
	reaches("kept again")

	killKeeper()
	if err := srv.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-srv.exited
	srv = startServer(t, dir, cold...)
	if left, err := api.List(ctx); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
	reaches("with other namespaces")
	srv.stop(t)
}

// "rundlet run" and "rundlet doctor" of an ordinary user need no server.
func TestAnOrdinaryUserRunsACommand(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	u := beOrdinary(t)
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "user-")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.take(dir); err != nil {
		t.Fatal(err)
	}
	at := dir
	rundlet := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		cmd := u.command(os.Getenv(binEnv), args...)
		cmd.Dir = at
		cmd.Env = append(u.environ(), "RUNDLET_STATE_DIR="+filepath.Join(dir, "state"), "RUNDLET_CACHE_DIR="+filepath.Join(dir, "cache"))
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("rundlet %q: %v\n%s%s", args, err, out.String(), errs.String())
		}
		return out.String()
	}
	if out := rundlet("run", "--", "sh", "-c", "id -un; echo $((6*7))"); out != "user\n42\n" {
		t.Errorf("a command gives %q", out)
	}
	at = t.TempDir()
	if err := os.Chmod(at, 0o700); err != nil { // As that of root is after su.
		t.Fatal(err)
	}
	if out := rundlet("run", "--", "echo", "there"); out != "there\n" {
		t.Errorf("where the user may not be, a command gives %q", out)
	}
	report := rundlet("doctor")
	for _, want := range []string{"root of a user namespace; user 54321 on the host", "sandboxes can run", "sandboxes can be isolated and connected"} {
		if !strings.Contains(report, want) {
			t.Errorf("doctor does not say %q:\n%s", want, report)
		}
	}
	await(t, func() (left []string, err error) {
		for pid, name := range processesOf(filepath.Join(dir, "none"), u.groups) {
			left = append(left, fmt.Sprint(pid, " ", name))
		}
		return left, nil
	})
}

// processIDs are the users of a process, as the host sees them.
type processIDs struct{ users string }

func idsOf(pid int) (ids processIDs) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if users, ok := strings.CutPrefix(line, "Uid:"); ok {
			ids.users = strings.Join(strings.Fields(users), " ")
		}
	}
	return ids
}

// ordinary reports whether all are ids of the user, or subordinate ones.
func (p processIDs) ordinary() bool {
	for id := range strings.FieldsSeq(p.users) {
		var n int
		if _, err := fmt.Sscan(id, &n); err != nil || n != ordinaryID && (n < firstSubID || n >= firstSubID+subIDs) {
			return false
		}
	}
	return true
}
