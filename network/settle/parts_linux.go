package settle

import (
	"fmt"
	"strings"
)

// Part is something that can be lost. Settle looks whether it is as it should
// be and, if not and mend is true, makes it so. lost is how it was.
type Part struct {
	What   string
	Settle func(mend bool) (lost bool, err error)
}

// Parts goes through parts in order, up to the first failure.
func Parts(mend bool, parts ...Part) (lost []string, err error) {
	for _, p := range parts {
		was, err := p.Settle(mend)
		if was {
			lost = append(lost, p.What)
		}
		if err != nil {
			return lost, fmt.Errorf("%s: %w", strings.ReplaceAll(p.What, "_", " "), err)
		}
	}
	return lost, nil
}
