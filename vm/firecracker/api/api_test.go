package api

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func dialer(path string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", path) }
}

func open(t *testing.T, f *fake) *Client {
	t.Helper()
	c, err := Open(patience(t), dialer(f.path))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestRequestsAreThoseThatWereRecorded makes the requests that a real process accepted: any other is a fault of the fake.
func TestRequestsAreThoseThatWereRecorded(t *testing.T) {
	c := open(t, newFake(t))
	ctx := patience(t)
	if c.Version() != (Version{1, 12, 1}) {
		t.Error(c.Version())
	}
	if state, err := c.State(ctx); err != nil || state != NotStarted {
		t.Error(state, err)
	}
	arguments := "reboot=k panic=-1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd random.trust_cpu=on console=ttyS0 quiet"
	for name, err := range map[string]error{
		"machine":     c.SetMachine(ctx, Machine{VCPUs: 1, MemoryMiB: 128, TrackDirty: true}),
		"boot source": c.SetBootSource(ctx, BootSource{Kernel: "/vmlinux", Initramfs: "/ir.cpio", Arguments: arguments}),
		"drive":       c.AddDrive(ctx, Drive{ID: "base", Path: "/base.ext4", ReadOnly: true, Cache: Unsafe, Engine: "Sync"}),
		"interface":   c.AddInterface(ctx, Interface{ID: "eth0", MAC: "06:00:ac:10:00:02", Device: "tap0"}),
		"vsock":       c.SetVsock(ctx, Vsock{CID: 3, Path: "v.sock"}),
		"entropy":     c.AddEntropy(ctx),
		"resume":      c.Resume(ctx),
		"full":        c.Save(ctx, Snapshot{Kind: Full, State: "/state", Memory: "/mem"}),
		"diff":        c.Save(ctx, Snapshot{Kind: Diff, State: "/w/diff6/state2", Memory: "/w/diff6/diff2"}),
		"load":        c.Load(ctx, Load{State: "/w/diff6/state2", Memory: "/w/diff6/mem", TrackDirty: true, Resume: true}),
		"load again":  c.Load(ctx, Load{State: "/w/diffre7/state", Memory: "/w/diffre7/mem", Resume: true}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARefusalSaysWhy(t *testing.T) {
	c := open(t, newFake(t))
	ctx := patience(t)
	for want, err := range map[string]error{
		"without kernel configuration":   c.Start(ctx),
		"before starting the microVM":    c.Pause(ctx),
		"Diff snapshots are not allowed": c.Save(ctx, Snapshot{Kind: Diff, State: "/w/nodiff9/state", Memory: "/w/nodiff9/mem"}),
		"Invalid request method":         c.SetMachine(ctx, Machine{VCPUs: 7}),
	} {
		var fault *FaultError
		if !errors.As(err, &fault) || fault.Status != 400 || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func TestTheErrorOfASystemCall(t *testing.T) {
	for message, want := range map[string]syscall.Errno{
		"The kernel file cannot be opened: No such file or directory (os error 2)":     syscall.ENOENT, // recorded
		"Start microvm error: Internal(Kvm(Error(13)))":                                syscall.EACCES, // recorded, shortened
		"a: (os error 22): Out of memory (os error 12)":                                syscall.ENOMEM,
		`File(Os { code: 28, kind: StorageFull, message: "No space left on device" })`: syscall.ENOSPC,
		"CRC64 validation failed: 12":                                                  0,
		"(os error 99999)":                                                             0,
		"":                                                                             0,
	} {
		if got := (&FaultError{Message: message}).Errno(); got != want {
			t.Errorf("%q: %d, want %d", message, got, want)
		}
	}
}

func TestAProcessThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		manner manner
		want   string
	}{
		"cuts its answer":     {cutBody, "unexpected EOF"},
		"dies":                {dies, "EOF"},
		"answers without end": {endless, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			client := open(t, f)
			f.as(c.manner)
			if _, err := client.State(patience(t)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
			f.as(asRecorded)
			if _, err := client.State(patience(t)); err != nil {
				t.Errorf("the next request: %v", err)
			}
		})
	}
}

// TestAnAnswerThatIsNotHTTP: the standard library gives a connection that changes its protocol to the caller, whose context does not end it.
func TestAnAnswerThatIsNotHTTP(t *testing.T) {
	f := newFake(t)
	c := open(t, f)
	f.as(otherwise)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := c.State(ctx)
		done <- err
	}()
	select {
	case err := <-done:
		if fault := new(FaultError); !errors.As(err, &fault) || fault.Status != 101 {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the request does not end with its context")
	}
	f.as(asRecorded)
	if _, err := c.State(patience(t)); err != nil {
		t.Errorf("the next request: %v", err)
	}
}

// TestASecondAnswerIsNotThatOfTheNextRequest: a kept connection would be out of step.
func TestASecondAnswerIsNotThatOfTheNextRequest(t *testing.T) {
	f := newFake(t)
	c := open(t, f)
	f.as(twice)
	if err := c.Pause(patience(t)); err == nil {
		t.Error("no error")
	}
	if state, err := c.State(patience(t)); err != nil || state != NotStarted {
		t.Error(state, err)
	}
}

func TestALargeRequestIsNotSent(t *testing.T) {
	f := newFake(t)
	c := open(t, f)
	before := len(f.requests())
	err := c.SetBootSource(patience(t), BootSource{Arguments: strings.Repeat("x", maxRequest)})
	if err == nil || !strings.Contains(err.Error(), "more than 51200") {
		t.Error(err)
	}
	if after := len(f.requests()); after != before {
		t.Error("it was sent")
	}
}

// TestOneRequestAtATime: while a process does not answer, another request waits, and ends with its context.
func TestOneRequestAtATime(t *testing.T) {
	f := newFake(t)
	c := open(t, f)
	f.as(hang)
	ctx, cancel := context.WithCancel(patience(t))
	done := make(chan error)
	go func() {
		_, err := c.State(ctx)
		done <- err
	}()
	<-f.held
	before := len(f.requests())
	short, end := context.WithTimeout(t.Context(), time.Millisecond)
	defer end()
	if err := c.Resume(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if after := len(f.requests()); after != before {
		t.Error("it was sent")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestVersions(t *testing.T) {
	answer := func(version string) exchange {
		return exchange{Method: "GET", Path: "/version", Status: 200, Answer: `{"firecracker_version":"` + version + `"}`}
	}
	for _, version := range []string{"1.11.9", "0.25.2", "none", "", "1.12"} {
		if _, err := Open(patience(t), dialer(newFake(t, answer(version)).path)); err == nil {
			t.Errorf("version %q is accepted", version)
		}
	}
	// A field of later versions is never sent to an earlier one, and the other way about.
	for version, want := range map[string]string{"1.12.1": `"enable_diff_snapshots":true`, "1.13.0": `"track_dirty_pages":true`, "1.16.1-dev": `"track_dirty_pages":true`, "2.0.0": `"track_dirty_pages":true`} {
		f := newFake(t, answer(version))
		_ = open(t, f).Load(patience(t), Load{TrackDirty: true})
		all := f.requests()
		last := all[len(all)-1]
		if !strings.Contains(last, want) || strings.Count(last, "diff_snapshots")+strings.Count(last, "track_dirty") != 1 {
			t.Errorf("%s: %s", version, last)
		}
	}
	for _, c := range []struct {
		v      Version
		memory int
		want   bool
	}{{Oldest, 3072, true}, {Oldest, 3073, false}, {Version{1, 14, 9}, 4096, false}, {Version{1, 15, 0}, 4096, true}} {
		if c.v.Differences(c.memory) != c.want {
			t.Errorf("%s, %d MiB: %v", c.v, c.memory, !c.want)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, text := range []string{"1.12.1", "v1.12.1-dirty", "99999999999999999999.1.1", "-1.2.3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if err != nil {
			return
		}
		if again, err := ParseVersion(v.String()); err != nil || again != v {
			t.Errorf("%q: %v, %v, %v", text, v, again, err)
		}
	})
}
