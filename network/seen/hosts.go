package seen

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Host is one that a guest reached.
type Host struct {
	Name string
	// Ports are those to which connections were opened by the name, in ascending order. On other ports than those
	// that the gateway checks, connections are not seen.
	Ports []uint16
	// Answers counts the queries for the name that had an answer, and Connections those that were opened by it.
	Answers, Connections int
	First, Last          time.Time
}

const (
	// MostHosts is how many hosts of a slot are remembered. A new one takes the place of that which was seen longest ago.
	MostHosts = 256
	// mostPorts is how many ports of a host are remembered. The gateway checks two.
	mostPorts = 4
)

// hosts are those that one slot reached. The zero value is empty. Safe for concurrent use.
type hosts struct {
	mu        sync.Mutex
	byName    map[string]*Host
	forgotten uint64
}

// answered counts a query for a name that had an answer.
func (h *hosts) answered(name string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.host(name, at).Answers++
}

// opened counts a connection to a port that was opened by a name.
func (h *hosts) opened(name string, port uint16, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	host := h.host(name, at)
	host.Connections++
	if i, found := slices.BinarySearch(host.Ports, port); !found && len(host.Ports) < mostPorts {
		host.Ports = slices.Insert(host.Ports, i, port)
	}
}

// host returns a host that is seen at a time. The caller holds mu.
func (h *hosts) host(name string, at time.Time) *Host {
	if host := h.byName[name]; host != nil {
		host.Last = at
		return host
	}
	if h.byName == nil {
		h.byName = map[string]*Host{}
	}
	if len(h.byName) == MostHosts {
		oldest := ""
		for name, host := range h.byName {
			if oldest == "" || host.Last.Before(h.byName[oldest].Last) {
				oldest = name
			}
		}
		delete(h.byName, oldest)
		h.forgotten++
	}
	host := &Host{Name: name, First: at, Last: at}
	h.byName[name] = host
	return host
}

// all returns a copy of the hosts in the order of their names, and how many were forgotten for others.
func (h *hosts) all() (list []Host, forgotten uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, host := range h.byName {
		copied := *host
		copied.Ports = slices.Clone(host.Ports)
		list = append(list, copied)
	}
	slices.SortFunc(list, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return list, h.forgotten
}
