package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

// TemplateRequest asks for a build of a template.
type TemplateRequest struct {
	// Name is [namespace/]name[:tag].
	Name string
	// Tags name the build when it is ready, with that of Name. Without any, it is the default tag.
	Tags []string
	// VCPUs and MemoryMiB are those of its sandboxes; 0 is the server's size.
	VCPUs, MemoryMiB int
}

// BuildRef names a build.
type BuildRef struct {
	TemplateID string   `json:"templateID"`
	BuildID    string   `json:"buildID"`
	Names      []string `json:"names"`
	Tags       []string `json:"tags"`
}

func (b BuildRef) path() string {
	return templatePath(b.TemplateID) + "/builds/" + url.PathEscape(b.BuildID)
}

// BuildLog is a line of a build's log.
type BuildLog struct {
	Time  time.Time `json:"timestamp"`
	Level string    `json:"level"`
	// Step is "base", "finalize", the number of a step from 1, or empty.
	Step    string `json:"step,omitempty"`
	Message string `json:"message"`
}

// BuildStatus is the state of a build.
type BuildStatus struct {
	State sandbox.BuildState `json:"status"`
	// Logs are the lines that were asked for.
	Logs []BuildLog `json:"logEntries"`
	// Reason says why it failed; nil for others.
	Reason *BuildError `json:"reason,omitempty"`
}

// BuildError is why a build failed.
type BuildError struct {
	// Step is as in BuildLog.
	Step    string `json:"step,omitempty"`
	Message string `json:"message"`
	// Logs are the last lines of the step.
	Logs []BuildLog `json:"logEntries,omitempty"`

	cause error `json:"-"`
}

func (e *BuildError) Error() string { return e.Message }

// Unwrap is the error of what the client did for the step; nil if the server reported it.
func (e *BuildError) Unwrap() error { return e.cause }

// BeginBuild makes a build that waits for its recipe, and its template if there is none.
func (a API) BeginBuild(ctx context.Context, req TemplateRequest) (BuildRef, error) {
	body := openapi.TemplateBuildRequest{Name: req.Name, Tags: req.Tags}
	if req.VCPUs != 0 {
		body.CpuCount = number(req.VCPUs)
	}
	if req.MemoryMiB != 0 {
		body.MemoryMB = number(req.MemoryMiB)
	}
	var b BuildRef
	_, err := a.call(ctx, http.MethodPost, "/v3/templates", body, &b)
	return b, err
}

// FilesLink asks whether the server has the files of a COPY by their hash, and for a URL to upload them to.
func (a API) FilesLink(ctx context.Context, templateID, hash string) (present bool, to string, err error) {
	var answer openapi.TemplateFiles
	_, err = a.call(ctx, http.MethodGet, templatePath(templateID)+"/files/"+url.PathEscape(hash), nil, &answer)
	return answer.Present, answer.Url, err
}

// Upload sends an archive to a URL of FilesLink. If reading it fails, the server keeps nothing.
func (a API) Upload(ctx context.Context, to string, archive io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to, archive)
	if err != nil {
		return err
	}
	resp, err := a.http().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	if resp.StatusCode >= 300 {
		return refused(resp, body)
	}
	return nil
}

// StartBuild gives a build its recipe. The build goes on when it returns.
func (a API) StartBuild(ctx context.Context, b BuildRef, r sandbox.Recipe) error {
	body := openapi.TemplateRecipe{FromImage: r.FromImage, FromTemplate: r.FromTemplate, StartCmd: r.StartCmd, ReadyCmd: r.ReadyCmd, WarmUpCmds: r.WarmUp, Force: r.Force}
	for _, s := range r.Steps {
		body.Steps = append(body.Steps, openapi.TemplateStep{Type: s.Type, Args: s.Args, FilesHash: s.FilesHash, Force: s.Force})
	}
	if c := r.Registry; c != nil {
		body.FromImageRegistry = &openapi.ImageRegistry{
			Type: c.Type, Username: c.Username, Password: c.Password, AwsAccessKeyId: c.AWSAccessKeyID, AwsSecretAccessKey: c.AWSSecretAccessKey,
			AwsRegion: c.AWSRegion, ServiceAccountJson: c.ServiceAccountJSON,
		}
	}
	_, err := a.call(ctx, http.MethodPost, "/v2"+b.path(), body, nil)
	return err
}

// logPage is how many lines of a log are asked for at a time, the most that the server gives.
const logPage = 100

// BuildStatus returns the state of a build, and up to limit lines of its log behind the first offset ones; at most 100.
func (a API) BuildStatus(ctx context.Context, templateID, buildID string, offset, limit int) (BuildStatus, error) {
	var s BuildStatus
	path := BuildRef{TemplateID: templateID, BuildID: buildID}.path()
	_, err := a.call(ctx, http.MethodGet, fmt.Sprintf("%s/status?logsOffset=%d&limit=%d", path, offset, limit), nil, &s)
	return s, err
}
