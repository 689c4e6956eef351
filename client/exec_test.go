package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	processpb "github.com/rundlet/rundlet/api/gen/envd/processpb"
)

func TestRun(t *testing.T) {
	g, agent := newGuest(t, func(_ context.Context, req *processpb.StartRequest, p process) error {
		cfg := req.GetProcess()
		if cfg.GetCmd() != "ls" || strings.Join(cfg.GetArgs(), " ") != "-l /" || cfg.GetEnvs()["K"] != "V" || cfg.GetCwd() != "/tmp" {
			t.Errorf("config %v", cfg)
		}
		if req.Stdin == nil || req.GetStdin() || req.GetPty() != nil {
			t.Errorf("request %v", req)
		}
		p.started()
		p.stdout("out\xff1 ")
		p.keepalive()
		p.stderr("err")
		p.stdout("2")
		return p.exit(0, "exit status 0")
	})
	var stdout, stderr bytes.Buffer
	var pid uint32
	code, err := agent.Run(t.Context(), Command{
		Args: []string{"ls", "-l", "/"}, Env: map[string]string{"K": "V"}, Cwd: "/tmp", User: "ann",
		Stdout: &stdout, Stderr: &stderr, Started: func(p uint32) { pid = p },
	})
	if code != 0 || err != nil || stdout.String() != "out\xff1 2" || stderr.String() != "err" || pid != guestPID {
		t.Errorf("%d, %v, %q, %q, pid %d", code, err, stdout.String(), stderr.String(), pid)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if user, _, _ := (&http.Request{Header: g.header}).BasicAuth(); user != "ann" || g.header.Get("X-Access-Token") != "token" {
		t.Errorf("header %v", g.header)
	}
	if agent.Header.Get("Authorization") != "" {
		t.Error("the caller's header was changed")
	}
}

// A guest that sends a message without end costs no more than a message may.
func TestMessagesOfAnAgentAreBounded(t *testing.T) {
	_, agent := newGuest(t, func(_ context.Context, _ *processpb.StartRequest, p process) error {
		p.started()
		p.stdout(strings.Repeat("x", maxMessage))
		return p.exit(0, "exit status 0")
	})
	var stdout bytes.Buffer
	if _, err := agent.Run(t.Context(), Command{Args: []string{"x"}, Stdout: &stdout, Stderr: io.Discard}); err == nil || stdout.Len() != 0 {
		t.Errorf("%d bytes were taken, %v", stdout.Len(), err)
	}
}

func TestCommandsShareAConnection(t *testing.T) {
	_, agent := newGuest(t, func(_ context.Context, _ *processpb.StartRequest, p process) error {
		p.started()
		p.stdout("x")
		return p.exit(0, "exit status 0")
	})
	fresh := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if !c.Reused {
			fresh++
		}
	}})
	for range 50 {
		if code, err := agent.Run(ctx, Command{Args: []string{"x"}}); code != 0 || err != nil {
			t.Fatal(code, err)
		}
	}
	if fresh != 1 {
		t.Errorf("%d connections for 50 commands", fresh)
	}
}

func TestExitCodes(t *testing.T) {
	for status, tc := range map[string]struct {
		code int32
		want int
	}{
		"exit status 0":      {0, 0},
		"exit status 255":    {255, 255},
		"signal: killed":     {-1, 137},
		"signal: terminated": {-1, 143},
		"signal: hangup":     {-1, 129},
		"signal: segmentation fault (core dumped)": {-1, 139},
		"signal: user defined signal 1":            {-1, 128},
	} {
		_, agent := newGuest(t, func(_ context.Context, _ *processpb.StartRequest, p process) error {
			p.started()
			return p.exit(tc.code, status)
		})
		if code, err := agent.Run(t.Context(), Command{Args: []string{"x"}}); code != tc.want || err != nil {
			t.Errorf("%s: %d, %v", status, code, err)
		}
	}
}

func TestInput(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	var g *guest
	g, agent := newGuest(t, func(_ context.Context, req *processpb.StartRequest, p process) error {
		if !req.GetStdin() {
			t.Error("the process has no input")
		}
		p.started()
		for s := range g.stdin {
			p.stdout(s)
		}
		return p.exit(3, "")
	})
	var out bytes.Buffer
	code, err := agent.Run(t.Context(), Command{Args: []string{"cat"}, Stdin: strings.NewReader(big), Stdout: &out})
	if code != 3 || err != nil || out.String() != big {
		t.Errorf("%d, %v, %d bytes", code, err, out.Len())
	}
}

