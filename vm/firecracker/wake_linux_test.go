package firecracker

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/drivertest"
	"github.com/rundlet/rundlet/vm/microvm/untrusted"
)

func TestNoProgramRunsBeforeItsMachineIsItself(t *testing.T) {
	needsKVM(t)
	fc.NoProgramRunsFirst(t, func(ctx context.Context, d *drivertest.Driver, id string) (start func() error, err error) {
		key := d.Find(t, id).Key
		client, err := api.Open(ctx, func(ctx context.Context) (net.Conn, error) {
			return untrusted.Dial(ctx, filepath.Join(d.Disks(), key, "firecracker", key, "root", "api"))
		})
		if err != nil {
			return nil, err
		}
		return func() error { return d.Start(ctx, id) }, client.Resume(ctx)
	})
}
