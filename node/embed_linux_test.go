package node_test

import (
	"bytes"
	"io"
	"os"
	"testing"
)

func TestTheExampleRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	if got := printed(t, Example); got != "42\nexit code 0\n" {
		t.Errorf("printed %q", got)
	}
}

// printed returns what f writes to standard output.
func printed(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		read <- b
	}()
	old := os.Stdout
	os.Stdout = w
	f()
	os.Stdout = old
	w.Close()
	return string(bytes.Clone(<-read))
}
