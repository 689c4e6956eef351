package nft

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
)

// DropForwarded lists the base chains of a namespace that drop forwarded packets of IPv4 by default, as "table T, chain C". An
// error may be about some of the tables only.
func DropForwarded(ns *os.File) (list []string, err error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return nil, err
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, of := conn.ListChainsOfTableFamily(family)
		err = errors.Join(err, of)
		for _, c := range chains {
			if c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				list = append(list, fmt.Sprintf("table %s, chain %s", c.Table.Name, c.Name))
			}
		}
	}
	return list, err
}
