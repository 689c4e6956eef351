package names

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestAddressesOfAPermittedName(t *testing.T) {
	w := newWorld(t, func(q *dns.Msg, _ string) [][]byte {
		name := q.Question[0].Name
		return [][]byte{replyTo(q, nil, rrs(name+" 3600 IN CNAME cdn.other.net.", "cdn.other.net. 3600 IN A 1.1.1.1", "cdn.other.net. 3600 IN A 10.0.0.1", "cdn.other.net. 3600 IN A 1.1.1.2")...)}
	})
	for _, network := range []string{"udp", "tcp"} {
		reply := ask(t, w.dial(t, network, "127.0.0.1"), query("WWW.Example.com", dns.TypeA, 1232))
		if reply.Rcode != dns.RcodeSuccess || !reply.RecursionAvailable || !reply.RecursionDesired || reply.Authoritative || reply.Truncated || len(reply.Ns) != 0 {
			t.Errorf("%s: %v", network, reply)
		}
		var got []string
		for _, rr := range reply.Answer {
			a := rr.(*dns.A)
			if a.Hdr.Ttl != 3600 {
				t.Errorf("%s: it lives for %d s", network, a.Hdr.Ttl)
			}
			got = append(got, a.Hdr.Name+" "+a.A.String())
		}
		if want := []string{"WWW.Example.com. 1.1.1.1", "WWW.Example.com. 1.1.1.2"}; !slices.Equal(got, want) {
			t.Errorf("%s: %v", network, got)
		}
	}
	bound := []string{"bind 127.0.0.1 www.example.com 1.1.1.1 1.1.1.2 1h0m30s", "bound www.example.com", "answered 127.0.0.1 www.example.com"}
	want := slices.Concat(bound, []string{"sent WWW.Example.com."}, bound)
	if got := w.seen(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := w.upstream.questions(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// A name does not exist only if that is known.
func TestAGuestWithAnUnknownPolicyGetsNoAnswer(t *testing.T) {
	w := newWorld(t, each("1.1.1.1"))
	w.mu.Lock()
	w.unknown = make(chan bool)
	w.mu.Unlock()
	conn := w.dial(t, "udp", "127.0.0.1")
	send(t, conn, query("other.net", dns.TypeA, 0))
	w.unknown <- true
	second := query("other.net", dns.TypeA, 0)
	send(t, conn, second)
	w.unknown <- false
	if reply := receive(t, conn); reply.Id != second.Id || reply.Rcode != dns.RcodeNameError {
		t.Errorf("%v", reply)
	}
	if got := w.seen(); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// A guest hears nothing of an address before it may reach it.
func TestAnAnswerWaitsUntilItsAddressesAreBound(t *testing.T) {
	w := newWorld(t, each("1.1.1.1"))
	entered, release := make(chan struct{}), make(chan error)
	w.bind = func(string) error {
		entered <- struct{}{}
		return <-release
	}
	conn := w.dial(t, "udp", "127.0.0.1")
	first := query("a.example.com", dns.TypeA, 0)
	send(t, conn, first)
	<-entered
	ask(t, conn, query("a.example.com", dns.TypeAAAA, 0)) // It came later, and is answered first.
	release <- nil
	if reply := receive(t, conn); reply.Id != first.Id || len(reply.Answer) != 1 {
		t.Errorf("%v", reply)
	}
	want := []string{"bind 127.0.0.1 a.example.com 1.1.1.1 1m30s", "bound a.example.com", "answered 127.0.0.1 a.example.com", "sent a.example.com."}
	if got := w.seen(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	second := query("a.example.com", dns.TypeA, 1232)
	send(t, conn, second)
	<-entered
	release <- errors.New("the table is full")
	if reply := receive(t, conn); reply.Id != second.Id || reply.Rcode != dns.RcodeServerFailure || len(reply.Answer) != 0 {
		t.Errorf("%v", reply)
	}
}

// Names that have nothing, and those of addresses, are not recorded: programs ask for many without a need.
func TestAnsweredQueriesAreRecorded(t *testing.T) {
	w := newWorld(t, func(q *dns.Msg, _ string) [][]byte {
		name := q.Question[0].Name
		switch {
		case strings.HasPrefix(name, "none"):
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError })}
		case strings.HasPrefix(name, "empty"):
			return [][]byte{replyTo(q, nil)}
		}
		return [][]byte{replyTo(q, nil, rrs(name+" 60 IN A 1.1.1.1", name+" 60 IN SRV 1 1 443 b.example.com.", name+" 60 IN PTR c.example.com.")...)}
	})
	w.mu.Lock()
	w.patterns = []string{"*"}
	w.mu.Unlock()
	conn := w.dial(t, "udp", "127.0.0.1")
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV} {
		for _, name := range []string{"none.example.com", "empty.example.com", "_x._tcp.Example.com"} {
			ask(t, conn, query(name, kind, 1232))
		}
	}
	if reply := ask(t, conn, query("4.3.2.1.in-addr.arpa", dns.TypePTR, 1232)); len(reply.Answer) != 1 {
		t.Errorf("the name of an address: %v", reply)
	}
	ask(t, conn, query("1.2.3.4", dns.TypeA, 1232))
	var got []string
	for _, event := range w.seen() {
		if strings.HasPrefix(event, "answered") {
			got = append(got, event)
		}
	}
	if want := slices.Repeat([]string{"answered 127.0.0.1 _x._tcp.example.com"}, 2); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// No query leaves for a name that is not allowed: with a name a guest could send anything to anybody.
func TestNoQueryLeavesForARefusedName(t *testing.T) {
	w := newWorld(t, each("1.1.1.1"))
	var want []string
	names := []string{"secret.evil.net", "example.com", "www.example.com.evil.net", "EVIL.net", "localhost"}
	for _, network := range []string{"udp", "tcp"} {
		conn := w.dial(t, network, "127.0.0.1")
		for _, name := range names {
			for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeMX, dns.TypeNS, dns.TypeANY, dns.TypeHTTPS, dns.TypeCNAME, dns.TypeNULL, 65280} {
				reply := ask(t, conn, query(name, kind, 1232))
				if reply.Rcode != dns.RcodeNameError || explanation(reply) != dns.ExtendedErrorCodeProhibited || len(reply.Answer)+len(reply.Ns) != 0 {
					t.Errorf("%s: %v", name, reply)
				}
				want = append(want, "refused 127.0.0.1 "+strings.ToLower(name))
			}
		}
		for _, name := range []string{".", "4.3.2.1.in-addr.arpa", "1.0.IP6.arpa", "0/25.2.0.192.IN-ADDR.arpa"} { // These are not worth a record.
			if reply := ask(t, conn, query(name, dns.TypePTR, 0)); reply.Rcode != dns.RcodeNameError || reply.IsEdns0() != nil {
				t.Errorf("%s: %v", name, reply)
			}
		}
		for _, name := range []string{`evil\.example.com`, `a\000b.example.com`, `*.example.com`, "1.2.3.4"} {
			if reply := ask(t, conn, query(name, dns.TypeA, 1232)); reply.Rcode != dns.RcodeNameError {
				t.Errorf("%s: %v", name, reply)
			}
			want = append(want, "refused 127.0.0.1 "+name)
		}
	}
	if got := w.seen(); !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if got := w.upstream.questions(); len(got) != 0 {
		t.Errorf("a query left: %v", got)
	}
	ask(t, w.dial(t, "udp", "127.0.0.1"), query("www.example.com", dns.TypeA, 0)) // The way out is there.
	if got := w.upstream.questions(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestNamesWithoutAddressesForAGuest(t *testing.T) {
	w := newWorld(t, func(q *dns.Msg, _ string) [][]byte {
		name := q.Question[0].Name
		switch name {
		case "private.example.com.":
			return [][]byte{replyTo(q, nil, rrs(name+" 60 IN A 169.254.169.254")...)}
		case "none.example.com.":
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError })}
		case "broken.example.com.":
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })}
		}
		return [][]byte{replyTo(q, nil)}
	})
	conn := w.dial(t, "udp", "127.0.0.1")
	for name, want := range map[string]string{
		"private.example.com": "NXDOMAIN 15", "none.example.com": "NXDOMAIN 0", "broken.example.com": "SERVFAIL 22", "empty.example.com": "NOERROR 0",
	} {
		reply := ask(t, conn, query(name, dns.TypeA, 1232))
		if got := fmt.Sprint(dns.RcodeToString[reply.Rcode], " ", explanation(reply)); got != want || len(reply.Answer) != 0 {
			t.Errorf("%s: %v", name, reply)
		}
	}
	if got := w.seen(); !slices.Equal(got, []string{"refused 127.0.0.1 private.example.com"}) {
		t.Errorf("%q", got)
	}
}

