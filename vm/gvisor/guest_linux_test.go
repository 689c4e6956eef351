package gvisor

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// What the test guest can be told to do, beside main_linux_test.go.

var held struct {
	sync.Mutex
	files  []*os.File
	memory [][]byte
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
