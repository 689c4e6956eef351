package templates

import (
	"cmp"
	"errors"
	"strings"

	"github.com/rundlet/rundlet/client/buildcontext"
	"github.com/rundlet/rundlet/client/dockerfile"
	"github.com/rundlet/rundlet/sandbox"
)

// source reads what a build is made from: a Dockerfile, or, with a repository and without a directory, nothing but
// flags. file is what its messages name.
func (bf *buildFlags) source(dir string) (file string, r dockerfile.Recipe, files map[int]*buildcontext.Files, closed func(), err error) {
	closed = func() {}
	if bf.ref != "" && bf.repo == "" {
		return "", r, nil, closed, errors.New("--ref needs --repo")
	}
	switch {
	case bf.repo != "" && dir == "" && bf.file == "":
		file = bf.name
		r.FromTemplate, r.StartCmd, r.ReadyCmd = cmp.Or(bf.from, "base"), bf.start, bf.ready
		if len(bf.args) > 0 {
			return "", r, nil, closed, errors.New("--build-arg needs a Dockerfile: give its directory, too")
		}
	default:
		dir = cmp.Or(dir, ".")
		var in *buildcontext.Context
		if in, err = buildcontext.Open(dir); err != nil {
			return "", r, nil, closed, err
		}
		closed = func() { in.Close() }
		file = bf.recipeFile(dir)
		if r, files, err = bf.read(in, file); err != nil {
			closed()
			return "", r, nil, func() {}, err
		}
	}
	add := func(kind string, args ...string) {
		r.Steps = append(r.Steps, dockerfile.Step{
			RecipeStep: sandbox.RecipeStep{Type: kind, Args: args}, Text: strings.TrimSpace(kind + " " + strings.Join(args, " ")),
		})
	}
	if bf.repo != "" {
		add("CLONE", bf.repo, bf.ref)
	}
	for _, command := range bf.commands {
		add("RUN", command)
	}
	return file, r, files, closed, nil
}
