package remote

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// headersOf reads the values of --header, with the secrets from where they say; nil for none.
func headersOf(list []string) (map[string]map[string]string, error) {
	var out map[string]map[string]string
	for _, entry := range list {
		target, source, hasSource := strings.Cut(entry, "=")
		host, name, hasName := strings.Cut(target, ":")
		// It is not quoted: "HOST: NAME: VALUE" has the value where the name belongs.
		if host == "" || name == "" || !hasName || !hasSource || strings.ContainsAny(target, " \t") || strings.Contains(name, ":") {
			return nil, errors.New("--header must be HOST:NAME=env:VARIABLE or HOST:NAME=file:PATH")
		}
		value, err := secretOf(source)
		if err != nil {
			return nil, fmt.Errorf("--header %s:%s: %w", host, name, err)
		}
		if out == nil {
			out = map[string]map[string]string{}
		}
		if out[host] == nil {
			out[host] = map[string]string{}
		}
		if _, twice := out[host][name]; twice {
			return nil, fmt.Errorf("--header: %s of %s is given twice", name, host)
		}
		out[host][name] = value
	}
	return out, nil
}

// maxSecret bounds what is read of a file; the server accepts 2048 bytes.
const maxSecret = 64 << 10

// secretOf reads a value that does not belong on a command line. No error has it, nor a source that could be one.
func secretOf(source string) (string, error) {
	kind, where, _ := strings.Cut(source, ":")
	switch kind {
	case "env":
		value := os.Getenv(where)
		if value == "" {
			return "", fmt.Errorf("the variable %q is not set or empty", where)
		}
		return value, nil
	case "file":
		return readSecret(where)
	}
	return "", fmt.Errorf("the value comes from env:VARIABLE or file:PATH, so that it is not on the command line")
}

// readSecret reads a file, which may be a pipe, without the line ends behind the value.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	value := strings.TrimRight(string(text), "\r\n")
	switch {
	case err != nil:
		return "", err
	case len(text) > maxSecret:
		return "", fmt.Errorf("%s has more than %d bytes", path, maxSecret)
	case value == "":
		return "", fmt.Errorf("%s is empty", path)
	}
	return value, nil
}

// namesOf are the names of headers by host, without their values; nil for none.
func namesOf(headers map[string]map[string]string) map[string][]string {
	if len(headers) == 0 {
		return nil
	}
	out := map[string][]string{}
	for host, set := range headers {
		out[host] = slices.Sorted(maps.Keys(set))
	}
	return out
}
