package gvisor

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Commands of the test guest, beside main_linux_test.go.

var held struct {
	sync.Mutex
	files  []*os.File
	memory [][]byte
	conn   net.Conn
}

// holdDeleted keeps a file open that has no name any more.
func holdDeleted(mib string) error {
	n, err := strconv.ParseInt(mib, 10, 64)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("/tmp", "")
	if err != nil {
		return err
	}
	held.Lock()
	defer held.Unlock()
	held.files = append(held.files, f)
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	_, err = io.Copy(f, content(n))
	return err
}

// dirty keeps memory in use, of which no two pages are alike.
func dirty(mib string) error {
	n, err := strconv.ParseInt(mib, 10, 64)
	if err != nil {
		return err
	}
	block := make([]byte, n<<20)
	held.Lock()
	defer held.Unlock()
	held.memory = append(held.memory, block)
	_, err = io.ReadFull(content(n), block)
	return err
}

// pace reports the longest time that a loop stood still while the request was
// open, in microseconds, and how often it went round: a first line when it
// begins, a second when the client has sent its body to the end.
func pace(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	fmt.Fprintln(w, "begun")
	_ = rc.Flush()
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, r.Body)
		close(end)
	}()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	var longest time.Duration
	last, rounds := time.Now(), 0
	for {
		select {
		case <-tick.C:
			now := time.Now()
			longest, last = max(longest, now.Sub(last)), now
			rounds++
		case <-end:
			fmt.Fprintln(w, longest.Microseconds(), rounds)
			return
		}
	}
}

// counter is how far count is; it writes each number to a file, too.
var counter atomic.Int64

const countFile = "/tmp/count"

func count() {
	f, err := os.OpenFile(countFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	for range time.Tick(time.Millisecond) {
		fmt.Fprintln(f, counter.Load()+1)
		counter.Add(1)
	}
}

// counted returns the counter, and what is wrong with the file if something is.
func counted() string {
	n := counter.Load()
	content, err := os.ReadFile(countFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Fields(string(content))
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			return fmt.Sprintf("line %d is %q", i+1, line)
		}
	}
	if int64(len(lines)) < n {
		return fmt.Sprintf("%d lines, the counter is %d", len(lines), n)
	}
	return strconv.FormatInt(n, 10)
}

// connect keeps a connection to the host.
func connect(address string) error {
	c, err := net.DialTimeout("tcp", address, 30*time.Second)
	if err != nil {
		return err
	}
	held.Lock()
	defer held.Unlock()
	held.conn = c
	return nil
}

// exchange sends a byte over that connection and waits for one.
func exchange() error {
	held.Lock()
	defer held.Unlock()
	if err := held.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := held.conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err := held.conn.Read(make([]byte, 1))
	return err
}

// manyFiles makes empty files, in directories of a thousand.
func manyFiles(count string) string {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err.Error()
	}
	for i := range n {
		dir := fmt.Sprintf("/tmp/files%d", i/1000)
		if i%1000 == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return fmt.Sprint(i, " ", err)
			}
		}
		if err := os.Symlink("x", fmt.Sprintf("%s/%d", dir, i)); err != nil {
			return fmt.Sprint(i, " ", err)
		}
	}
	return "done"
}

// manyProcesses starts processes that outlive it.
func manyProcesses(count string) string {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err.Error()
	}
	for i := range n {
		if err := exec.Command("/init", "sleep").Start(); err != nil {
			return fmt.Sprint(i, " ", err)
		}
	}
	return "done"
}
