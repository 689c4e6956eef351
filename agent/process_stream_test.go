//go:build linux

package agent_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

func TestSignals(t *testing.T) {
	g := newGuest(t)
	signal := func(p uint32, sig processpb.Signal) error {
		_, err := g.process.SendSignal(t.Context(), connect.NewRequest(&processpb.SendSignalRequest{Process: pid(p), Signal: sig}))
		return err
	}
	t.Run("term", func(t *testing.T) {
		s, r := g.start(t, "user", shell("trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done"))
		for r.stdout == "" && s.Receive() {
			r.add(s.Msg().GetEvent())
		}
		if err := signal(r.pid, processpb.Signal_SIGNAL_SIGTERM); err != nil {
			t.Fatal(err)
		}
		drain(t, s, r)
		if r.stdout != "ready\ncaught\n" || r.end.GetExitCode() != 5 {
			t.Errorf("stdout %q, end %v", r.stdout, r.end)
		}
	})
	t.Run("kill takes the group", func(t *testing.T) {
		s, r := g.start(t, "user", shell("sleep 1000 & echo $!; wait"))
		for !strings.Contains(r.stdout, "\n") && s.Receive() {
			r.add(s.Msg().GetEvent())
		}
		if err := signal(r.pid, processpb.Signal_SIGNAL_SIGKILL); err != nil {
			t.Fatal(err)
		}
		drain(t, s, r)
		if r.end.GetExitCode() != -1 || r.end.GetError() != "signal: killed" || r.end.GetExited() {
			t.Errorf("end %v", r.end)
		}
		wantCode(t, signal(r.pid, processpb.Signal_SIGNAL_SIGKILL), connect.CodeNotFound, fmt.Sprintf("process with pid %d not found", r.pid))
		waitDead(t, strings.TrimSpace(r.stdout))
	})
}

// waitDead returns when a process is gone, or a zombie that its own reaper
// has not collected yet.
func waitDead(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(n, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || ready == 0 {
			t.Fatalf("process %s is still there, %v", pid, err)
		}
		return
	}
}

func TestConnect(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		tag := "my-tag"
		req := &processpb.StartRequest{Process: &processpb.ProcessConfig{Cmd: "cat"}, Tag: &tag}
		first, r := g.start(t, "user", req)
		infos := g.list(t)
		if len(infos) != 1 || infos[0].GetPid() != r.pid || infos[0].GetTag() != tag || infos[0].GetConfig().GetCmd() != "cat" {
			t.Fatalf("list %v", infos)
		}
		// The process outlives the stream that started it.
		first.Close()
		byTag := &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Tag{Tag: tag}}
		again := func(sel *processpb.ProcessSelector) (*connect.ServerStreamForClient[processpb.ConnectResponse], *result) {
			s, err := g.process.Connect(t.Context(), connect.NewRequest(&processpb.ConnectRequest{Process: sel}))
			if err != nil {
				t.Fatal(err)
			}
			c := &result{}
			if !s.Receive() {
				t.Fatal(s.Err())
			}
			c.add(s.Msg().GetEvent())
			if c.pid != r.pid {
				t.Fatalf("first event %v", s.Msg())
			}
			return s, c
		}
		s1, r1 := again(byTag)
		s2, r2 := again(pid(r.pid))
		in := &processpb.ProcessInput{Input: &processpb.ProcessInput_Stdin{Stdin: []byte("to both")}}
		if _, err := g.process.SendInput(t.Context(), connect.NewRequest(&processpb.SendInputRequest{Process: byTag, Input: in})); err != nil {
			t.Fatal(err)
		}
		if _, err := g.process.CloseStdin(t.Context(), connect.NewRequest(&processpb.CloseStdinRequest{Process: byTag})); err != nil {
			t.Fatal(err)
		}
		for i, s := range []*connect.ServerStreamForClient[processpb.ConnectResponse]{s1, s2} {
			c := []*result{r1, r2}[i]
			for s.Receive() {
				c.add(s.Msg().GetEvent())
			}
			if s.Err() != nil || c.stdout != "to both" || c.end.GetStatus() != "exit status 0" {
				t.Errorf("subscriber %d: %q %v %v", i, c.stdout, c.end, s.Err())
			}
		}
		// The end is retained, but the process is not listed.
		s3, r3 := again(pid(r.pid))
		for s3.Receive() {
			r3.add(s3.Msg().GetEvent())
		}
		if r3.end.GetStatus() != "exit status 0" {
			t.Errorf("after the end: %v %v", r3.end, s3.Err())
		}
		if infos := g.list(t); len(infos) != 0 {
			t.Errorf("list after the end %v", infos)
		}
		none, err := g.process.Connect(t.Context(), connect.NewRequest(&processpb.ConnectRequest{Process: pid(1 << 30)}))
		if err == nil {
			none.Receive()
			err = none.Err()
		}
		wantCode(t, err, connect.CodeNotFound, "")
	})
}

