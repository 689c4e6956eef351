package capacity

import "slices"

// line is the order of waiting requests: first in, first out for each tenant, and
// the tenants take turns.
type line struct {
	turns   []string             // the tenants that wait, the next to be served first
	waiting map[string][]*Ticket // never empty for a tenant in turns, and only for those
	count   int
}

// push adds t behind the others of its tenant. A tenant that did not wait takes
// its turn after all that do.
func (l *line) push(t *Ticket) {
	if l.waiting == nil {
		l.waiting = map[string][]*Ticket{}
	}
	if len(l.waiting[t.tenant]) == 0 {
		l.turns = append(l.turns, t.tenant)
	}
	l.waiting[t.tenant] = append(l.waiting[t.tenant], t)
	l.count++
}

// next is the request to serve next, or nil.
func (l *line) next() *Ticket {
	if len(l.turns) == 0 {
		return nil
	}
	return l.waiting[l.turns[0]][0]
}

// serve removes next, whose tenant goes to the end of the turns.
func (l *line) serve() {
	tenant := l.turns[0]
	l.leave(l.next())
	if len(l.waiting[tenant]) > 0 {
		l.turns = append(l.turns[1:], tenant)
	}
}

// leave removes t and leaves the turn to the others of its tenant. It reports
// whether t was there.
func (l *line) leave(t *Ticket) bool {
	mine := l.waiting[t.tenant]
	i := slices.Index(mine, t)
	if i < 0 {
		return false
	}
	l.count--
	if len(mine) > 1 {
		l.waiting[t.tenant] = slices.Delete(mine, i, i+1)
		return true
	}
	delete(l.waiting, t.tenant)
	l.turns = slices.DeleteFunc(l.turns, func(tenant string) bool { return tenant == t.tenant })
	return true
}

// position is the place of t in the order of service, from 1, or 0 if it does
// not wait.
func (l *line) position(t *Ticket) int {
	rounds := slices.Index(l.waiting[t.tenant], t)
	if rounds < 0 {
		return 0
	}
	place, before := 1, true
	for _, tenant := range l.turns {
		served := rounds
		if tenant == t.tenant {
			before = false
		} else if before {
			served++ // It has its turn before t's tenant in t's own round too.
		}
		place += min(served, len(l.waiting[tenant]))
	}
	return place
}
