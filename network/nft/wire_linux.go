package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	mnl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// This file asks the packet filter what it has. The library that writes the
// rules decodes them, and what it does not know it refuses; here they are only
// compared.

func cString(s string) []byte { return append([]byte(s), 0) }

// Dial opens a connection to the packet filter of a namespace.
func Dial(ns *os.File, groups ...uint32) (*mnl.Conn, error) {
	return namespace.DialNetlink(ns, unix.NETLINK_NETFILTER, groups...)
}

const filterHeader = 4 // struct nfgenmsg

// errChanging: what was read had changed before it was read to its end.
var errChanging = errors.New("it changed while it was read")

// ask sends a question of nf_tables and returns the attributes of its answers.
func ask(c *mnl.Conn, kind int, flags mnl.HeaderFlags, attrs ...mnl.Attribute) ([][]mnl.Attribute, error) {
	b, err := mnl.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	answers, err := c.Execute(mnl.Message{
		Header: mnl.Header{Type: mnl.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: mnl.Request | flags},
		Data:   append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, b...),
	})
	if err != nil {
		return nil, err
	}
	out := make([][]mnl.Attribute, 0, len(answers))
	for _, m := range answers {
		if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
			return nil, errChanging
		}
		if len(m.Data) < filterHeader {
			continue // The end of a list.
		}
		list, err := mnl.UnmarshalAttributes(m.Data[filterHeader:])
		if err != nil {
			return nil, err
		}
		out = append(out, list)
	}
	return out, nil
}

func dump(c *mnl.Conn, kind int, attrs ...mnl.Attribute) ([][]mnl.Attribute, error) {
	return ask(c, kind, mnl.Dump, attrs...)
}

// Generation counts the changes of a namespace's packet filter.
func Generation(c *mnl.Conn) (uint32, error) {
	answers, err := ask(c, unix.NFT_MSG_GETGEN, 0)
	if err != nil {
		return 0, fmt.Errorf("ask for the packet filter's generation: %w", err)
	}
	for _, attrs := range answers {
		for _, a := range attrs {
			if a.Type == unix.NFTA_GEN_ID && len(a.Data) == 4 {
				return binary.BigEndian.Uint32(a.Data), nil
			}
		}
	}
	return 0, errors.New("the packet filter has no generation")
}

// setElements lists a set, each element as it comes; one that is not there is
// empty.
func setElements(c *mnl.Conn, table, set string) (out [][]byte, err error) {
	answers, err := dump(c, unix.NFT_MSG_GETSETELEM,
		mnl.Attribute{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: cString(table)},
		mnl.Attribute{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: cString(set)})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read set %s: %w", set, err)
	}
	for _, attrs := range answers {
		for _, a := range attrs {
			if a.Type&^unix.NLA_F_NESTED != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			list, err := mnl.UnmarshalAttributes(a.Data)
			if err != nil {
				return nil, err
			}
			for _, e := range list {
				out = append(out, e.Data)
			}
		}
	}
	return out, nil
}

// elementKey is what Key makes of an element, which has its key within two envelopes.
func elementKey(element []byte) (string, error) {
	attrs, err := mnl.UnmarshalAttributes(element)
	if err != nil {
		return "", err
	}
	var e nftables.SetElement
	for _, a := range attrs {
		switch a.Type &^ unix.NLA_F_NESTED {
		case unix.NFTA_SET_ELEM_FLAGS:
			e.IntervalEnd = len(a.Data) == 4 && binary.BigEndian.Uint32(a.Data)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_KEY:
			values, err := mnl.UnmarshalAttributes(a.Data)
			if err != nil {
				return "", err
			}
			for _, v := range values {
				if v.Type&^unix.NLA_F_NESTED == unix.NFTA_DATA_VALUE {
					e.Key = v.Data
				}
			}
		}
	}
	return Key(e), nil
}

// Key identifies an element in its set. The end of a range is another element than the beginning
// of the next.
func Key(e nftables.SetElement) string {
	if e.IntervalEnd {
		return string(e.Key) + "end"
	}
	return string(e.Key)
}

// Without are the elements of list that are not in other with the same comment.
func Without(list, other []nftables.SetElement) (out []nftables.SetElement) {
	keys := map[string]bool{}
	for _, e := range other {
		keys[Key(e)+e.Comment] = true
	}
	for _, e := range list {
		if !keys[Key(e)+e.Comment] {
			out = append(out, e)
		}
	}
	return out
}

// NewGeneration returns the process that changed the packet filter: of many reports
// of a change it is the last.
func NewGeneration(m mnl.Message) (pid int, name string, ok bool) {
	if m.Header.Type != mnl.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN) || len(m.Data) < filterHeader {
		return 0, "", false
	}
	attrs, err := mnl.UnmarshalAttributes(m.Data[filterHeader:])
	if err != nil {
		return 0, "", true
	}
	for _, a := range attrs {
		switch {
		case a.Type == unix.NFTA_GEN_PROC_PID && len(a.Data) == 4:
			pid = int(binary.BigEndian.Uint32(a.Data))
		case a.Type == unix.NFTA_GEN_PROC_NAME:
			name = unix.ByteSliceToString(a.Data)
		}
	}
	return pid, name, true
}
