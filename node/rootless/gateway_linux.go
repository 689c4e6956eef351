package rootless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/usernet"
)

const (
	stageLink    = "rundlet-link"
	stageGateway = "rundlet-gateway"
)

// serveGateway starts the process that is the way to the internet, unless it runs. It ends with the namespaces, so connections of
// sandboxes outlive a daemon. The caller has the lock.
func (k *keeper) serveGateway(ctx context.Context, nsenter string) (err error) {
	if k.Gateway.lives() {
		return nil
	}
	near, far, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return err
	}
	defer near.Close()
	defer far.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	link := exec.CommandContext(ctx, nsenter, "--target", strconv.Itoa(k.Keeper.PID), "--user", "--net", "--", self, stageLink)
	link.Env, link.ExtraFiles = append(os.Environ(), envStage+"="+stageLink), []*os.File{near}
	if out, err := link.CombinedOutput(); err != nil {
		return fmt.Errorf("make the way to the internet: %w: %s", err, strings.TrimSpace(string(out)))
	}
	log, err := os.OpenFile(filepath.Join(filepath.Dir(k.path), "gateway.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	pid, err := startOutside(stageGateway, log, []*os.File{far}, strconv.Itoa(k.Keeper.PID), k.Keeper.Started)
	if err != nil {
		return err
	}
	if k.Gateway, err = processOf(pid); err != nil {
		return fmt.Errorf("the gateway ended at once: see %s", log.Name())
	}
	return k.save()
}

// sendLink makes the link in the node's network namespace and sends its other end to the gateway.
func sendLink() error {
	to, err := unixConn(os.NewFile(firstFD, "gateway"))
	if err != nil {
		return err
	}
	defer to.Close()
	f, err := usernet.Link(usernet.Config{})
	if err != nil {
		return err
	}
	defer f.Close()
	return send(to, struct{}{}, f)
}

// gateway passes packets on until the keeper of the namespaces has ended.
func gateway() error {
	if len(os.Args) != 3 {
		return errors.New("want the number of a process, and when it was started")
	}
	pid, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	ended, err := unix.PidfdOpen(pid, 0)
	if err != nil || !(process{pid, os.Args[2]}).lives() {
		return errors.Join(err, errGone)
	}
	from, err := unixConn(os.NewFile(firstFD, "link"))
	if err != nil {
		return err
	}
	link, err := receive(from, &struct{}{})
	from.Close()
	if err != nil {
		return err
	}
	if link == nil {
		return errors.New("no link came")
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(ended), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				cancel()
				return
			}
		}
	}()
	return usernet.Serve(ctx, link, usernet.Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
}

// writeResolvers has the node's own look-ups go through the gateway: a name server on the host's loopback cannot be reached
// from inside.
func writeResolvers(runDir string) error {
	file := filepath.Join(runDir, "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver "+usernet.Config{}.Nameserver().String()+"\n"), 0o644); err != nil {
		return err
	}
	err := unix.Mount(file, "/etc/resolv.conf", "", unix.MS_BIND, "")
	if errors.Is(err, unix.ENOENT) {
		return nil // The host has no resolvers, and so has the node.
	}
	return os.NewSyscallError("mount over /etc/resolv.conf", err)
}
