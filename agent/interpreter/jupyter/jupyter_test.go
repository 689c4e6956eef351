//go:build linux

package jupyter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

// start starts a double.
func start(t *testing.T, mode string) *Kernel {
	t.Helper()
	k, err := tryStart(t, t.Context(), mode)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func tryStart(t *testing.T, ctx context.Context, mode string) (*Kernel, error) {
	t.Setenv("TMPDIR", t.TempDir())
	k, err := Start(ctx, Config{Command: []string{os.Args[0]}, Dir: t.TempDir(), Env: append(os.Environ(), modeEnv+"="+mode)})
	t.Cleanup(func() {
		if k != nil {
			k.Close()
		}
		if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	return k, err
}

// run runs code and returns what a client reads.
func run(t *testing.T, k *Kernel, r kernel.Run) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var lines strings.Builder
	err := k.Run(ctx, r, func(e kernel.Event) error {
		delete(e, "timestamp")
		line, err := e.Line()
		lines.Write(line)
		return err
	})
	return lines.String(), err
}

func TestARunIsWhatTheKernelSaysForIt(t *testing.T) {
	k := start(t, "polite")
	for code, want := range map[string]string{
		"print":    `{"text":"out","type":"stdout"}`,
		"lies":     `{"text":"[an output was dropped: json: cannot unmarshal number into Go struct field .name of type string]\n","type":"stderr"}` + "\n" + `{"name":"E","traceback":"a\nb","type":"error","value":"v"}`,
		"metadata": `{"text":"{\"rundlet\":{\"env\":{\"A\":\"1\"},\"generation\":\"g\",\"sandbox\":{\"B\":\"2\"}}}","type":"stdout"}`,
	} {
		got, err := run(t, k, kernel.Run{Code: code, Env: map[string]string{"A": "1"}, Sandbox: map[string]string{"B": "2"}, Generation: "g"})
		_, got, _ = strings.Cut(got, "\n") // The count comes first.
		if err != nil || got != want+"\n" {
			t.Errorf("%s: %v\n%swant\n%s", code, err, got, want)
		}
	}
	got, err := run(t, k, kernel.Run{Code: "large"})
	if err != nil || len(got) > 500 || !strings.Contains(got, "bytes was dropped: it is too large") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := run(t, k, kernel.Run{Code: "print"}); err != nil || !strings.Contains(got, "out") {
		t.Errorf("after it: %q, %v", got, err)
	}
}

func TestKernelsThatDoNotStart(t *testing.T) {
	for mode, want := range map[string]string{"refuses": "exit status 3\nno module named ipykernel", "never ready": "in time", "silent": "does not answer"} {
		t.Run(mode, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if mode == "refuses" {
				ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
			}
			defer cancel()
			if _, err := tryStart(t, ctx, mode); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := Start(t.Context(), Config{Command: []string{"/none"}, Dir: t.TempDir()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestAKernelThatPublishesLateIsAskedAgain(t *testing.T) {
	if got, err := run(t, start(t, "late subscriber"), kernel.Run{Code: "print"}); err != nil || !strings.Contains(got, "out") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAKernelThatEnds(t *testing.T) {
	for code, why := range map[string]string{"dies": "exit status 7", "breaks": "signal: killed"} {
		t.Run(code, func(t *testing.T) {
			k := start(t, "polite")
			if _, err := run(t, k, kernel.Run{Code: code}); !errors.Is(err, kernel.ErrEnded) || k.Why() != why {
				t.Errorf("%v, %s", err, k.Why())
			}
			if _, err := run(t, k, kernel.Run{Code: "print"}); !errors.Is(err, kernel.ErrEnded) {
				t.Errorf("a run of a kernel that has ended: %v", err)
			}
		})
	}
}

var errGone = errors.New("the client is gone")

func TestCodeWhoseClientIsGoneIsInterrupted(t *testing.T) {
	for _, code := range []string{"endless", "catches"} {
		t.Run(code, func(t *testing.T) {
			k := start(t, "polite")
			ctx, cancel := context.WithCancelCause(t.Context())
			err := k.Run(ctx, kernel.Run{Code: code}, func(e kernel.Event) error {
				if e["type"] == "number_of_executions" && code == "catches" {
					cancel(errGone) // It leaves while nothing is said.
				}
				if e["type"] == "stdout" {
					return errGone
				}
				return nil
			})
			if !errors.Is(err, errGone) {
				t.Errorf("%v", err)
			}
			if got, err := run(t, k, kernel.Run{Code: "print"}); err != nil || !strings.Contains(got, "out") {
				t.Errorf("the next run: %q, %v", got, err)
			}
		})
	}
}

func TestCodeThatCannotBeInterruptedHoldsItsTurn(t *testing.T) {
	k := start(t, "polite")
	ctx, cancel := context.WithCancel(t.Context())
	began := func(kernel.Event) error { cancel(); return nil }
	if err := k.Run(ctx, kernel.Run{Code: "deaf"}, began); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := run(t, k, kernel.Run{Code: "print"})
		waiting <- err
	}()
	k.Close()
	if err := <-waiting; !errors.Is(err, kernel.ErrEnded) {
		t.Errorf("%v", err)
	}
}

func TestCloseKillsWhatTheKernelStarted(t *testing.T) {
	k := start(t, "polite")
	group := k.cmd.Process.Pid
	k.Close()
	if err := syscall.Kill(-group, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("%v", err)
	}
}

func TestResults(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"string":   {`{"text/plain":"'it is'"}`, `{"is_main_result":true,"text":"it is","type":"result"}`},
		"a quote":  {`{"text/plain":"'"}`, `{"is_main_result":true,"text":"'","type":"result"}`},
		"picture":  {`{"image/png":"aGk=\n","text/plain":"<Figure>"}`, `{"is_main_result":true,"png":"aGk=","text":"<Figure>","type":"result"}`},
		"JSON":     {`{"application/json":{"a":[1,null]}}`, `{"is_main_result":true,"json":{"a":[1,null]},"type":"result"}`},
		"others":   {`{"text/x":"y","application/vnd.e2b.chart.v1+json":{"type":"line"}}`, `{"chart":{"type":"line"},"extra":{"text/x":"y"},"is_main_result":true,"type":"result"}`},
		"nothing":  {`{}`, `{"is_main_result":true,"type":"result"}`},
		"no texts": {`{"text/plain":5,"text/html":{"a":1}}`, `{"html":{"a":1},"is_main_result":true,"text":"","type":"result"}`},
	} {
		m := message{kind: "execute_result", content: json.RawMessage(`{"data":` + c.data + `}`)}
		events := m.events()
		if len(events) != 1 {
			t.Fatalf("%s: %v", name, events)
		}
		if line, err := events[0].Line(); err != nil || string(line) != c.want+"\n" {
			t.Errorf("%s: %s, %v", name, line, err)
		}
	}
}

func TestWhatIsNoMessage(t *testing.T) {
	s := signer{key: []byte("key"), session: "s"}
	frames, err := s.request("id", "execute_request", map[string]any{}, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		changed := fmt.Sprintf("frame %d", i)
		forged := append([][]byte(nil), frames...)
		forged[i] = []byte(`{}x`)
		if _, err := s.read(messageOf(forged)); err == nil {
			t.Errorf("%s was changed, and the message was read", changed)
		}
		if _, err := s.read(messageOf(frames[:i])); err == nil {
			t.Errorf("%d frames were read as a message", i)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add("stream", `{"name":"stdout","text":"a"}`)
	f.Add("execute_result", `{"data":{"text/plain":"'","image/png":"x\n","a/b":[1]}}`)
	f.Add("error", `{"ename":"E","traceback":["a"]}`)
	f.Add("execute_input", `{"execution_count":1e999}`)
	f.Fuzz(func(t *testing.T, kind, content string) {
		for _, e := range (message{kind: kind, content: json.RawMessage(content)}).events() {
			line, err := e.Line()
			if err != nil || strings.Count(string(line), "\n") != 1 {
				t.Errorf("%q: %v", line, err)
			}
		}
	})
}
