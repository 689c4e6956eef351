package templates

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/client/dockerfile"
)

// screen does what a terminal does with the output.
type screen struct {
	t     *testing.T
	lines []string
}

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	var up int
	if n, _ := fmt.Sscanf(text, "\x1b[%dA\x1b[J", &up); n == 1 {
		s.lines = s.lines[:len(s.lines)-up]
		text = text[strings.Index(text, "J")+1:]
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.Contains(line, "\x1b") {
			s.t.Errorf("an escape in %q", line)
		}
		s.lines = append(s.lines, line)
	}
	return len(p), nil
}

func TestATerminalShowsWhatIsRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := dockerfile.Read("FROM a\nRUN one\nRUN "+strings.Repeat("long ", 40), dockerfile.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := &screen{t: t}
		p := newPlan("Dockerfile", r)
		v := newTerminal(s, p, func() int { return 40 })
		progress := follow(p, v)
		log := func(step, message string) {
			progress(client.BuildProgress{Log: &client.BuildLog{Time: time.Now(), Level: "info", Step: step, Message: message}})
		}
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(s.lines, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(s.lines, "\n"), strings.Join(want, "\n"))
			}
		}
		progress(client.BuildProgress{Begun: &client.BuildRef{}})
		expect("> waiting for the server (0s)")
		progress(client.BuildProgress{Upload: &client.UploadProgress{Step: 3, Sent: 1 << 20, Size: 5 << 20}})
		time.Sleep(redraw + 1)
		expect("> 3/6 files of COPY: sending 5.0 MiB, …")
		progress(client.BuildProgress{Upload: &client.UploadProgress{Step: 3, Present: true, Done: true}})
		files := "3/6 files of COPY: the server has them, 0 B"
		expect(files, "> waiting for the server (0s)")
		log("1", "CACHED [builder 1/6] USER root")
		log("2", "[builder 2/6] WORKDIR /")
		time.Sleep(time.Second)
		log("3", "[builder 3/6] RUN one")
		for i := range 10 {
			log("3", fmt.Sprintf("out\x1b[2J %d", i))
		}
		time.Sleep(2*time.Second + redraw)
		before := []string{files, "cached 1/6 USER root", "done   2/6 WORKDIR / (1s)"}
		expect(append(before, "> 3/6 line 2: RUN one (2s)", "    out 4", "    out 5", "    out 6", "    out 7", "    out 8", "    out 9")...)
		log("4", "[builder 4/6] RUN long")
		log("4", "bad")
		took := "done   3/6 line 2: RUN one (2.2s)"
		time.Sleep(redraw)
		expect(append(before, took, "> 4/6 line 3: RUN long long long long …", "    bad")...)
		v.end(client.BuildRef{}, &client.BuildError{Step: "4", Message: "x"})
		last := s.lines[len(s.lines)-2:]
		if len(s.lines) != len(before)+3 || !strings.HasPrefix(last[0], "FAILED 4/6 line 3: RUN long") || last[1] != "    bad" {
			t.Errorf("the end is %q", s.lines)
		}
	})
}

func TestATerminalIsLeftAsItIsWhenTheClientGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &screen{t: t}
		p := newPlan("Dockerfile", dockerfile.Recipe{Steps: make([]dockerfile.Step, 1)})
		v := newTerminal(s, p, func() int { return 40 })
		follow(p, v)(client.BuildProgress{Log: &client.BuildLog{Step: "1", Message: "[builder 1/1]"}})
		v.end(client.BuildRef{}, errors.New("interrupted"))
		if len(s.lines) != 0 || p.states[0].state != running {
			t.Errorf("%q, %+v", s.lines, p.states)
		}
	})
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		text string
		most int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"", 0, ""}, {"abc", 0, "…"}, {"漢字漢字", 8, "漢字漢字"}, {"漢字漢字", 6, "漢字…"}, {"äöüß", 3, "äö…"}} {
		if got := shorten(tt.text, tt.most); got != tt.want {
			t.Errorf("%q in %d: %q, want %q", tt.text, tt.most, got, tt.want)
		}
	}
}
