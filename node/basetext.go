package node

import (
	"fmt"
	"strings"
)

// What the base is made of, as texts; the last one has the name of a container image behind it.
const (
	BaseDirectory   = "directory"
	BaseOfHost      = "image"
	BaseOfContainer = "container:"
)

// ParseBase reads such a text for the fields BaseImage and BaseContainer of a Config.
func ParseBase(text string) (image bool, container string, err error) {
	name, isContainer := strings.CutPrefix(text, BaseOfContainer)
	switch {
	case text == BaseDirectory || text == BaseOfHost:
		return text == BaseOfHost, "", nil
	case isContainer && name != "":
		return false, name, nil
	}
	return false, "", fmt.Errorf("the base must be %s, %s or %sNAME, got %q", BaseDirectory, BaseOfHost, BaseOfContainer, text)
}