// A command that ends before its input does must not wait for it.
func TestCommandEndsBeforeItsInput(t *testing.T) {
	_, agent := newGuest(t, func(_ context.Context, _ *processpb.StartRequest, p process) error {
		p.started()
		return p.exit(0, "")
	})
	r, w := io.Pipe()
	defer w.Close()
	if code, err := agent.Run(t.Context(), Command{Args: []string{"true"}, Stdin: r}); code != 0 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
}

func TestTerminal(t *testing.T) {
	var g *guest
	g, agent := newGuest(t, func(_ context.Context, req *processpb.StartRequest, p process) error {
		if size := req.GetPty().GetSize(); size.GetCols() != 91 || size.GetRows() != 17 {
			t.Errorf("size %v", size)
		}
		p.started()
		p.terminal("got " + <-g.ptyIn)
		if size := <-g.sizes; size != (Winsize{120, 40}) {
			t.Errorf("new size %v", size)
		}
		// Time for what must not come: a terminal's input has no end.
		select {
		case s, open := <-g.stdin:
			t.Errorf("input %q, open %v", s, open)
		case size := <-g.sizes:
			t.Errorf("size %v, which was not set", size)
		case <-time.After(50 * time.Millisecond):
		}
		return p.exit(0, "")
	})
	sizes := make(chan Winsize, 1)
	sizes <- Winsize{120, 40}
	close(sizes) // and no more: nothing else may be sent
	var out bytes.Buffer
	code, err := agent.Run(t.Context(), Command{
		Args: []string{"sh"}, TTY: &Winsize{91, 17}, Resize: sizes, Stdin: strings.NewReader("typed"), Stdout: &out,
	})
	if code != 0 || err != nil || out.String() != "got typed" {
		t.Errorf("%d, %v, %q", code, err, out.String())
	}
}

type failing struct{ after int }

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// untilGone lets a process live until its client has left.
func untilGone(output func(process)) func(context.Context, *processpb.StartRequest, process) error {
	return func(ctx context.Context, _ *processpb.StartRequest, p process) error {
		p.started()
		output(p)
		<-ctx.Done()
		return ctx.Err()
	}
}

func TestOutputThatCannotBeWrittenKills(t *testing.T) {
	for name, tc := range map[string]struct {
		output func(process)
		cmd    Command
	}{
		"stdout":   {func(p process) { p.stdout("1"); p.stdout("2") }, Command{Stdout: &failing{after: 1}}},
		"stderr":   {func(p process) { p.stderr("1") }, Command{Stderr: &failing{}}},
		"terminal": {func(p process) { p.terminal("1") }, Command{Stdout: &failing{}, TTY: &Winsize{1, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			g, agent := newGuest(t, untilGone(tc.output))
			tc.cmd.Args = []string{"yes"}
			if _, err := agent.Run(t.Context(), tc.cmd); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%v", err)
			}
			if sig := receive(t, "signal", g.signals); sig != processpb.Signal_SIGNAL_SIGKILL {
				t.Errorf("signal %v", sig)
			}
		})
	}
}

func TestEndOfTheContextKills(t *testing.T) {
	g, agent := newGuest(t, untilGone(func(process) {}))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := agent.Run(ctx, Command{Args: []string{"sleep"}, Started: func(uint32) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if sig := receive(t, "signal", g.signals); sig != processpb.Signal_SIGNAL_SIGKILL {
		t.Errorf("signal %v", sig)
	}
}

func TestServerErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		life func(context.Context, *processpb.StartRequest, process) error
		want string
	}{
		"refused": {func(context.Context, *processpb.StartRequest, process) error {
			return connect.NewError(connect.CodeInvalidArgument, errors.New("no such file: x"))
		}, "follow x: no such file: x"},
		"broken off": {func(_ context.Context, _ *processpb.StartRequest, p process) error {
			p.started()
			return connect.NewError(connect.CodeUnavailable, errors.New("the sandbox is gone"))
		}, "follow x: the sandbox is gone"},
		"ended early": {func(_ context.Context, _ *processpb.StartRequest, p process) error {
			p.started()
			return nil
		}, "the stream ended before the command did"},
	} {
		t.Run(name, func(t *testing.T) {
			_, agent := newGuest(t, tc.life)
			if _, err := agent.Run(t.Context(), Command{Args: []string{"x"}}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNoServerAndNoCommand(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	agent := Agent{HTTP: srv.Client(), BaseURL: srv.URL}
	if _, err := agent.Run(t.Context(), Command{}); err == nil {
		t.Error("ran nothing")
	}
	if _, err := agent.Run(t.Context(), Command{Args: []string{"x"}}); err == nil {
		t.Error("a server that knows no commands ran one")
	}
	srv.Close()
	if _, err := agent.Run(t.Context(), Command{Args: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}
