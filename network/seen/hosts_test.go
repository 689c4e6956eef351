package seen

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func after(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func TestHostsAreCountedByName(t *testing.T) {
	var l hosts
	if list, forgotten := l.all(); len(list) != 0 || forgotten != 0 {
		t.Errorf("an empty list has %v, %d", list, forgotten)
	}
	l.answered("b.example", after(0))
	l.opened("b.example", 443, after(1))
	l.opened("a.example", 443, after(2))
	l.opened("b.example", 80, after(3))
	l.opened("b.example", 443, after(4))
	l.answered("c.example", after(5))
	want := "a.example [443] 0/1 2s-2s, b.example [80 443] 1/3 0s-4s, c.example [] 1/0 5s-5s, "
	got := ""
	list, forgotten := l.all()
	for _, h := range list {
		got += fmt.Sprintf("%s %v %d/%d %v-%v, ", h.Name, h.Ports, h.Answers, h.Connections, h.First.Sub(start), h.Last.Sub(start))
	}
	if got != want || forgotten != 0 {
		t.Errorf("%s, %d forgotten\nwant %s", got, forgotten, want)
	}
	list[1].Ports[0] = 1 // It is the caller's.
	if again, _ := l.all(); again[1].Ports[0] != 80 {
		t.Error("the list shares its ports")
	}
}

func TestAListOfHostsIsBoundedAndKeepsTheLatest(t *testing.T) {
	var l hosts
	for i := range 3 * MostHosts {
		l.answered(fmt.Sprintf("n%d.example", i), after(2*i))
		l.opened("again.example", uint16(i), after(2*i+1)) // One that comes again and again.
	}
	list, forgotten := l.all()
	if len(list) != MostHosts || forgotten != 2*MostHosts+1 {
		t.Fatalf("%d hosts, %d forgotten", len(list), forgotten)
	}
	i := slices.IndexFunc(list, func(h Host) bool { return h.Name == "again.example" })
	if i < 0 || list[i].Connections != 3*MostHosts || len(list[i].Ports) != mostPorts {
		t.Errorf("the one that came again and again: %d, %v", i, list)
	}
	for _, h := range list {
		if h.Last.Before(after(2 * (2*MostHosts + 1))) {
			t.Errorf("an old one: %v", h)
		}
	}
}

func TestManyUseAListAtOnce(t *testing.T) {
	var l hosts
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range MostHosts {
				l.answered(fmt.Sprintf("n%d-%d.example", i, j), after(j))
				l.opened("same.example", 443, after(j))
				l.all()
			}
		})
	}
	wg.Wait()
	if list, forgotten := l.all(); len(list) != MostHosts || forgotten < 7*MostHosts {
		t.Errorf("%d hosts, %d forgotten", len(list), forgotten)
	}
}
