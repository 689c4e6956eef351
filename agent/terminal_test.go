//go:build linux

package agent_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

func TestTerminal(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		req := &processpb.StartRequest{
			Process: &processpb.ProcessConfig{Cmd: "/bin/bash", Args: []string{"--norc", "-i"}, Envs: map[string]string{"PS1": "", "TERM": "xterm-256color"}},
			Pty:     &processpb.PTY{Size: &processpb.PTY_Size{Cols: 91, Rows: 17}},
		}
		s, r := g.start(t, "user", req)
		typed := func(text string) {
			t.Helper()
			in := &processpb.ProcessInput{Input: &processpb.ProcessInput_Pty{Pty: []byte(text)}}
			if _, err := g.process.SendInput(t.Context(), connect.NewRequest(&processpb.SendInputRequest{Process: pid(r.pid), Input: in})); err != nil {
				t.Fatal(err)
			}
		}
		until := func(text string) {
			t.Helper()
			for !strings.Contains(r.term, text) {
				if !s.Receive() {
					t.Fatalf("stream ended (%v) before %q: %q", s.Err(), text, r.term)
				}
				r.add(s.Msg().GetEvent())
			}
		}
		typed("stty size; test -t 0 && echo is-a''-tty\n")
		until("17 91")
		until("is-a-tty")
		resize := &processpb.UpdateRequest{Process: pid(r.pid), Pty: &processpb.PTY{Size: &processpb.PTY_Size{Cols: 120, Rows: 40}}}
		if _, err := g.process.Update(t.Context(), connect.NewRequest(resize)); err != nil {
			t.Fatal(err)
		}
		// Not one "stty size": a shell at its prompt may undo the change at first.
		typed("until test \"$(stty size)\" = '40 120'; do sleep 0.05; done; echo new si''ze\n")
		until("new size")
		_, err := g.process.CloseStdin(t.Context(), connect.NewRequest(&processpb.CloseStdinRequest{Process: pid(r.pid)}))
		wantCode(t, err, connect.CodeFailedPrecondition, "")
		// ^C must reach the foreground job.
		typed("(trap 'echo int-'errupted'; exit' INT; echo rea'dy'; while :; do sleep 0.05; done)\n")
		until("ready")
		typed("\x03")
		until("int-errupted")
		typed("exit 7\n")
		drain(t, s, r)
		if r.end.GetExitCode() != 7 || r.maxChunk > 16<<10 {
			t.Errorf("end %v, largest chunk %d", r.end, r.maxChunk)
		}
	})
}

// TestTerminalKeepsItsNewSize: a shell that reads the size before a change and
// sets it after that, as GNU readline does at each prompt, does not undo it.
// A size that the program chose itself stays.
func TestTerminalKeepsItsNewSize(t *testing.T) {
	g := newGuest(t)
	req := shell(`trap 'trap "" WINCH; stty rows 17 cols 91; echo put back; changed=1' WINCH; echo ready
		until test "$changed"; do sleep 0.02; done
		for i in $(seq 300); do test "$(stty size)" = '40 120' && break; sleep 0.02; done; stty size
		stty rows 30 cols 100; sleep 2.5; stty size`)
	req.Pty = &processpb.PTY{Size: &processpb.PTY_Size{Cols: 91, Rows: 17}}
	s, r := g.start(t, "user", req)
	for !strings.Contains(r.term, "ready") && s.Receive() {
		r.add(s.Msg().GetEvent())
	}
	resize := &processpb.UpdateRequest{Process: pid(r.pid), Pty: &processpb.PTY{Size: &processpb.PTY_Size{Cols: 120, Rows: 40}}}
	if _, err := g.process.Update(t.Context(), connect.NewRequest(resize)); err != nil {
		t.Fatal(err)
	}
	drain(t, s, r)
	if want := "ready\r\nput back\r\n40 120\r\n30 100\r\n"; r.term != want || r.end.GetExitCode() != 0 {
		t.Errorf("%q, end %v; want %q", r.term, r.end, want)
	}
}