func TestOtherTypes(t *testing.T) {
	w := newWorld(t, func(q *dns.Msg, _ string) [][]byte {
		if q.Question[0].Qtype == dns.TypeTXT {
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Extra = rrs("a.example.com. 60 IN A 6.6.6.6") }, rrs(`a.example.com. 60 IN TXT "text"`)...)}
		}
		return [][]byte{replyTo(q, nil, rrs("a.example.com. 60 IN AAAA 2001:db8::1", "a.example.com. 60 IN CNAME b.example.com.", "a.example.com. 60 IN HTTPS 1 . alpn=h2")...)}
	})
	conn := w.dial(t, "udp", "127.0.0.1")
	for _, kind := range []uint16{dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeANY, dns.TypeCNAME, dns.TypeDS, dns.TypeNULL, 65280} {
		if reply := ask(t, conn, query("a.example.com", kind, 0)); reply.Rcode != dns.RcodeSuccess || len(reply.Answer)+len(reply.Ns)+len(reply.Extra) != 0 {
			t.Errorf("%v", reply)
		}
	}
	if got := w.upstream.questions(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	reply := ask(t, conn, query("A.example.com", dns.TypeTXT, 0))
	if len(reply.Answer) != 1 || len(reply.Extra) != 0 || !strings.HasPrefix(reply.Answer[0].String(), "A.example.com.\t60\tIN\tTXT\t\"text\"") {
		t.Errorf("%v", reply)
	}
	for kind := range forwarded {
		ask(t, conn, query("a.example.com", kind, 0))
	}
	if got := w.upstream.questions(); len(got) != 1+len(forwarded) {
		t.Errorf("%v", got)
	}
}

