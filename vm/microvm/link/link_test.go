package link

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testGuest is the other end of a client: it reads lines and writes what its test wants. It does a nonce again, unlike the real one.
type testGuest struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// connect returns a client over a pipe without a buffer. Both ends are closed with the test.
func connect(t *testing.T, exit func(string)) (*Client, *testGuest) {
	t.Helper()
	host, guest := net.Pipe()
	c := NewClient(host, exit)
	t.Cleanup(func() {
		_ = c.Close()
		guest.Close()
	})
	return c, &testGuest{t, guest, bufio.NewReader(guest)}
}

// next returns the next call; ok is false at the end of the connection.
func (g *testGuest) next() (call Call, ok bool) {
	for {
		line, err := ReadLine(g.in)
		if err != nil {
			return Call{}, false
		}
		if len(line) == 1 {
			continue // Each line begins with the end of one.
		}
		if err := json.Unmarshal(line, &call); err != nil {
			g.t.Errorf("line %.100q: %v", line, err)
			return Call{}, false
		}
		return call, true
	}
}

func (g *testGuest) say(text string) {
	if _, err := io.WriteString(g.conn, text); err != nil {
		g.t.Errorf("write %.100q: %v", text, err)
	}
}

func (g *testGuest) answer(a Answer) {
	line, err := json.Marshal(a)
	if err != nil {
		g.t.Error(err)
	}
	g.say("\n" + string(line) + "\n")
}

// drain reads calls until the connection ends, and counts them.
func (g *testGuest) drain() (n int) {
	for {
		if _, ok := g.next(); !ok {
			return n
		}
		n++
	}
}

func TestAnAnswerIsThatOfItsCall(t *testing.T) {
	for name, c := range map[string]struct {
		say  func(g *testGuest, call Call)
		want error
	}{
		"success": {func(g *testGuest, call Call) { g.answer(Answer{Nonce: call.Nonce}) }, nil},
		"refusal": {func(g *testGuest, call Call) { g.answer(Answer{Nonce: call.Nonce, Error: "no disk"}) }, RefusedError("no disk")},
		"another nonce before": {func(g *testGuest, call Call) {
			g.answer(Answer{Nonce: "of an earlier call", Error: "wrong"})
			g.answer(Answer{Nonce: call.Nonce})
		}, nil},
		"many times": {func(g *testGuest, call Call) {
			g.say(fmt.Sprintf("{\"nonce\":%q}\n", call.Nonce) + strings.Repeat(fmt.Sprintf("{\"nonce\":%q,\"error\":\"wrong\"}\n", call.Nonce), 50))
		}, nil},
		"a line broken off before": {func(g *testGuest, call Call) {
			g.say(`{"nonce":"` + call.Nonce + `","err`)
			g.answer(Answer{Nonce: call.Nonce})
		}, nil},
		"garbage before": {func(g *testGuest, call Call) {
			g.say("\x00\xff\n[]\nnull\n{}\n7\n{\"nonce\":7}\n{\"nonce\":\"" + call.Nonce + "\",\"error\":[]}\n")
			g.answer(Answer{Nonce: call.Nonce})
		}, nil},
		"a line that is too long before": {func(g *testGuest, call Call) {
			g.say(`{"nonce":"` + call.Nonce + `","error":"` + strings.Repeat("x", MaxLine) + "\"}\n")
			g.answer(Answer{Nonce: call.Nonce})
		}, nil},
		"in single bytes": {func(g *testGuest, call Call) {
			for _, b := range []byte(`{"nonce":"` + call.Nonce + `"}` + "\n") {
				g.say(string([]byte{b}))
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, g := connect(t, nil)
				calls := make(chan Call, 1000) // The host repeats a call while a slow answer comes.
				go func() {
					for call, ok := g.next(); ok; call, ok = g.next() {
						calls <- call
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				answered := ""
				for range 2 {
					said := make(chan struct{})
					go func() {
						defer close(said)
						for call := range calls {
							if call.Nonce != answered {
								answered = call.Nonce
								c.say(g, call)
								return
							}
						}
					}()
					if err := client.Call(ctx, Call{Freeze: true}); !errors.Is(err, c.want) {
						t.Errorf("got %v, want %v", err, c.want)
					}
					<-said
				}
			})
		})
	}
}

// A guest that has a call answers once its line is whole; lines that it loses cost a repeat.
func TestACallIsRepeatedUntilItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, g := connect(t, nil)
		var times []time.Duration
		var nonces []string
		began := time.Now()
		go func() {
			for range 9 {
				call, ok := g.next()
				if !ok || !call.Freeze || !call.Sync {
					t.Errorf("call %+v %v", call, ok)
				}
				times, nonces = append(times, time.Since(began)), append(nonces, call.Nonce)
			}
			g.answer(Answer{Nonce: nonces[0]})
		}()
		if err := client.Call(t.Context(), Call{Freeze: true, Sync: true}); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 10, 30, 70, 150, 310, 630, 1130, 1630}
		for i := range want {
			if times[i] != want[i]*time.Millisecond || nonces[i] != nonces[0] {
				t.Errorf("line %d: after %v, nonce %q", i, times[i], nonces[i])
			}
		}
		// The next call has another nonce, and the answer of this one is not its answer.
		go func() {
			call, _ := g.next()
			if call.Nonce == nonces[0] {
				t.Error("a nonce is used again")
			}
			g.answer(Answer{Nonce: nonces[0], Error: "an old answer"})
			g.answer(Answer{Nonce: call.Nonce, Error: "the new answer"})
		}()
		if err := client.Call(t.Context(), Call{Freeze: true}); !errors.Is(err, RefusedError("the new answer")) {
			t.Error(err)
		}
	})
}

