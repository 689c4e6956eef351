package gvisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// child is a process of the guest in a new network namespace, and the
// two ways to speak with it.
var child struct {
	sync.Mutex
	ask    io.Writer
	answer *bufio.Reader
}

// inNamespace starts the process, or has it use its connection, and answers with
// what it says.
func inNamespace(w http.ResponseWriter, _ *http.Request) {
	child.Lock()
	defer child.Unlock()
	if child.ask == nil {
		cmd := exec.Command("/init", "namespace")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		out, outErr := cmd.StdoutPipe()
		if err := errors.Join(err, outErr, cmd.Start()); err != nil {
			fmt.Fprint(w, err)
			return
		}
		child.ask, child.answer = in, bufio.NewReader(out)
	} else if _, err := io.WriteString(child.ask, "x"); err != nil {
		fmt.Fprint(w, err)
		return
	}
	line, err := child.answer.ReadString('\n')
	fmt.Fprint(w, line)
	if err != nil {
		fmt.Fprint(w, err)
	}
}

// namespaceProcess is that process.
func namespaceProcess() {
	p := &pair{}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err == nil {
		err = p.connect("tcp4", "127.0.0.1:0")
	}
	for {
		fmt.Println(strings.ReplaceAll(fmt.Sprint(err), "\n", " "))
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			return
		}
		err = errors.Join(p.deadline(), say(p.a, p.b, "x"))
	}
}

// TestAGuestWithMoreNetworkNamespacesIsRestored saves a guest with a
// connection in a namespace of the guest's own.
func TestAGuestWithMoreNetworkNamespacesIsRestored(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	for range 2 {
		if text, err := (client{d}).do(ctx, "a", "POST", "/namespace", ""); err != nil || text != "<nil>\n" {
			t.Fatalf("%q, %v", text, err)
		}
	}
	if err := d.Snapshot(ctx, "a", "s"); err != nil {
		t.Fatal(err)
	}
	if text, err := (client{d}).do(ctx, "a", "POST", "/namespace", ""); err != nil || text != "<nil>\n" {
		t.Errorf("source: %q, %v", text, err)
	}
	restore(t, d, "b", resumed(t, "a", "s"))
	// The namespace is a new one, so the connection must be gone and not hang.
	if text, err := (client{d}).do(ctx, "b", "POST", "/namespace", ""); err != nil || !strings.Contains(text, "broken pipe") {
		t.Errorf("restored: %q, %v", text, err)
	}
	shortConnections(t, d, "b", "")
}
