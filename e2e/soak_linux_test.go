package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// The flags of the seven steps; scripts/soak gives them.
var (
	iterations = flag.Int("iterations", 2, "how often the seven steps are done; 0 for as long as -duration says")
	duration   = flag.Duration("duration", 0, "how long the seven steps are repeated; 0 for as often as -iterations says")
	interval   = flag.Duration("interval", 0, "pause between two iterations of the seven steps")
)

// production is how long a soak has to last to count as one of production.
const production = 24 * time.Hour

// session is one iteration of the seven steps.
type session struct {
	*node
	name                   string
	sb, restored, followUp client.Sandbox
	snapshot               client.Snapshot
	continuation           client.Continuation
	sandboxes, savedStates []string
}

// sevenSteps are the life of a session, in order. Each is attempted, whatever
// became of those before it.
var sevenSteps = []struct {
	name string
	do   func(s *session, ctx context.Context) error
}{
	{"CreateSandbox", (*session).create},
	{"RunCommand", (*session).command},
	{"WriteFile", (*session).writeFile},
	{"SaveSnapshot", (*session).saveSnapshot},
	{"RestoreSnapshot", (*session).restoreSnapshot},
	{"FollowUpPrompt", (*session).followUpPrompt},
	{"Cleanup", (*session).cleanUp},
}

func (s *session) create(ctx context.Context) (err error) {
	if s.sb, err = s.api.Create(ctx, "base", live); err == nil {
		s.sandboxes = append(s.sandboxes, s.sb.ID)
	}
	return err
}

func (s *session) command(ctx context.Context) error {
	return s.says(ctx, s.sb, "echo "+s.name+" | tee ~/said", s.name+"\n")
}

func (s *session) says(ctx context.Context, sb client.Sandbox, command, want string) error {
	return says(ctx, s.api, sb, command, want)
}

// says runs a command that must answer.
func says(ctx context.Context, api client.API, sb client.Sandbox, command, want string) error {
	out, err := run(ctx, api, sb, command)
	if err == nil && out != want {
		err = fmt.Errorf("%s answers %q, want %q", sb.ID, out, want)
	}
	return err
}

func (s *session) writeFile(ctx context.Context) error {
	if err := upload(ctx, s.api, s.sb, "/home/user/written", s.name); err != nil {
		return err
	}
	return s.says(ctx, s.sb, "cat ~/written", s.name)
}

func (s *session) saveSnapshot(ctx context.Context) (err error) {
	if s.snapshot, err = s.api.Snapshot(ctx, s.sb.ID, ""); err == nil {
		s.savedStates = append(s.savedStates, s.snapshot.ID)
	}
	return err
}

func (s *session) restoreSnapshot(ctx context.Context) (err error) {
	if s.restored, err = s.api.Create(ctx, s.snapshot.ID, live); err != nil {
		return err
	}
	s.sandboxes = append(s.sandboxes, s.restored.ID)
	return s.says(ctx, s.restored, "cat ~/said ~/written", s.name+"\n"+s.name)
}

func (s *session) followUpPrompt(ctx context.Context) (err error) {
	if s.continuation, err = s.api.Capture(ctx, s.sb.ID, "idle"); err != nil {
		return err
	}
	s.savedStates = append(s.savedStates, s.continuation.ID)
	if s.followUp, err = s.api.FollowUp(ctx, s.continuation.ID, client.CreateOptions{Timeout: live}); err != nil {
		return err
	}
	s.sandboxes = append(s.sandboxes, s.followUp.ID)
	return s.says(ctx, s.followUp, "cat ~/said ~/written", s.name+"\n"+s.name)
}

func (s *session) cleanUp(ctx context.Context) error {
	for _, id := range s.sandboxes {
		if err := s.api.Kill(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range s.savedStates {
		if err := s.api.DeleteSnapshot(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// upload writes a file by the agent's HTTP API.
func upload(ctx context.Context, api client.API, sb client.Sandbox, path, content string) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", path)
	if err != nil {
		return err
	}
	if _, err := part.Write([]byte(content)); err != nil {
		return err
	}
	if err := form.Close(); err != nil {
		return err
	}
	query := url.Values{"path": {path}, "username": {"user"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api.URL+"/files?"+query.Encode(), &body)
	if err != nil {
		return err
	}
	agent := api.Agent(sb)
	req.Header = agent.Header.Clone()
	req.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := agent.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("write %s: %s", path, resp.Status)
	}
	return nil
}

// TestSoakDoesTheSevenStepsAgainAndAgainWithoutAFailure goes on for as long as
// its flags say, and looks after each iteration for what is left.
func TestSoakDoesTheSevenStepsAgainAndAgainWithoutAFailure(t *testing.T) {
	n := newNode(t, "--warm=1", "--prepared=1")
	begin, told := time.Now(), time.Now()
	failures := map[string]int{}
	took := map[string][]time.Duration{}
	done := 0
	for more := true; more && !t.Failed(); more = goesOn(done, begin) {
		if done > 0 {
			<-time.After(*interval)
		}
		s := &session{node: n, name: fmt.Sprintf("session %d", done)}
		for _, step := range sevenSteps {
			ctx, cancel := context.WithTimeout(t.Context(), operationTimeout)
			at := time.Now()
			if err := step.do(s, ctx); err != nil {
				failures[step.name]++
				t.Errorf("iteration %d: %s: %v", done, step.name, err)
			}
			took[step.name] = append(took[step.name], time.Since(at))
			cancel()
		}
		n.checkConsistent(t)
		if done++; time.Since(told) > time.Minute {
			told = time.Now()
			t.Logf("%d iterations in %v", done, time.Since(begin).Round(time.Second))
		}
	}
	n.finish(t)
	figures := map[string]any{"iterations": done, "seconds": time.Since(begin).Seconds(), "failures": failures,
		"clean_end": !t.Failed(), "production": time.Since(begin) >= production && !t.Failed()}
	for _, name := range slices.Sorted(maps.Keys(took)) {
		figures["median_ms_"+name] = median(took[name]).Milliseconds()
	}
	record(t, "seven steps", figures)
}

// goesOn reports whether neither the count nor the time has been reached.
func goesOn(done int, begin time.Time) bool {
	return (*iterations > 0 || *duration > 0) && (*iterations == 0 || done < *iterations) && (*duration == 0 || time.Since(begin) < *duration)
}
