package network

import (
	"fmt"

	"github.com/rundlet/rundlet/network/policies"
)

// Policy is the set of destinations that a slot may reach.
type Policy = policies.Policy

// checkPolicy says why a policy can never be enforced; ErrInvalid. certified is whether guests trust certificates of ours.
func checkPolicy(p Policy, certified bool) error {
	if err := p.Check(certified); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
