package sandbox

import (
	"errors"
	"time"
)

// TemplateRequest asks for a template, or for another build of one.
type TemplateRequest struct {
	// Name is 1 to 128 of [a-z0-9_-], with a namespace and a slash before it or without.
	// If a template has it, the build is another one of that template.
	Name string
	// Tags name the build when it is ready; none is DefaultTag.
	Tags []string
	// VCPUs and MemoryMiB are those of its sandboxes; 0 is the node's size.
	VCPUs, MemoryMiB int
	// MinFreeDiskMiB is how much disk space its sandboxes have at least, behind the steps of the build; 0 asks for none.
	MinFreeDiskMiB int
	KeyID          string
}

// DefaultTag is the tag of a build that nothing else was said about.
const DefaultTag = "default"

// BuildState is the state of a build.
type BuildState string

// The states of a build. Ready and failed ones stay as they are.
const (
	BuildWaiting  BuildState = "waiting" // for its recipe
	BuildBuilding BuildState = "building"
	BuildReady    BuildState = "ready"
	BuildFailed   BuildState = "error"
)

// Build is one build of a template.
type Build struct {
	// ID is a UUID.
	ID         string
	TemplateID string
	// Name is that of the template.
	Name  string
	Tags  []string // asked for; of a build that is ready, those that it has
	State BuildState
	// Failure says why a build failed; it is nil for others.
	Failure                   *BuildFailure
	VCPUs, MemoryMiB, DiskMiB int
	CreatedAt                 time.Time
	FinishedAt                time.Time // zero until it is ready or failed
	KeyID                     string
}

// The steps of a build that no instruction of its recipe asks for.
const (
	StepBase     = "base"     // getting the image or the template that it begins with
	StepFinalize = "finalize" // the commands that start it, and the snapshot
)

// BuildFailure is the reason why a build failed.
type BuildFailure struct {
	// Step is StepBase, StepFinalize or the number of an instruction, from 1.
	Step    string
	Message string
}

// Recipe is what a build does. It begins with an image or with a template.
type Recipe struct {
	FromImage, FromTemplate string
	// Registry are the credentials for FromImage; nil is none.
	Registry *Registry
	Steps    []RecipeStep
	// StartCmd runs when the steps are done, and is still running in every sandbox. ReadyCmd is repeated
	// until it succeeds; then the snapshot is taken. Both may be empty.
	StartCmd, ReadyCmd string
	// WarmUp are commands that run one after the other when the template is ready, before the snapshot is taken: what
	// they load into caches is there in every sandbox.
	WarmUp []string
	// Force does all steps, also those that were done before in another build.
	Force bool
}

// Registry are credentials for a registry. Type is "registry", "aws" or "gcp".
type Registry struct {
	Type               string
	Username, Password string
	AWSAccessKeyID     string
	AWSSecretAccessKey string
	AWSRegion          string
	ServiceAccountJSON string
}

// RecipeStep is one instruction of a recipe.
type RecipeStep struct {
	// Type is COPY, RUN, WORKDIR, USER, ENV, ARG or CLONE, in capitals.
	Type string
	Args []string
	// FilesHash names the files of a COPY: 64 hexadecimal digits, by which they were uploaded.
	FilesHash string
	// Force does this step and those after it, also if they were done before.
	Force bool
}

// BuildLog is a line of a build's log.
type BuildLog struct {
	Time  time.Time
	Level string // debug, info, warn or error
	// Step is as in BuildFailure; empty is none.
	Step    string
	Message string
}

// TemplateTag is a tag of a template and its build.
type TemplateTag struct {
	Tag       string
	BuildID   string
	CreatedAt time.Time
}

var (
	// ErrBuildNotFound means that a template has no such build.
	ErrBuildNotFound = errors.New("build not found")
	// ErrTagNotFound means that a template has no such tag.
	ErrTagNotFound = errors.New("tag not found")
)

// Defaults are what a template gives its sandboxes: how commands run that do not say it themselves, and its repository. An
// empty field is as without a template.
type Defaults struct {
	User       string     `json:"user,omitempty"`
	Workdir    string     `json:"workdir,omitempty"`
	Repository Repository `json:"repository,omitzero"`
}

// Empty reports whether no default is set.
func (d Defaults) Empty() bool { return d == Defaults{} }
