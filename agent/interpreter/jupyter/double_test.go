//go:build linux

package jupyter

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/agent/interpreter/zmtp"
)

// modeEnv makes the test binary a kernel that behaves as its value says.
const modeEnv = "RUNDLET_TEST_KERNEL"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeEnv); mode != "" {
		if err := double(mode); err != nil {
			fmt.Println("double:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fake is a kernel's side of its connections.
type fake struct {
	signer
	shell, iopub *zmtp.Conn
	interrupted  chan os.Signal
}

// double is a kernel. It is as rude as a kernel whose user's code has it in its hands.
func double(mode string) error {
	switch mode {
	case "refuses":
		fmt.Println("no module named ipykernel")
		os.Exit(3)
	case "never ready":
		hang()
	}
	text, err := os.ReadFile(os.Args[len(os.Args)-1])
	if err != nil {
		return err
	}
	var at struct{ IP, Key string }
	if err := json.Unmarshal(text, &at); err != nil {
		return err
	}
	f := &fake{signer: signer{key: []byte(at.Key), session: "theirs"}, interrupted: make(chan os.Signal, 100)}
	signal.Notify(f.interrupted, syscall.SIGINT)
	listeners := make([]net.Listener, 2)
	for i := range listeners {
		if listeners[i], err = net.Listen("unix", fmt.Sprintf("%s-%d", at.IP, i+1)); err != nil {
			return err
		}
	}
	if _, err := os.NewFile(4, "ready").Write([]byte("x")); err != nil {
		return err
	}
	for i, c := range []**zmtp.Conn{&f.shell, &f.iopub} {
		conn, err := listeners[i].Accept()
		if err != nil {
			return err
		}
		if *c, err = zmtp.New(conn, []string{"ROUTER", "XPUB"}[i]); err != nil {
			return err
		}
	}
	if _, err := f.iopub.Receive(); err != nil { // The subscription.
		return err
	}
	for n := 0; ; n++ {
		frames, err := f.shell.Receive()
		if err != nil {
			return nil //nolint:nilerr // The server has ended.
		}
		if err := f.answer(mode, n, frames.Frames); err != nil {
			return err
		}
	}
}

// hang lasts as long as the server.
func hang() { _, _ = os.NewFile(3, "server").Read(make([]byte, 1)) }

func (f *fake) answer(mode string, n int, frames [][]byte) error {
	var h header
	if string(frames[0]) != delimiter || f.sign(frames[2:]) != string(frames[1]) {
		return fmt.Errorf("not signed: %q", frames)
	}
	if err := json.Unmarshal(frames[2], &h); err != nil {
		return err
	}
	say := func(kind, content string) error { return f.publish(h, kind, content) }
	if h.Type == "kernel_info_request" {
		if mode == "silent" || mode == "late subscriber" && n == 0 {
			return nil
		}
		return say("status", `{"execution_state":"idle"}`)
	}
	var c struct{ Code string }
	if err := json.Unmarshal(frames[5], &c); err != nil {
		return err
	}
	if err := say("execute_input", fmt.Sprintf(`{"execution_count":%d}`, n)); err != nil {
		return err
	}
	switch c.Code {
	case "print":
		_ = say("stream", `{"name":"stdout","text":"out"}`)
		_ = say("comm_open", `{}`)
	case "metadata":
		_ = say("stream", fmt.Sprintf(`{"name":"stdout","text":%q}`, frames[4]))
	case "lies":
		forged := *f
		forged.key = []byte("another")
		_ = forged.publish(h, "stream", `{"name":"stdout","text":"forged"}`)
		_ = f.publish(header{ID: "of another run"}, "stream", `{"name":"stdout","text":"stray"}`)
		_ = f.iopub.Send([]byte("no"), []byte("message"))
		_ = f.iopub.Send([]byte(delimiter))
		_ = say("stream", `{"name":5}`)
		_ = say("stream", `{"name":"stdin","text":"other stream"}`)
		_ = say("error", `{"ename":"E","evalue":"v","traceback":["a","b"]}`)
	case "large":
		_ = say("stream", `{"name":"stdout","text":"`+strings.Repeat("x", zmtp.MaxFrame)+`"}`)
	case "dies":
		os.Exit(7)
	case "breaks":
		f.iopub.Close()
		hang()
	case "endless":
		for len(f.interrupted) == 0 {
			if err := say("stream", `{"name":"stdout","text":"`+strings.Repeat("y", 1000)+`"}`); err != nil {
				return err
			}
		}
		<-f.interrupted
	case "catches":
		for range 2 {
			<-f.interrupted
		}
	case "deaf":
		hang()
	}
	return say("status", `{"execution_state":"idle"}`)
}

func (f *fake) publish(parent header, kind, content string) error {
	parts := make([][]byte, 0, 4)
	for _, v := range []any{header{ID: "x", Type: kind, Date: time.Now().Format(time.RFC3339)}, parent, struct{}{}} {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		parts = append(parts, text)
	}
	parts = append(parts, []byte(content))
	return f.iopub.Send(slices.Concat([][]byte{[]byte("topic"), []byte(delimiter), []byte(f.sign(parts))}, parts)...)
}

func messageOf(frames [][]byte) zmtp.Message { return zmtp.Message{Frames: frames} }