func TestMessagesThatAreNotQuestions(t *testing.T) {
	w := newWorld(t, each("1.1.1.1"))
	conns := []*dns.Conn{w.dial(t, "udp", "127.0.0.1"), w.dial(t, "tcp", "127.0.0.1")}
	for name, c := range map[string]struct {
		change func(m *dns.Msg)
		rcode  int
	}{
		"a transfer":    {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }, dns.RcodeRefused},
		"an increment":  {func(m *dns.Msg) { m.SetIxfr("a.example.com.", 1, ".", ".") }, dns.RcodeRefused},
		"TSIG":          {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTSIG }, dns.RcodeRefused},
		"MAILB":         {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMAILB }, dns.RcodeRefused},
		"OPT":           {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeOPT }, dns.RcodeRefused},
		"type 0":        {func(m *dns.Msg) { m.Question[0].Qtype = 0 }, dns.RcodeRefused},
		"chaos":         {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeRefused},
		"any class":     {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }, dns.RcodeRefused},
		"an update":     {func(m *dns.Msg) { m.SetUpdate("a.example.com.") }, dns.RcodeNotImplemented},
		"a notice":      {func(m *dns.Msg) { m.SetNotify("a.example.com.") }, dns.RcodeNotImplemented},
		"no question":   {func(m *dns.Msg) { m.Question = nil }, dns.RcodeFormatError},
		"two questions": {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, dns.RcodeFormatError},
		"EDNS 1":        {func(m *dns.Msg) { m.SetEdns0(1232, false).IsEdns0().SetVersion(1) }, dns.RcodeBadVers},
	} {
		for _, conn := range conns {
			m := query("a.example.com", dns.TypeA, 0)
			c.change(m)
			if reply := ask(t, conn, m); reply.Rcode != c.rcode || len(reply.Answer) != 0 {
				t.Errorf("%s over %s: %v", name, conn.LocalAddr().Network(), reply)
			}
		}
	}
	if got := w.upstream.questions(); len(got)+len(w.seen()) != 0 {
		t.Errorf("%v, %q", got, w.seen())
	}
}

