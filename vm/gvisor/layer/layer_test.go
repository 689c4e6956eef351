//go:build linux

package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// full is a writer that takes nothing.
type full struct{}

var errFull = errors.New("the disk is full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWhatIsWrittenArrives(t *testing.T) {
	text := strings.Repeat("more than a pipe holds", 100_000)
	var got bytes.Buffer
	if err := Copy(t.Context(), &got, func(out *os.File) error {
		_, err := io.WriteString(out, text)
		return err
	}); err != nil || got.String() != text {
		t.Errorf("%d bytes of %d, %v", got.Len(), len(text), err)
	}
}

func TestTheErrorIsThatOfTheCause(t *testing.T) {
	failed := errors.New("the machine has ended")
	if err := Copy(t.Context(), io.Discard, func(*os.File) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("of the machine: %v", err)
	}
	// What writes to a full disk must not wait for ever.
	if err := Copy(t.Context(), full{}, func(out *os.File) error {
		_, err := out.Write(make([]byte, 10<<20))
		return err
	}); !errors.Is(err, errFull) {
		t.Errorf("of the disk: %v", err)
	}
}

func TestACallThatIsAbandonedWritesNoMore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	abandoned := make(chan *os.File, 1)
	var got bytes.Buffer
	err := Copy(ctx, &got, func(out *os.File) error {
		again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", out.Fd()), os.O_WRONLY, 0) // As another process has it.
		abandoned <- again
		cancel()
		return errors.Join(err, ctx.Err())
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	again := <-abandoned
	defer again.Close()
	if _, err := again.WriteString("late"); err == nil || got.Len() > 0 {
		t.Errorf("%q was written late, %v", got.String(), err)
	}
}
