package templates

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/sandbox"
)

func newLs(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the templates, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			list, err := api.Templates(cmd.Context())
			if err != nil {
				return command.Unreachable(api, err)
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tID\tSTATE\tCPUS\tMEMORY\tBUILDS\tUPDATED")
			for _, t := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d MiB\t%d\t%s\n", strings.Join(t.Names, ", "), t.ID, t.State, t.VCPUs, t.MemoryMiB, t.BuildCount, local(t.UpdatedAt))
			}
			return w.Flush()
		},
	}
}

func local(t time.Time) string { return t.Local().Format(time.DateTime) }

// inspected is a template with its tags, as --json prints it.
type inspected struct {
	client.Template
	Tags []client.TemplateTag `json:"tags"`
}

func newInspect(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "inspect NAME", Short: "Show a template and its tags", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			t, _, err := api.Template(cmd.Context(), args[0])
			if err != nil {
				return about(args[0], api, err)
			}
			tags, err := api.TemplateTags(cmd.Context(), t.ID)
			if err != nil {
				return about(args[0], api, err)
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), inspected{t, tags})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "name\t%s\nid\t%s\nbuild\t%s (%s)\nCPUs\t%d\nmemory\t%d MiB\ndisk\t%d MiB\nbuilds\t%d\ncreated\t%s\nupdated\t%s\n",
				strings.Join(t.Names, ", "), t.ID, t.BuildID, t.State, t.VCPUs, t.MemoryMiB, t.DiskMiB, t.BuildCount, local(t.CreatedAt), local(t.UpdatedAt))
			for _, tag := range tags {
				fmt.Fprintf(w, "tag %s\t%s, since %s\n", tag.Tag, tag.BuildID, local(tag.CreatedAt))
			}
			return w.Flush()
		},
	}
}

// about adds to an error which template it is about.
func about(name string, api client.API, err error) error {
	return fmt.Errorf("template %s: %w", name, command.Unreachable(api, err))
}

// built is a build of a template, as --json prints it.
type built struct {
	client.TemplateBuild
	Tags   []string           `json:"tags"`
	Reason *client.BuildError `json:"reason,omitempty"`
}

func newHistory(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "history NAME", Short: "List the builds of a template, newest first", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			list, err := history(cmd, api, args[0])
			if err != nil {
				return about(args[0], api, err)
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "BUILD\tSTATE\tTAGS\tCREATED\tTOOK\tREASON")
			for _, b := range list {
				took, reason := "-", ""
				if b.FinishedAt != nil {
					took = b.FinishedAt.Sub(b.CreatedAt).Round(100 * time.Millisecond).String()
				}
				if b.Reason != nil {
					reason = shorten(oneLine(strings.TrimPrefix(b.Reason.Step+": "+b.Reason.Message, ": ")), 120)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.ID, b.State, strings.Join(b.Tags, ", "), local(b.CreatedAt), took, reason)
			}
			return w.Flush()
		},
	}
}

// history are the builds of a template, with their tags and the reasons of those that failed.
func history(cmd *cobra.Command, api client.API, name string) ([]built, error) {
	t, builds, err := api.Template(cmd.Context(), name)
	if err != nil {
		return nil, err
	}
	tags, err := api.TemplateTags(cmd.Context(), t.ID)
	if err != nil {
		return nil, err
	}
	list := []built{}
	for _, b := range builds {
		one := built{TemplateBuild: b, Tags: []string{}}
		for _, tag := range tags {
			if tag.BuildID == b.ID {
				one.Tags = append(one.Tags, tag.Tag)
			}
		}
		if b.State == sandbox.BuildFailed {
			s, err := api.BuildStatus(cmd.Context(), t.ID, b.ID, 0, 0)
			if err != nil {
				return nil, err
			}
			one.Reason = s.Reason
		}
		list = append(list, one)
	}
	return list, nil
}

func newRm(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Short: "Remove templates with all their builds", Args: cobra.MinimumNArgs(1),
		Long: `Remove templates with all their builds, without a question. Sandboxes of them go on.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			removed := []string{}
			var errs []error
			for _, name := range names {
				// The same request removes snapshots, which have a command: a template must have the name.
				_, _, err := api.Template(cmd.Context(), name)
				if err == nil {
					err = api.DeleteTemplate(cmd.Context(), name)
				}
				if err != nil {
					errs = append(errs, fmt.Errorf("remove %w", about(name, api, err)))
					continue
				}
				removed = append(removed, name)
			}
			if o.JSON {
				errs = append(errs, command.PrintJSON(cmd.OutOrStdout(), removed))
			}
			return errors.Join(errs...)
		},
	}
}

// tagged is what "tag" prints with --json.
type tagged struct {
	BuildID string   `json:"buildID"`
	Tags    []string `json:"tags"`
}

func newTag(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "tag NAME[:TAG] TAG...", Short: "Give a build of a template more tags", Args: cobra.MinimumNArgs(2),
		Long: `Give a build of a template more tags. NAME:TAG names the build; a NAME without a tag is
the build with the tag "default", which sandboxes have that name no tag. A tag that
another build has moves.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			id, err := api.TagTemplate(cmd.Context(), args[0], args[1:]...)
			if err != nil {
				return about(args[0], api, err)
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), tagged{id, args[1:]})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), id)
			return err
		},
	}
}
