package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rundlet/rundlet/client/buildcontext"
	"github.com/rundlet/rundlet/sandbox"
)

// BuildOptions say what to build.
type BuildOptions struct {
	TemplateRequest
	Recipe sandbox.Recipe
	// Files are those of COPY steps, by the index of the step. Build fills in the hash and the source of such a step, and uploads what the
	// server has not.
	Files map[int]*buildcontext.Files
	// Progress is called with what happens, from one goroutine at a time; nil is not called. It must not block.
	Progress func(BuildProgress)
}

// BuildProgress is one event of a build. One of its fields is set.
type BuildProgress struct {
	// Begun is the build, which waits for its recipe.
	Begun *BuildRef
	// Upload is the state of an upload.
	Upload *UploadProgress
	// Started is the build that has its recipe: from here on it goes on without its client.
	Started *BuildRef
	// Log is a line of its log.
	Log *BuildLog
}

// UploadProgress is the state of an upload of the files of a COPY.
type UploadProgress struct {
	// Step is the number of the step, from 1.
	Step int `json:"step"`
	// Sent is how many bytes of the compressed archive were sent; Size is the size of the files.
	Sent int64 `json:"sent"`
	Size int64 `json:"size"`
	// Present is set if the server has the files, and nothing is sent.
	Present bool `json:"present,omitempty"`
	Done    bool `json:"done,omitempty"`
}

// Build builds a template, and returns when it is ready. A build that failed is a *BuildError. If ctx ends after Progress had Started, the build goes
// on without its client.
func (a API) Build(ctx context.Context, o BuildOptions) (BuildRef, error) {
	if o.Progress == nil {
		o.Progress = func(BuildProgress) {}
	}
	recipe := o.Recipe
	recipe.Steps = slices.Clone(recipe.Steps)
	steps := slices.Sorted(maps.Keys(o.Files))
	for _, i := range steps { // Before there is a build: what cannot be read leaves none.
		s := &recipe.Steps[i]
		s.Args = append([]string{o.Files[i].Source()}, s.Args[1:]...)
		var err error
		if s.FilesHash, err = o.Files[i].Hash(); err != nil {
			return BuildRef{}, filesError(i, err)
		}
	}
	b, err := a.BeginBuild(ctx, o.TemplateRequest)
	if err != nil {
		return b, err
	}
	o.Progress(BuildProgress{Begun: &b})
	for _, i := range steps {
		if err := a.uploadFiles(ctx, b, i+1, o.Files[i], recipe.Steps[i].FilesHash, o.Progress); err != nil {
			return b, filesError(i, err)
		}
	}
	if err := a.StartBuild(ctx, b, recipe); err != nil {
		return b, err
	}
	o.Progress(BuildProgress{Started: &b})
	return b, a.WatchBuild(ctx, b.TemplateID, b.BuildID, func(l BuildLog) { o.Progress(BuildProgress{Log: &l}) })
}

func filesError(i int, err error) error {
	return &BuildError{Step: strconv.Itoa(i + 1), Message: fmt.Sprintf("send the files of COPY: %s", err), cause: err}
}

// uploadFiles sends the files of a step, unless the server has them.
func (a API) uploadFiles(ctx context.Context, b BuildRef, step int, files *buildcontext.Files, hash string, progress func(BuildProgress)) error {
	present, to, err := a.FilesLink(ctx, b.TemplateID, hash)
	if err != nil {
		return err
	}
	up := &upload{progress: progress, state: UploadProgress{Step: step, Size: files.Bytes(), Present: present, Done: present}}
	up.add(0)
	if present {
		return nil
	}
	archive, out := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := files.WriteArchive(out, hash)
		out.CloseWithError(err)
		written <- err
	}()
	up.Reader = archive
	err = a.Upload(ctx, to, up)
	archive.CloseWithError(errUnread)
	if writeErr := <-written; writeErr != nil && !errors.Is(writeErr, errUnread) {
		err = writeErr
	}
	up.end(err == nil)
	return err
}

var errUnread = errors.New("the server reads no further")

// upload reports what is read of an archive. The transport may read it for a moment after the request has ended.
type upload struct {
	io.Reader
	progress func(BuildProgress)

	mu    sync.Mutex
	state UploadProgress
	ended bool
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if n > 0 {
		u.add(int64(n))
	}
	return n, err
}

func (u *upload) add(n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return
	}
	u.state.Sent += n
	shown := u.state
	u.progress(BuildProgress{Upload: &shown})
}

// end is the last report, if the upload is done.
func (u *upload) end(done bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state.Done, u.ended = done, true; done {
		u.progress(BuildProgress{Upload: &u.state})
	}
}

// pollPause is the time between two questions for the state of a build, as the SDKs have it.
const pollPause = 200 * time.Millisecond

// WatchBuild calls yield with each line of a build's log, and returns when the build has ended: nil if it is ready, a *BuildError if it failed.
func (a API) WatchBuild(ctx context.Context, templateID, buildID string, yield func(BuildLog)) error {
	for seen := 0; ; {
		s, err := a.BuildStatus(ctx, templateID, buildID, seen, logPage)
		pause := pollPause
		if refusal := new(Error); errors.As(err, &refusal) && refusal.RetryAfter > 0 {
			s, pause, err = BuildStatus{}, refusal.RetryAfter, nil
		}
		if err != nil {
			return err
		}
		for _, l := range s.Logs {
			yield(l)
		}
		seen += len(s.Logs)
		ready, failed := s.State == sandbox.BuildReady, s.State == sandbox.BuildFailed
		switch {
		case len(s.Logs) == logPage, len(s.Logs) > 0 && (ready || failed): // There may be more.
			continue
		case ready:
			return nil
		case failed && s.Reason != nil:
			return s.Reason
		case failed:
			return &BuildError{Message: "the build failed"}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
