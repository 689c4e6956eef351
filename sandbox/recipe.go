package sandbox

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The bounds of what a client may ask a build for.
const (
	MaxSteps        = 1000      // of a recipe
	MaxTemplateName = 128       // bytes, with the namespace
	maxText         = 128 << 10 // bytes, with the NUL that ends it: Linux gives no program a longer one
	maxCommand      = 64 << 10  // bytes of the commands that start a template
	MaxWarmUp       = 100       // commands that warm a template up
	maxReference    = 1024      // bytes of the reference of an image, whose parts have 255
)

var (
	templateName = regexp.MustCompile(`^([a-z0-9_-]{1,64}/)?[a-z0-9_-]+$`)
	tagName      = regexp.MustCompile(`^[a-z0-9_.-]{1,128}$`)
	uuid         = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	filesHash    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	userName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	octal        = regexp.MustCompile(`^0?[0-7]{3,4}$`)
)

// ValidTemplateName reports whether a text has the form of a template's name, in lower case and without a tag.
func ValidTemplateName(name string) bool {
	return len(name) <= MaxTemplateName && templateName.MatchString(name)
}

// ValidTag reports whether a text has the form of a tag, in lower case. An id of a build is not a tag.
func ValidTag(tag string) bool { return tagName.MatchString(tag) && !ValidBuildID(tag) }

// ValidBuildID reports whether a text has the form of the id of a build.
func ValidBuildID(id string) bool { return uuid.MatchString(id) }

// ValidFilesHash reports whether a text can name uploaded files.
func ValidFilesHash(hash string) bool { return filesHash.MatchString(hash) }

// Check returns ErrInvalid if the request cannot be served by any node.
func (r TemplateRequest) Check() error {
	if !ValidTemplateName(r.Name) {
		return fmt.Errorf("%w: template name %.128q: use [namespace/]name of a to z, 0 to 9, '_' and '-', at most %d bytes", ErrInvalid, r.Name, MaxTemplateName)
	}
	if r.VCPUs < 0 || r.MemoryMiB < 0 || r.MinFreeDiskMiB < 0 {
		return fmt.Errorf("%w: sizes must not be negative", ErrInvalid)
	}
	return CheckTags(r.Tags)
}

// CheckTags returns ErrInvalid if one of the tags is not valid.
func CheckTags(tags []string) error {
	for _, tag := range tags {
		if !ValidTag(tag) {
			return fmt.Errorf("%w: tag %.128q: use a to z, 0 to 9, '_', '-' and '.', at most 128 bytes, and not a UUID", ErrInvalid, tag)
		}
	}
	return nil
}

// Check returns ErrInvalid, with the number of the step if it is one, if no build can do the recipe.
func (r Recipe) Check() error {
	if (r.FromImage == "") == (r.FromTemplate == "") {
		return fmt.Errorf("%w: exactly one of fromImage and fromTemplate must be given", ErrInvalid)
	}
	if len(r.FromImage) > maxReference || strings.ContainsFunc(r.FromImage, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fmt.Errorf("%w: fromImage is not the reference of an image: %.64q", ErrInvalid, r.FromImage)
	}
	if r.Registry != nil && r.FromImage == "" {
		return fmt.Errorf("%w: credentials of a registry need fromImage", ErrInvalid)
	}
	for _, c := range []struct{ name, text string }{{"startCmd", r.StartCmd}, {"readyCmd", r.ReadyCmd}} {
		if len(c.text) > maxCommand || strings.ContainsRune(c.text, 0) {
			return fmt.Errorf("%w: %s has a NUL byte or more than %d bytes", ErrInvalid, c.name, maxCommand)
		}
	}
	if len(r.WarmUp) > MaxWarmUp {
		return fmt.Errorf("%w: a recipe can have %d commands that warm it up, got %d", ErrInvalid, MaxWarmUp, len(r.WarmUp))
	}
	for _, command := range r.WarmUp {
		if command == "" || len(command) > maxCommand || strings.ContainsRune(command, 0) {
			return fmt.Errorf("%w: a command that warms up is empty, or has a NUL byte or more than %d bytes", ErrInvalid, maxCommand)
		}
	}
	if len(r.Steps) > MaxSteps {
		return fmt.Errorf("%w: a recipe can have %d steps, got %d", ErrInvalid, MaxSteps, len(r.Steps))
	}
	clones := 0
	for i, s := range r.Steps {
		if err := s.check(); err != nil {
			return fmt.Errorf("%w: step %d: %w", ErrInvalid, i+1, err)
		}
		if s.Type == "CLONE" {
			clones++
		}
		if clones > 1 {
			return fmt.Errorf("%w: step %d: a template is of one repository; use RUN git clone for others", ErrInvalid, i+1)
		}
	}
	return nil
}

