package wire

import (
	"slices"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// maxTags is how many tags one request may have.
const maxTags = 100

// ParseTemplate reads the name or id of a template, with or without a tag, which is empty then. Both are in lower case.
func ParseTemplate(text string) (name, tag string, err error) {
	name, tag, tagged := strings.Cut(strings.ToLower(text), ":")
	switch {
	case name == "":
		return "", "", refusal.Invalidf("the name of the template is missing")
	case !sandbox.ValidTemplateName(name):
		return "", "", refusal.Invalidf("the name of a template is [namespace/]name[:tag] of letters, digits, hyphens and underscores, and not longer than %d bytes; got %.64q", sandbox.MaxTemplateName, text)
	case tagged:
		tag, err = parseTag(tag)
	}
	return name, tag, err
}

// Template is ParseTemplate in the form of the runtime: the default tag is left out.
func Template(text string) (string, error) {
	name, tag, err := ParseTemplate(text)
	if err != nil || tag == "" {
		return name, err
	}
	return BareName(name + ":" + tag), nil
}

// parseTag reads a tag in lower case.
func parseTag(text string) (string, error) {
	tag := strings.ToLower(text)
	switch {
	case sandbox.ValidBuildID(tag):
		return "", refusal.Invalidf("a tag must not be a UUID; got %q", text)
	case !sandbox.ValidTag(tag):
		return "", refusal.Invalidf("a tag is 1 to 128 letters, digits, hyphens, underscores and dots; got %.64q", text)
	}
	return tag, nil
}

// ParseTags reads at least one tag, each of which it returns once.
func ParseTags(texts []string) ([]string, error) {
	if len(texts) == 0 || len(texts) > maxTags {
		return nil, refusal.Invalidf("tags must be from 1 to %d, got %d", maxTags, len(texts))
	}
	var tags []string
	for _, text := range texts {
		tag, err := parseTag(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// RemovedTags is ParseTags for tags that a template is to lose.
func RemovedTags(texts []string) ([]string, error) {
	tags, err := ParseTags(texts)
	if slices.Contains(tags, defaultTag) {
		return nil, refusal.Invalidf("the tag %q cannot be removed", defaultTag)
	}
	return tags, err
}

// CheckHash checks the hash of the files of a COPY.
func CheckHash(text string) error {
	if !sandbox.ValidFilesHash(text) {
		return refusal.Invalidf("the hash of files must be 64 lower-case hexadecimal digits; got %.80q", text)
	}
	return nil
}