// Responses and packets without a header have no answer, and what cannot be read has one with its id.
func TestMalformedMessages(t *testing.T) {
	w := newWorld(t, each("1.1.1.1"))
	response := query("a.example.com", dns.TypeA, 0)
	response.Response = true
	silent, err := response.Pack()
	if err != nil {
		t.Fatal(err)
	}
	loop := append([]byte{7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 0xc0, 12, 0, 1, 0, 1)
	udp := w.dial(t, "udp", "127.0.0.1")
	for _, b := range [][]byte{silent, {}, {1}, silent[:11], loop} {
		if _, err := udp.Conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if reply := receive(t, udp); reply.Id != 0x0707 || reply.Rcode != dns.RcodeFormatError { // The first that comes.
		t.Errorf("%v", reply)
	}
	ask(t, udp, query("a.example.com", dns.TypeA, 0))
	long := query("a.example.com", dns.TypeA, 1232)
	long.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, maxQuery)}}
	tooLong, err := long.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{silent, {}, {1}, tooLong} { // Over TCP the connection ends.
		tcp := w.dial(t, "tcp", "127.0.0.1")
		if err := writeFramed(tcp.Conn, b); err != nil {
			t.Fatal(err)
		}
		if m, err := tcp.ReadMsg(); err == nil {
			t.Errorf("%.20q has the answer %v", b, m)
		}
	}
}

func TestAnswersFitTheTransport(t *testing.T) {
	w := newWorld(t, func(q *dns.Msg, network string) [][]byte {
		var answer []dns.RR
		for i := range 40 {
			line := fmt.Sprintf("%s 60 IN A 1.1.1.%d", q.Question[0].Name, i+1)
			if q.Question[0].Qtype == dns.TypeTXT {
				line = fmt.Sprintf(`%s 60 IN TXT "%d %s"`, q.Question[0].Name, i, strings.Repeat("x", 200))
			}
			answer = append(answer, rrs(line)...)
		}
		if network == "udp" {
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Truncated = true })}
		}
		return [][]byte{replyTo(q, nil, answer...)}
	})
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 49) + ".example.com"
	for _, c := range []struct {
		network   string
		kind      uint16
		edns      uint16
		size      int
		truncated bool
	}{
		{"udp", dns.TypeA, 0, 512, true}, {"udp", dns.TypeA, 1, 512, true}, {"udp", dns.TypeA, 4096, 1232, false}, {"tcp", dns.TypeA, 0, 65535, false},
		{"udp", dns.TypeTXT, 0, 512, true}, {"udp", dns.TypeTXT, 700, 700, true}, {"udp", dns.TypeTXT, 65535, 1232, true}, {"tcp", dns.TypeTXT, 512, 65535, false},
	} {
		reply := ask(t, w.dial(t, c.network, "127.0.0.1"), query(long, c.kind, c.edns))
		reply.Compress = true
		if reply.Truncated != c.truncated || reply.Len() > c.size || len(reply.Answer) == 0 || !c.truncated && len(reply.Answer) < maxAddrs {
			t.Errorf("%v: %d records in %d bytes, truncated %v", c, len(reply.Answer), reply.Len(), reply.Truncated)
		}
	}
}