// A guest remembers its last nonce, so a call that is repeated after another one would be done again.
func TestCallsAreMadeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, g := connect(t, nil)
		const calls = 5
		done, seen := map[string]bool{}, ""
		go func() {
			for {
				call, ok := g.next()
				if !ok {
					return
				}
				if call.Nonce != seen && done[call.Nonce] {
					t.Error("a call is repeated after another one")
				}
				lost := call.Nonce != seen // The first line of each is lost.
				seen, done[call.Nonce] = call.Nonce, true
				if !lost {
					g.answer(Answer{Nonce: call.Nonce})
				}
			}
		}()
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				if err := client.Call(t.Context(), Call{Freeze: true}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(done) != calls {
			t.Errorf("%d calls of %d", len(done), calls)
		}
	})
}

func TestAGuestSaysHowItsProgramEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exits := make(chan string, 10)
		_, g := connect(t, func(exit string) { exits <- exit })
		g.answer(Answer{Exit: "exited: 7"})
		g.answer(Answer{Nonce: "unknown", Exit: "not an exit"})
		g.answer(Answer{})
		g.say("{\"exit\":\"broken off")
		g.answer(Answer{Exit: "exited: 7"})
		g.answer(Answer{Exit: "é" + strings.Repeat("é", MaxLine/4)})
		synctest.Wait()
		close(exits)
		var got []string
		for exit := range exits {
			got = append(got, exit)
		}
		if want := []string{"exited: 7", "exited: 7", strings.Repeat("é", maxExit/2)}; strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("got %.300q", got)
		}
	})
}

func TestACallThatIsTooLongIsRefused(t *testing.T) {
	client, _ := connect(t, nil)
	err := client.Call(t.Context(), Call{Boot: &Boot{Env: []string{strings.Repeat("x", MaxLine)}}})
	if err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Error(err)
	}
}

func TestARefusalIsBounded(t *testing.T) {
	if text := RefusedError(strings.Repeat("\x00", MaxLine)).Error(); len(text) > 1000 {
		t.Errorf("%d bytes", len(text))
	}
}
