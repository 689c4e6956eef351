package main

import (
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

// blocks is how many blocks a counter must get rid of to have shown that nothing
// holds it up: 64 MiB, far more than fits into all buffers on the way.
const blocks = 1024

func (b *box) count() (n int) {
	b.t.Helper()
	if _, err := fmt.Sscan(b.sh("cat /tmp/count"), &n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func TestAStreamedProcessGoesOnInTheRestoredSandbox(t *testing.T) {
	parent := newNode(t).boot()
	parent.init()
	parent.sh("cat > /tmp/counter.py <<'END OF SCRIPT'\n" + testdata(t, "counter.py") + "END OF SCRIPT\n")
	stream, err := parent.start(t.Context(), "exec python3 /tmp/counter.py")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().GetEvent().GetStart() == nil {
		t.Fatalf("no start: %v", stream.Err())
	}
	pid := stream.Msg().GetEvent().GetStart().GetPid()
	for read := 0; read < 16<<20; read += len(stream.Msg().GetEvent().GetData().GetStdout()) {
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
	}
	// From here on the client reads nothing: every buffer on the way is full.
	parent.snapshot("s")
	child := parent.restore(parent, "s")
	child.init(restored(parent))
	before := child.count()
	eventually(t, "the counter in the restored sandbox going on", func() bool { return child.count() > before+blocks })
	// A client that connects now gets its output.
	again, err := child.process.Connect(t.Context(), connect.NewRequest(&processpb.ConnectRequest{
		Process: &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Pid{Pid: pid}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for read := 0; read < 4<<20; read += len(again.Msg().GetEvent().GetData().GetStdout()) {
		if !again.Receive() {
			t.Fatal(again.Err())
		}
	}
	// The original's stream did not break.
	for read := 0; read < 16<<20; read += len(stream.Msg().GetEvent().GetData().GetStdout()) {
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
	}
}