// Arg returns an argument of the step; empty if it has not so many.
func (s RecipeStep) Arg(i int) string {
	if i < len(s.Args) {
		return s.Args[i]
	}
	return ""
}

func (s RecipeStep) check() error {
	for _, arg := range s.Args {
		if err := checkText(arg); err != nil {
			return fmt.Errorf("an argument %w", err)
		}
	}
	if s.Type != "COPY" && s.FilesHash != "" {
		return errors.New("only COPY has a filesHash")
	}
	first := s.Arg(0)
	switch s.Type {
	case "RUN":
		if first == "" {
			return errors.New("RUN needs a command")
		}
	case "COPY":
		switch {
		case first == "" || s.Arg(1) == "":
			return errors.New("COPY needs a source and a destination")
		case !ValidFilesHash(s.FilesHash):
			return errors.New("COPY needs filesHash, 64 lower-case hexadecimal digits")
		case s.Arg(3) != "" && !octal.MatchString(s.Arg(3)):
			return fmt.Errorf("COPY has the mode %.40q: use octal digits, as in 0755", s.Arg(3))
		}
	case "WORKDIR":
		if first == "" {
			return errors.New("WORKDIR needs a directory")
		}
	case "USER":
		if !userName.MatchString(first) {
			return fmt.Errorf("USER needs the name of a user, not %.80q", first)
		}
	case "ENV", "ARG":
		return s.checkVariables()
	case "CLONE":
		return s.checkClone()
	default:
		return fmt.Errorf("%.40q is unknown: use COPY, RUN, WORKDIR, USER, ENV, ARG or CLONE", s.Type)
	}
	return nil
}

func (s RecipeStep) checkVariables() error {
	if len(s.Args) == 0 || len(s.Args)%2 != 0 {
		return fmt.Errorf("%s needs names with their values", s.Type)
	}
	for i := 0; i < len(s.Args); i += 2 {
		if !variableName.MatchString(s.Args[i]) {
			return fmt.Errorf("%s has the name %.80q: use letters, digits and _", s.Type, s.Args[i])
		}
	}
	return nil
}

func (s RecipeStep) checkClone() error {
	if err := CheckRepositoryURL(s.Arg(0)); err != nil {
		return fmt.Errorf("CLONE: the URL %w", err)
	}
	if ref := s.Arg(1); ref != "" {
		if err := CheckRef(ref); err != nil {
			return fmt.Errorf("CLONE: the ref %.80q %w", ref, err)
		}
	}
	if strings.HasPrefix(s.Arg(2), "-") {
		return fmt.Errorf("CLONE: the directory %.80q is an option", s.Arg(2))
	}
	return nil
}

// checkText checks that a program can get a text.
func checkText(text string) error {
	switch {
	case len(text) >= maxText:
		return fmt.Errorf("has %d bytes, and Linux gives a program less than %d", len(text), maxText)
	case strings.ContainsRune(text, 0):
		return errors.New("has a NUL byte")
	}
	return nil
}
