package resolvers

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestServersOfAFile(t *testing.T) {
	for text, want := range map[string][]string{
		"":                       {"127.0.0.1:53"},
		"nameserver 192.0.2.1\n": {"192.0.2.1:53"},
		"# x\nsearch a\nnameserver\tfe80::1%eth0 # y\nnameserver not\n":                  {"[fe80::1%eth0]:53"},
		"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4": {"1.1.1.1:53", "1.1.1.2:53", "1.1.1.3:53"},
	} {
		var got []string
		for _, a := range parseServers(text) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestAFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	r := &Resolvers{Path: path}
	for _, server := range []string{"", "192.0.2.1", "192.0.2.22", "192.0.2.33"} {
		if server != "" {
			fresh := path + ".new"
			if err := os.WriteFile(fresh, []byte("nameserver "+server), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(fresh, path); err != nil {
				t.Fatal(err)
			}
		} else {
			server = "127.0.0.1"
		}
		if got := r.list(); len(got) != 1 || got[0].Addr().String() != server {
			t.Errorf("%v, want %s", got, server)
		}
	}
}

// servers serve UDP on loopback; what each answers is a function of the query, and nil is no answer.
func servers(t *testing.T, answers ...func(query []byte) [][]byte) *Resolvers {
	t.Helper()
	at := map[netip.AddrPort]string{}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	var text []byte
	for i, answer := range answers {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pc.Close() })
		go func() {
			b := make([]byte, 512)
			for {
				n, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				for _, reply := range answer(b[:n]) {
					_, _ = pc.WriteTo(reply, from)
				}
			}
		}()
		named := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		at[netip.AddrPortFrom(named, 53)] = pc.LocalAddr().String()
		text = append(text, "nameserver "+named.String()+"\n"...)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return &Resolvers{Path: path, Try: 200 * time.Millisecond, Dial: func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		if at[to] == "" {
			return nil, errors.New("unknown " + to.String())
		}
		return new(net.Dialer).DialContext(ctx, network, at[to])
	}}
}

// reply has a code and as many bytes as are asked for.
func reply(query []byte, code byte, size int) []byte {
	out := make([]byte, max(size, HeadBytes))
	copy(out, query[:2])
	out[2], out[3] = 0x80, code
	return out
}

func TestServersAreAskedInOrder(t *testing.T) {
	says := func(code byte, size int) func([]byte) [][]byte {
		return func(q []byte) [][]byte { return [][]byte{reply(q, code, size)} }
	}
	silent := func([]byte) [][]byte { return nil }
	forged := func(q []byte) [][]byte {
		other := reply(q, 0, 100)
		binary.BigEndian.PutUint16(other, binary.BigEndian.Uint16(q)+1)
		return [][]byte{other, q, {1}, reply(q, 0, 600)}
	}
	for name, c := range map[string]struct {
		answers []func([]byte) [][]byte
		code    byte
		size    int // 0 without a reply.
	}{
		"the first":              {[]func([]byte) [][]byte{says(0, 500), says(0, 900)}, 0, 500},
		"a large one":            {[]func([]byte) [][]byte{says(0, 60000)}, 0, 60000},
		"no such name":           {[]func([]byte) [][]byte{says(3, 500), says(0, 900)}, 3, 500},
		"the first is silent":    {[]func([]byte) [][]byte{silent, says(0, 900)}, 0, 900},
		"the first fails":        {[]func([]byte) [][]byte{says(2, 500), says(0, 900)}, 0, 900},
		"all fail":               {[]func([]byte) [][]byte{says(5, 500), says(2, 900)}, 2, 900},
		"all are silent":         {[]func([]byte) [][]byte{silent, silent}, 0, 0},
		"others answer too":      {[]func([]byte) [][]byte{forged}, 0, 600},
		"silent, and one failed": {[]func([]byte) [][]byte{silent, says(2, 300)}, 2, 300},
	} {
		t.Run(name, func(t *testing.T) {
			query := make([]byte, HeadBytes+10)
			query[0], query[1] = 0xab, 0xff
			got := servers(t, c.answers...).Ask(t.Context(), query)
			if len(got) != c.size || len(got) > 0 && got[3] != c.code {
				t.Errorf("%d bytes, want %d: %.12x", len(got), c.size, got)
			}
		})
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := servers(t, func([]byte) [][]byte { cancel(); return nil })
	r.Try = time.Hour
	if got := r.Ask(ctx, make([]byte, HeadBytes)); got != nil {
		t.Errorf("%x", got)
	}
}
