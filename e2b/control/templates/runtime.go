package templates

import (
	"context"
	"io"

	"github.com/rundlet/rundlet/sandbox"
)

// Builds is the part of a runtime that builds templates. All methods are safe for concurrent use
// and return the error classes of package sandbox. A template is named by its id, its name, or with the
// tag of a build after a colon.
type Builds interface {
	// BeginBuild makes a template, or finds it by its name, and a build of it that waits for its recipe.
	BeginBuild(ctx context.Context, req sandbox.TemplateRequest) (sandbox.Build, error)
	// HasFiles reports whether the files of a COPY are there.
	HasFiles(ctx context.Context, templateID, hash string) (bool, error)
	// PutFiles keeps the files of a COPY, a tar archive, compressed by gzip or not. What is there already stays.
	PutFiles(ctx context.Context, templateID, hash string, archive io.Reader) error
	// StartBuild gives a build its recipe and returns; the build goes on. ErrConflict: it has one.
	StartBuild(ctx context.Context, templateID, buildID string, recipe sandbox.Recipe) error
	// GetBuild returns a build; ErrBuildNotFound.
	GetBuild(ctx context.Context, templateID, buildID string) (sandbox.Build, error)
	// BuildLogs returns lines of a build's log, the oldest first, from the line with the number from (0 is the first),
	// at most limit of them.
	BuildLogs(ctx context.Context, templateID, buildID string, from, limit int) ([]sandbox.BuildLog, error)
	// TemplateBuilds returns the builds of a template, newest first.
	TemplateBuilds(ctx context.Context, templateID string) ([]sandbox.Build, error)
	// DeleteTemplate removes a template with its builds; ErrTemplateNotFound. Its sandboxes go on.
	DeleteTemplate(ctx context.Context, nameOrID string) error
	// SetPublic notes whether a template is public; nothing follows from it on a machine of one owner.
	SetPublic(ctx context.Context, nameOrID string, public bool) error
	// Tag gives the build that target ("name:tag", or a name alone for the default tag) names more tags.
	Tag(ctx context.Context, target string, tags []string) (sandbox.Build, error)
	// Untag takes tags away from a template. The default tag stays: ErrInvalid.
	Untag(ctx context.Context, name string, tags []string) error
	// Tags lists the tags of a template, by name.
	Tags(ctx context.Context, nameOrID string) ([]sandbox.TemplateTag, error)
}

// Runtime is the part of a runtime that the operations of templates use.
type Runtime interface {
	Builds
	// Templates lists the templates that a sandbox can be created from.
	Templates(ctx context.Context) ([]sandbox.Template, error)
	// Template finds one by id or alias, with or without a tag.
	Template(ctx context.Context, name string) (sandbox.Template, error)
	// WarmTemplates lists how many machines of which templates are kept running, by name.
	WarmTemplates(ctx context.Context) ([]sandbox.WarmTemplate, error)
	// KeepWarm keeps so many machines of a template running; nil: as many as the daemon was started with. ErrInvalid,
	// ErrTemplateNotFound.
	KeepWarm(ctx context.Context, name string, ready *int) error
	Snapshots(ctx context.Context, f sandbox.SnapshotFilter) ([]sandbox.Snapshot, error)
	// DeleteSnapshot removes a snapshot by id or name; ErrSnapshotNotFound.
	DeleteSnapshot(ctx context.Context, idOrName string) error
}