// rawStart sends a Start the way SDKs do, so that no client library enforces
// the timeout, and returns the messages.
func rawStart(t *testing.T, g *guest, header map[string]string, script string) []map[string]any {
	t.Helper()
	body, err := json.Marshal(map[string]any{"process": map[string]any{"cmd": "/bin/sh", "args": []string{"-c", script}, "unknownField": 1}, "stdin": false})
	if err != nil {
		t.Fatal(err)
	}
	envelope := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/process.Process/Start", bytes.NewReader(envelope))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+json")
	req.Header.Set("Connect-Protocol-Version", "1")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var messages []map[string]any
	for {
		var head [5]byte
		if _, err := io.ReadFull(resp.Body, head[:]); err != nil {
			return messages
		}
		data := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(resp.Body, data); err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
}

func TestTimeoutKills(t *testing.T) {
	g := newGuest(t)
	begin := time.Now()
	messages := rawStart(t, g, map[string]string{"Connect-Timeout-Ms": "400"}, "sleep 1000 & echo $!; wait")
	if took := time.Since(begin); took < 350*time.Millisecond {
		t.Errorf("took %v", took)
	}
	last, _ := messages[len(messages)-1]["error"].(map[string]any)
	if last["code"] != "deadline_exceeded" {
		t.Errorf("last message %v", messages[len(messages)-1])
	}
	eventually(t, "the end of a process with its timeout", func() bool { return len(g.list(t)) == 0 })
}

func TestKeepalive(t *testing.T) {
	g := newGuest(t)
	messages := rawStart(t, g, map[string]string{"Keepalive-Ping-Interval": "1"}, "sleep 1.5; echo done")
	kinds := []string{}
	for _, m := range messages {
		ev, _ := m["event"].(map[string]any)
		for k := range ev {
			kinds = append(kinds, k)
		}
	}
	if want := []string{"start", "keepalive", "data", "end"}; !slices.Equal(kinds, want) {
		t.Errorf("events %v, want %v", kinds, want)
	}
}

// Output of what a command leaves in the background still counts, but a kill
// does not wait for it.
func TestBackgroundOutput(t *testing.T) {
	g := newGuest(t)
	r := g.run(t, "user", shell("(sleep 0.2; echo late) & echo early"))
	if r.stdout != "early\nlate\n" {
		t.Errorf("stdout %q", r.stdout)
	}
	s, r := g.start(t, "user", shell("setsid sleep 1000 & echo $!"))
	for !strings.Contains(r.stdout, "\n") && s.Receive() {
		r.add(s.Msg().GetEvent())
	}
	waitDead(t, fmt.Sprint(r.pid))
	if _, err := g.process.SendSignal(t.Context(), connect.NewRequest(&processpb.SendSignalRequest{Process: pid(r.pid), Signal: processpb.Signal_SIGNAL_SIGKILL})); err != nil {
		t.Fatal(err)
	}
	drain(t, s, r)
	if r.end.GetStatus() != "exit status 0" {
		t.Errorf("end %v", r.end)
	}
	// The daemon has a separate session and stays alive; it is the test's to end.
	var daemon int
	fmt.Sscan(r.stdout, &daemon)
	if p, err := os.FindProcess(daemon); err == nil {
		p.Kill()
	}
}

func TestManyAtOnce(t *testing.T) {
	g := newGuest(t)
	results := make(chan string, 40)
	for i := range 40 {
		go func() {
			s, err := g.process.Start(t.Context(), as("user", shell(fmt.Sprintf("echo %d; exit %d", i, i))))
			if err != nil {
				results <- err.Error()
				return
			}
			defer s.Close()
			r := &result{}
			for s.Receive() {
				r.add(s.Msg().GetEvent())
			}
			if r.stdout != fmt.Sprintf("%d\n", i) || r.end.GetExitCode() != int32(i) {
				results <- fmt.Sprintf("%d: %q %v %v", i, r.stdout, r.end, s.Err())
				return
			}
			results <- ""
		}()
	}
	for range 40 {
		if msg := <-results; msg != "" {
			t.Error(msg)
		}
	}
}
