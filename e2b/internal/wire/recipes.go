package wire

import (
	"cmp"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

const (
	// minMemoryMiB is E2B's least memory of a sandbox.
	minMemoryMiB = 128
	// MaxSteps is how many instructions a recipe may have.
	MaxSteps = 1000
	// maxText is the longest argument of a process on Linux, as which commands and values of instructions end.
	maxText = 128<<10 - 1
	// maxReference bounds the reference of an image, whose parts have 255 bytes.
	maxReference = 1024
)

// NewBuild reads the request for a build. A tag in the name is one of the tags.
func NewBuild(body openapi.TemplateBuildRequest, keyID string) (sandbox.TemplateRequest, error) {
	req := sandbox.TemplateRequest{KeyID: keyID}
	name, tag, err := ParseTemplate(cmp.Or(body.Name, body.Alias))
	if err != nil {
		return req, err
	}
	tags := slices.Clone(body.Tags)
	if tag != "" {
		tags = append([]string{tag}, tags...)
	}
	if len(tags) == 0 {
		tags = []string{defaultTag}
	}
	req.Name = name
	if req.Tags, err = ParseTags(tags); err != nil {
		return req, err
	}
	if n := body.CpuCount; n != nil {
		if *n < 1 {
			return req, refusal.Invalidf("cpuCount must be at least 1, got %d", *n)
		}
		req.VCPUs = int(*n)
	}
	if n := body.MemoryMB; n != nil {
		if *n < minMemoryMiB || *n%2 != 0 {
			return req, refusal.Invalidf("memoryMB must be an even number and at least %d, got %d", minMemoryMiB, *n)
		}
		req.MemoryMiB = int(*n)
	}
	if n := body.MinFreeDiskMb; n != nil {
		if *n < 0 {
			return req, refusal.Invalidf("minFreeDiskMb must not be negative, got %d", *n)
		}
		req.MinFreeDiskMiB = int(*n)
	}
	return req, nil
}

// Recipe reads the recipe of a build.
func Recipe(body openapi.TemplateRecipe) (sandbox.Recipe, error) {
	r := sandbox.Recipe{FromImage: body.FromImage, StartCmd: body.StartCmd, ReadyCmd: body.ReadyCmd, Force: body.Force}
	if (body.FromImage == "") == (body.FromTemplate == "") {
		return r, refusal.Invalidf("exactly one of fromImage and fromTemplate must be given")
	}
	if strings.ContainsFunc(body.FromImage, func(c rune) bool { return c <= ' ' || c > '~' }) || len(body.FromImage) > maxReference {
		return r, refusal.Invalidf("fromImage is not the reference of an image: %.64q", body.FromImage)
	}
	var err error
	if body.FromTemplate != "" {
		if r.FromTemplate, err = Template(body.FromTemplate); err != nil {
			return r, err
		}
	}
	if r.Registry, err = registry(body); err != nil {
		return r, err
	}
	for name, text := range map[string]string{"startCmd": body.StartCmd, "readyCmd": body.ReadyCmd} {
		if problem := textProblem(text); problem != "" {
			return r, refusal.Invalidf("%s %s", name, problem)
		}
	}
	if len(body.Steps) > MaxSteps {
		return r, refusal.Invalidf("a recipe can have %d steps, got %d", MaxSteps, len(body.Steps))
	}
	for i, s := range body.Steps {
		step, problem := recipeStep(s)
		if problem != "" {
			return r, refusal.Invalidf("step %d: %s", i+1, problem)
		}
		r.Steps = append(r.Steps, step)
	}
	return r, nil
}

// registry reads the credentials; nil if there are none.
func registry(body openapi.TemplateRecipe) (*sandbox.Registry, error) {
	in := body.FromImageRegistry
	if in == nil {
		return nil, nil
	}
	needed, ok := map[string][]string{
		"registry": {in.Username, in.Password},
		"aws":      {in.AwsAccessKeyId, in.AwsSecretAccessKey, in.AwsRegion},
		"gcp":      {in.ServiceAccountJson},
	}[in.Type]
	switch {
	case body.FromImage == "":
		return nil, refusal.Invalidf("fromImageRegistry needs fromImage")
	case !ok:
		return nil, refusal.Invalidf("the type of fromImageRegistry must be registry, aws or gcp; got %.64q", in.Type)
	case slices.Contains(needed, ""):
		return nil, refusal.Invalidf("fromImageRegistry of type %s has not all of its credentials", in.Type)
	}
	return &sandbox.Registry{
		Type: in.Type, Username: in.Username, Password: in.Password, AWSAccessKeyID: in.AwsAccessKeyId,
		AWSSecretAccessKey: in.AwsSecretAccessKey, AWSRegion: in.AwsRegion, ServiceAccountJSON: in.ServiceAccountJson,
	}, nil
}

// leastArgs is how many arguments an instruction has at least. More are left to what carries it out.
var leastArgs = map[string]int{"COPY": 2, "RUN": 1, "WORKDIR": 1, "USER": 1, "ENV": 2, "ARG": 2}

// recipeStep reads an instruction, or says what is wrong with it.
func recipeStep(in openapi.TemplateStep) (step sandbox.RecipeStep, problem string) {
	step = sandbox.RecipeStep{Type: strings.ToUpper(in.Type), Args: in.Args, FilesHash: in.FilesHash, Force: in.Force}
	least, ok := leastArgs[step.Type]
	switch {
	case !ok:
		return step, "the type must be COPY, RUN, WORKDIR, USER, ENV or ARG"
	case len(step.Args) < least || step.Args[0] == "":
		return step, step.Type + " has too few arguments"
	case least == 2 && step.Type != "COPY" && len(step.Args)%2 != 0:
		return step, step.Type + " must have a value for each name"
	case (step.Type == "COPY") != (step.FilesHash != ""):
		return step, "COPY, and nothing else, must have a filesHash"
	}
	if step.FilesHash != "" {
		if err := CheckHash(step.FilesHash); err != nil {
			return step, err.Error()
		}
	}
	for _, arg := range step.Args {
		if problem := textProblem(arg); problem != "" {
			return step, "an argument " + problem
		}
	}
	return step, ""
}

// textProblem says why a program cannot get a text; it is empty for others.
func textProblem(text string) string {
	switch {
	case len(text) > maxText:
		return "is longer than a program on Linux can be given"
	case strings.ContainsRune(text, 0):
		return "has a zero byte"
	}
	return ""
}
