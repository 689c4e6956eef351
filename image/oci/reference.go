//go:build linux

package oci

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

const dockerHub = "docker.io"

// The library accepts more: "../x" would be a host "..", and a repository may have empty parts.
var (
	registryForm   = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$`)
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
)

// Normal returns the whole form of a reference: docker.io/library/ubuntu:latest for
// ubuntu. Of a reference with tag and digest, the digest counts.
func Normal(reference string) (string, error) {
	// The library's name of Docker Hub is one of its hosts.
	ref, err := name.ParseReference(reference)
	if err != nil {
		return "", fmt.Errorf("reference %.300q: %w", reference, err)
	}
	if c := ref.Context(); !registryForm.MatchString(c.RegistryStr()) || !repositoryForm.MatchString(c.RepositoryStr()) {
		return "", fmt.Errorf("reference %.300q must be of the form registry/repository:tag or registry/repository@digest", reference)
	}
	full := ref.Name()
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		full = dockerHub + "/" + rest
	}
	return full, nil
}
