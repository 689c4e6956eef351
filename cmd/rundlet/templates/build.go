package templates

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/client/buildcontext"
	"github.com/rundlet/rundlet/client/dockerfile"
	"github.com/rundlet/rundlet/client/recipefile"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/sandbox"
)

// buildFlags are those of "template build".
type buildFlags struct {
	name, file, from, start, ready string
	tags                           []string // of a file in YAML
	cpus, memory                   int
	noCache                        bool
	args                           []string
	repo, ref                      string
	commands, warmUp               []string
}

func newBuild(o *command.Options) *cobra.Command {
	var bf buildFlags
	cmd := &cobra.Command{
		Use: "build [DIR]", Short: "Build a template from rundlet.yaml, a Dockerfile or a repository", Args: cobra.MaximumNArgs(1),
		Long: `Build a template from a Dockerfile, or from the rundlet.yaml that the directory has, with
files of a directory (the current one if none is given). Its .dockerignore says what is not
copied. Flags come before what rundlet.yaml says.

The Dockerfile has one stage. FROM names an image, or a template as in "FROM
template:base". The steps begin as root in /, and sandboxes have the user "user" and the
directory /home/user unless USER and WORKDIR say others. ARG and ENV are variables of
sandboxes, too. ENTRYPOINT and CMD run before the template is saved, and run on in each
sandbox.

With --repo, a git repository is cloned by the user, into a directory of its name, where
the commands of --run, the start command and sandboxes begin. Without DIR and --file there
is no Dockerfile: the template begins with --from-template, or base. A sandbox of a
template of a branch is brought to the newest commit of it when it is created, and takes
no writes until it is.

  rundlet template build --name app --repo https://git.example.com/app.git --run "npm ci"

An earlier build of the same template that is still running is cancelled, and sandboxes
of earlier builds go on. Ctrl-C stops watching the build; it goes on.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return bf.run(cmd, o, append(args, "")[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&bf.name, "name", "", "name of the template: [namespace/]name[:tag] (default the one in rundlet.yaml)")
	f.StringVar(&bf.file, "file", "", "Dockerfile, or a file in YAML whose name ends in .yaml or .yml (default rundlet.yaml in DIR if it is there, otherwise Dockerfile)")
	f.StringVar(&bf.from, "from-template", "", "template to begin with, in place of FROM")
	f.StringArrayVar(&bf.args, "build-arg", nil, "value of an ARG: NAME=VALUE, or NAME for the variable of that name")
	f.IntVar(&bf.cpus, "cpus", 0, "CPUs of its sandboxes; 0 is the server's number")
	f.IntVar(&bf.memory, "memory", 0, "memory of its sandboxes in MiB; 0 is the server's size")
	f.StringVar(&bf.start, "start", "", "command that runs on in each sandbox, in place of ENTRYPOINT and CMD")
	f.StringVar(&bf.ready, "ready", "", `command that succeeds when the start command is ready (default "sleep 20" with a start command)`)
	f.StringVar(&bf.repo, "repo", "", "URL of a git repository to clone, behind the steps of the Dockerfile")
	f.StringVar(&bf.ref, "ref", "", "branch, tag or commit to check out (default the branch that the repository says)")
	f.StringArrayVar(&bf.commands, "run", nil, "command behind the other steps; can be given several times")
	f.StringArrayVar(&bf.warmUp, "warm-up", nil, "command that fills caches when the start command is ready; can be given several times")
	f.BoolVar(&bf.noCache, "no-cache", false, "do all steps, also those that an earlier build did")
	return cmd
}

// buildArgs are the values of ARG instructions.
func (bf *buildFlags) buildArgs() (map[string]string, error) {
	out := map[string]string{}
	for _, arg := range bf.args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			value, ok = os.LookupEnv(name)
		}
		if name == "" || !ok {
			return nil, fmt.Errorf("--build-arg %q: want NAME=VALUE, or the name of a variable that is set", arg)
		}
		out[name] = value
	}
	return out, nil
}

// recipeOf reads the recipe of a file. Flags come before what it says.
func (bf *buildFlags) recipeOf(file string) (r dockerfile.Recipe, err error) {
	args, err := bf.buildArgs()
	if err != nil {
		return r, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if !isYAML(file) {
		return dockerfile.Read(string(text), dockerfile.Options{FromTemplate: bf.from, Args: args})
	}
	if len(args) > 0 {
		return r, errors.New("--build-arg is for a Dockerfile")
	}
	f, err := recipefile.Read(text, bf.from)
	bf.name, bf.cpus, bf.memory = cmp.Or(bf.name, f.Name), cmp.Or(bf.cpus, f.CPU), cmp.Or(bf.memory, f.MemoryMiB)
	bf.tags, bf.warmUp = f.Tags, append(f.WarmUp, bf.warmUp...)
	return f.Recipe, err
}

func isYAML(file string) bool {
	return strings.HasSuffix(file, ".yaml") || strings.HasSuffix(file, ".yml")
}

// recipeFile is the file that says how to build a directory.
func (bf *buildFlags) recipeFile(dir string) string {
	if bf.file != "" {
		return bf.file
	}
	if file := filepath.Join(dir, recipefile.Name); isFile(file) {
		return file
	}
	return filepath.Join(dir, "Dockerfile")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// read reads the recipe, and finds the files that it copies.
func (bf *buildFlags) read(dir *buildcontext.Context, file string) (r dockerfile.Recipe, files map[int]*buildcontext.Files, err error) {
	r, err = bf.recipeOf(file)
	if problem := new(dockerfile.Error); errors.As(err, &problem) && problem.Line > 0 {
		return r, nil, fmt.Errorf("%s:%d: %s", file, problem.Line, problem.Message)
	}
	if err != nil {
		return r, nil, fmt.Errorf("%s: %w", file, err)
	}
	if bf.start != "" {
		r.StartCmd, r.ReadyCmd = bf.start, ""
	}
	r.ReadyCmd = cmp.Or(bf.ready, r.ReadyCmd)
	files = map[int]*buildcontext.Files{}
	for i, s := range r.Steps {
		if len(s.Sources) == 0 {
			continue
		}
		if files[i], err = dir.Select(s.Sources...); err != nil {
			return r, nil, fmt.Errorf("%s:%d: %w", file, s.Line, err)
		}
	}
	return r, files, nil
}

func (bf *buildFlags) run(cmd *cobra.Command, o *command.Options, dir string) error {
	file, r, copies, closed, err := bf.source(dir)
	if err != nil {
		return err
	}
	defer closed()
	if bf.name == "" {
		return fmt.Errorf("--name is needed: %s does not say what the template is called", cmp.Or(file, "the command line"))
	}
	api, err := o.API()
	if err != nil {
		return err
	}
	recipe := sandbox.Recipe{FromImage: r.FromImage, FromTemplate: r.FromTemplate, StartCmd: r.StartCmd, ReadyCmd: r.ReadyCmd, WarmUp: bf.warmUp, Force: bf.noCache}
	for _, s := range r.Steps {
		recipe.Steps = append(recipe.Steps, s.RecipeStep)
	}
	p := newPlan(file, r)
	v := newView(cmd, o, p)
	for _, n := range r.Notes {
		v.note(n)
	}
	started := false
	report := follow(p, v)
	ref, err := api.Build(cmd.Context(), client.BuildOptions{
		TemplateRequest: client.TemplateRequest{Name: bf.name, Tags: bf.tags, VCPUs: bf.cpus, MemoryMiB: bf.memory}, Recipe: recipe, Files: copies,
		Progress: func(e client.BuildProgress) {
			started = started || e.Started != nil
			report(e)
		},
	})
	v.end(ref, err)
	return bf.outcome(cmd, o, p, ref, started, command.Unreachable(api, err))
}

// newView is the view that fits what the output goes to.
func newView(cmd *cobra.Command, o *command.Options, p *plan) view {
	if o.JSON {
		return &lines{enc: json.NewEncoder(cmd.OutOrStdout()), p: p}
	}
	if f, ok := cmd.ErrOrStderr().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return newTerminal(f, p, func() int {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
				return width
			}
			return 80
		})
	}
	return &plain{cmd.ErrOrStderr(), p}
}

// outcome prints how a build ended, or how to follow one whose watcher was interrupted, and returns the error of the command.
func (bf *buildFlags) outcome(cmd *cobra.Command, o *command.Options, p *plan, ref client.BuildRef, started bool, err error) error {
	reason := new(client.BuildError)
	switch {
	case err == nil && o.JSON:
		return nil // The last line says it.
	case err == nil:
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is ready: template %s, build %s\n", bf.name, ref.TemplateID, ref.BuildID)
		return err
	case cmd.Context().Err() != nil && started:
		fmt.Fprintf(cmd.ErrOrStderr(), "The build goes on. To watch it:\n  rundlet template logs --follow %s %s\nTo see how it ended:\n  rundlet template history %s\n",
			ref.TemplateID, ref.BuildID, ref.TemplateID)
		return context.Canceled
	case cmd.Context().Err() != nil:
		fmt.Fprintln(cmd.ErrOrStderr(), "The build was not started.")
		return context.Canceled
	case errors.As(err, &reason):
		return p.explain(reason)
	case started:
		return fmt.Errorf("%w; the build may go on: see rundlet template history %s", err, ref.TemplateID)
	}
	return err
}
