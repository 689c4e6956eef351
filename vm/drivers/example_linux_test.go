package drivers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm"
	_ "github.com/rundlet/rundlet/vm/drivers" // Every driver of this build.
)

// counter says to each client which one it is.
const counter = `
import socket
server, n = socket.create_server(("", 8000)), 0
while True:
    client, _ = server.accept()
    n += 1
    client.sendall(b"%d" % n)
    client.close()
`

// place is a network namespace, and an address in it that this program reaches. "ip netns add" and a pair of veth make one.
type place struct{ netNS, address string }

// A program that has machines of the preferred driver, and nothing else of this module. The body of Example is that of main.
func Example() {
	if err := machines(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func machines(ctx context.Context) error {
	driver, err := vm.FindDriver(vm.AutoDriver, "/var/lib/mine/kernels")
	if err != nil {
		return err
	}
	r, err := driver.New(vm.Options{StateDir: "/var/lib/mine/state", RunDir: "/run/mine", Kernels: "/var/lib/mine/kernels", Instance: "mine"})
	if err != nil {
		return err
	}
	answers, err := handOver(ctx, r, [3]place{{"/run/netns/a", "10.1.1.2"}, {"/run/netns/b", "10.1.2.2"}, {"/run/netns/c", "10.1.3.2"}})
	fmt.Println(strings.Join(answers, "\n"))
	if closer, ok := r.(io.Closer); ok {
		err = errors.Join(err, closer.Close())
	}
	return err
}

// handOver uses a driver without a node, a service or keys: it saves a machine that is warmed up, restores two copies of it elsewhere, and
// gives one of them the id of its user.
func handOver(ctx context.Context, r vm.Runtime, places [3]place) (answers []string, err error) {
	defer func() {
		views, listErr := r.List(ctx)
		err = errors.Join(err, listErr)
		for _, view := range views {
			if view.Status != vm.StatusDestroyed {
				err = errors.Join(err, r.Destroy(ctx, view.ID))
			}
		}
	}()
	// The root is the host's, to which no guest writes.
	spec := vm.Spec{Rootfs: "/", Args: []string{"/usr/bin/python3", "-c", counter}, MemoryMiB: 256, NetNS: places[0].netNS, GuestIP: places[0].address}
	if err := r.Create(ctx, "first", spec); err != nil {
		return nil, err
	}
	if err := r.Start(ctx, "first"); err != nil {
		return nil, err
	}
	answer, err := ask(ctx, r, "first")
	if err != nil {
		return nil, err
	}
	answers = append(answers, answer)
	if err := r.Snapshot(ctx, "first", "warm"); err != nil {
		return nil, err
	}
	defer func() {
		if s, ok := r.(vm.SnapshotDeleter); ok {
			err = errors.Join(err, s.DeleteSnapshot(ctx, "first", "warm"))
		}
	}()
	for i, id := range []string{"copy-1", "copy-2"} {
		// Of what else the snapshot has, nothing is said again.
		copied := vm.Spec{RestoreFrom: &vm.SnapshotRef{VMID: "first", SnapshotID: "warm", ResumeImmediately: true}, NetNS: places[i+1].netNS, GuestIP: places[i+1].address}
		if err := r.Create(ctx, id, copied); err != nil {
			return nil, err
		}
	}
	user := "copy-1"
	if renamer, ok := r.(vm.Renamer); ok {
		user = "alice"
		if err := renamer.Rename(ctx, "copy-1", user); err != nil {
			return nil, err
		}
	}
	for _, id := range []string{user, user, "copy-2"} {
		answer, err := ask(ctx, r, id)
		if err != nil {
			return nil, err
		}
		answers = append(answers, id+" "+answer)
	}
	views, err := r.List(ctx)
	for _, view := range views {
		answers = append(answers, fmt.Sprint(view.ID, " is ", view.Status, ", snapshots ", view.Snapshots))
	}
	return answers, err
}

// ask returns the answer of the program, which may not listen yet.
func ask(ctx context.Context, r vm.Runtime, id string) (string, error) {
	dialer, ok := r.(vm.Dialer)
	if !ok {
		return "", errors.New("the driver reaches no guests")
	}
	for {
		conn, err := dialer.Dial(ctx, id, 8000)
		if err != nil {
			if !errors.Is(err, vm.ErrUnavailable) {
				return "", err
			}
			select {
			case <-ctx.Done():
				return "", err
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		answer, err := io.ReadAll(conn)
		return string(answer), errors.Join(err, conn.Close())
	}
}

const nestedEnv = "RUNDLET_TEST_NESTED"

// TestMain has namespaces in which the example makes others. The driver brings its sandbox program along.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(nestedEnv) == "" {
		os.Exit(testspace.Again(nestedEnv+"=1", func(pid int) string { return fmt.Sprintf("rundlet-drivers-%d/", pid) }))
	}
	os.Exit(m.Run())
}

func TestADriverIsUsedAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not running as root")
	}
	driver, err := vm.FindDriver("gvisor", "")
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("/run", "drivers-") // Sockets have short paths.
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	state := filepath.Join(t.TempDir(), "state")
	r, err := driver.New(vm.Options{StateDir: state, RunDir: run, Instance: fmt.Sprintf("drivers-%d", os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	var places [3]place
	for i := range places {
		places[i].netNS, places[i].address = testspace.NetNS(t, i+1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answers, err := handOver(ctx, r, places)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1", "alice 2", "alice 3", "copy-2 2", "alice is running, snapshots []", "copy-2 is running, snapshots []", "first is running, snapshots [warm]"}
	if !slices.Equal(answers, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(answers, "\n"), strings.Join(want, "\n"))
	}
	if closer, ok := r.(io.Closer); ok {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range []string{run, state} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && filepath.Base(filepath.Dir(path)) != "engines" { // Those stay, for snapshots.
				t.Errorf("%s is left", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
