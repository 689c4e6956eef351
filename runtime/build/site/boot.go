package site

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/rundlet/rundlet/vm"
)

// boot starts a machine from a root file system.
func (s *Site) boot(ctx context.Context) error {
	spec := *s.plan.Boot
	spec.VCPUs, spec.MemoryMiB, spec.DiskMiB = s.plan.Size.VCPUs, s.plan.Size.MemoryMiB, s.plan.Size.DiskMiB
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	s.spec = string(text)
	slot, err := s.cfg.Network.Acquire(ctx, s.guest.Egress)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	s.slotted(slot.ID)
	spec.NetNS, spec.GuestIP, spec.Hostname, spec.Weight = slot.NetNS, slot.GuestIP.String(), s.guest.ID, vm.MaxWeight
	if err := s.cfg.Driver.Create(ctx, s.guest.ID, spec); err != nil {
		return err
	}
	return s.cfg.Driver.Start(ctx, s.guest.ID)
}
