//go:build linux

package agent_test

import (
	"testing"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

func TestAProgramThatIsNotThereEndsLikeInAShell(t *testing.T) {
	g := newGuest(t)
	for _, tc := range []struct {
		name, cmd, says string
		pty             bool
		code            int32
	}{
		{"path", "/no/such/command", "'/no/such/command': no such file or directory\n", false, 127},
		{"PATH", "no-such-command", "'no-such-command': no such file or directory\n", false, 127},
		{"terminal", "no-such-command", "'no-such-command': no such file or directory\n", true, 127},
		{"file for a directory", "/etc/passwd/x", "'/etc/passwd/x': not a directory\n", false, 127},
		{"not executable", "/etc/passwd", "'/etc/passwd': permission denied\n", false, 126},
		{"directory", "/etc", "'/etc': permission denied\n", false, 126},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &processpb.StartRequest{Process: &processpb.ProcessConfig{Cmd: tc.cmd}}
			if tc.pty {
				req.Pty = &processpb.PTY{Size: &processpb.PTY_Size{Cols: 80, Rows: 24}}
			}
			r := g.run(t, "user", req)
			if r.stderr+r.term != tc.says || r.end.GetExitCode() != tc.code || !r.end.GetExited() || r.pid == 0 {
				t.Errorf("stderr %q, terminal %q, pid %d, end %v", r.stderr, r.term, r.pid, r.end)
			}
			// Its end can still be asked for, as that of any other.
			again, err := g.process.Connect(t.Context(), connect.NewRequest(&processpb.ConnectRequest{Process: pid(r.pid)}))
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			late := &result{}
			for again.Receive() {
				late.add(again.Msg().GetEvent())
			}
			if late.end.GetExitCode() != tc.code {
				t.Errorf("asked again: end %v", late.end)
			}
		})
	}
	if list := g.list(t); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}
