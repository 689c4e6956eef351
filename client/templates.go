package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

// Template is what sandboxes are created from.
type Template struct {
	ID string `json:"templateID"`
	// BuildID is the build that its sandboxes are of, and State that build's.
	BuildID    string             `json:"buildID"`
	State      sandbox.BuildState `json:"buildStatus"`
	Names      []string           `json:"names"`
	VCPUs      int                `json:"cpuCount"`
	MemoryMiB  int                `json:"memoryMB"`
	DiskMiB    int                `json:"diskSizeMB"`
	Public     bool               `json:"public"`
	BuildCount int                `json:"buildCount"`
	CreatedAt  time.Time          `json:"createdAt"`
	UpdatedAt  time.Time          `json:"updatedAt"`
}

// TemplateBuild is one build of a template.
type TemplateBuild struct {
	ID        string             `json:"buildID"`
	State     sandbox.BuildState `json:"status"`
	VCPUs     int                `json:"cpuCount"`
	MemoryMiB int                `json:"memoryMB"`
	DiskMiB   int                `json:"diskSizeMB,omitempty"`
	CreatedAt time.Time          `json:"createdAt"`
	// FinishedAt is nil until the build is ready or has failed.
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
}

// TemplateTag is a tag of a template, and the build that it names.
type TemplateTag struct {
	Tag       string    `json:"tag"`
	BuildID   string    `json:"buildID"`
	CreatedAt time.Time `json:"createdAt"`
}

func templatePath(name string) string { return "/templates/" + url.PathEscape(name) }

// Templates returns all templates, newest first.
func (a API) Templates(ctx context.Context) ([]Template, error) {
	return pages[Template](ctx, a, "/v2/templates")
}

// Template returns a template by its id or name, with its builds, newest first.
func (a API) Template(ctx context.Context, name string) (t Template, builds []TemplateBuild, err error) {
	builds = []TemplateBuild{}
	err = eachPage(ctx, a, templatePath(name), func(page struct {
		Template
		Builds []TemplateBuild `json:"builds"`
	}) {
		t, builds = page.Template, append(builds, page.Builds...)
	})
	return t, builds, err
}

// DeleteTemplate removes a template with all its builds. Sandboxes of it go on. An *Error of code 404 says that there is none.
func (a API) DeleteTemplate(ctx context.Context, name string) error {
	_, err := a.call(ctx, http.MethodDelete, templatePath(name), nil, nil)
	return err
}

// TemplateTags returns the tags of a template.
func (a API) TemplateTags(ctx context.Context, name string) ([]TemplateTag, error) {
	tags := []TemplateTag{}
	_, err := a.call(ctx, http.MethodGet, templatePath(name)+"/tags", nil, &tags)
	return tags, err
}

// TagTemplate gives the build that target names ("name:tag", or "name" for the default tag) more tags, and returns its id. A tag moves
// from the build that had it.
func (a API) TagTemplate(ctx context.Context, target string, tags ...string) (buildID string, err error) {
	var answer openapi.AssignedTemplateTags
	_, err = a.call(ctx, http.MethodPost, "/templates/tags", openapi.NewTemplateTags{Target: target, Tags: tags}, &answer)
	return answer.BuildID, err
}

// UntagTemplate removes tags from a template. The default tag cannot be removed.
func (a API) UntagTemplate(ctx context.Context, name string, tags ...string) error {
	_, err := a.call(ctx, http.MethodDelete, "/templates/tags", openapi.OldTemplateTags{Name: name, Tags: tags}, nil)
	return err
}
