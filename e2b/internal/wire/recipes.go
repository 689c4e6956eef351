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

// Recipe reads the recipe of a build. Whether a build can do it is for its Check.
func Recipe(body openapi.TemplateRecipe) (sandbox.Recipe, error) {
	r := sandbox.Recipe{FromImage: body.FromImage, StartCmd: body.StartCmd, ReadyCmd: body.ReadyCmd, WarmUp: body.WarmUpCmds, Force: body.Force}
	var err error
	if body.FromTemplate != "" {
		if r.FromTemplate, err = Template(body.FromTemplate); err != nil {
			return r, err
		}
	}
	if r.Registry, err = registry(body); err != nil {
		return r, err
	}
	for _, in := range body.Steps {
		r.Steps = append(r.Steps, sandbox.RecipeStep{Type: strings.ToUpper(in.Type), Args: in.Args, FilesHash: in.FilesHash, Force: in.Force})
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
