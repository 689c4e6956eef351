package envd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// CopyParameter is the query parameter with a CopyRequest in JSON: the body of the request is the archive.
const CopyParameter = "request"

// CopyRequest is a COPY step of a template's build.
type CopyRequest struct {
	// Source is a path or a pattern as the user wrote it, relative to the context. The archive has what it matches.
	// What a path leads to is copied: a file or a link as it is, of a directory all that is in it. Of a pattern,
	// which has *, ?, [, { or an extended form such as @(a|b) that no backslash precedes, the whole archive is
	// copied, with its paths below the directory in front of the pattern. What may be a pattern, but is the name of
	// something in the archive, and has neither * nor ?, is that path.
	Source string `json:"source"`
	// Destination is where a file, or what is in a directory, becomes. It is a directory that a file is put into
	// if it ends with a slash, is empty, "." or "~", or if a directory is there. A relative one begins at Workdir, and
	// "~" is the home of User.
	Destination string `json:"destination"`
	// Workdir is an absolute path, or one that begins at the home of User; empty is that home.
	Workdir string `json:"workdir,omitempty"`
	// User is the user of the step: a name or a number; empty is the default user of InitRequest.
	User string `json:"user,omitempty"`
	// Owner gets what is copied, and directories that are made for it: "user" or "user:group", names or numbers. Without a group
	// it is the user's. Empty is User.
	Owner string `json:"owner,omitempty"`
	// Mode is octal, such as "0755", for all files and directories that the archive has entries for. Empty keeps
	// theirs, without set-id and sticky bits.
	Mode string `json:"mode,omitempty"`
}

// Copy unpacks an archive in the guest and puts what the request names to its destination: a tar file, plain or
// compressed with gzip, with paths relative to the context. Entries can be files, directories, symbolic links, which are
// kept whatever they lead to, and hard links; owners in it are ignored, times are kept. The destination is not
// touched before the archive is complete, and an archive that breaks off leaves nothing. Files and links at the
// destination are replaced one by one, each as a whole; directories stay as they are and get the new entries. A file does
// not replace a directory, or the other way round. A step that fails then leaves what it has replaced.
//
// The agent must be initialised, else the control token is not its own, and reads no further if nothing arrives for a minute. Copy reads the archive in the calling
// goroutine; a Read that hangs holds it up, whatever becomes of ctx. Errors are as for Init, and those of archive,
// wrapped. A *StatusError has a line for the author of the step in its Message, with http.StatusBadRequest if the step or
// the archive is wrong, and http.StatusInsufficientStorage if the guest's disk is full; one with http.StatusNotFound is
// that of an agent that cannot do it.
func Copy(ctx context.Context, dial Dial, controlToken string, req CopyRequest, archive io.Reader) error {
	text, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("agent copy: encode: %w", err)
	}
	conn, err := dial(ctx)
	if err != nil {
		return fmt.Errorf("agent copy: %w: %w", ErrUnreachable, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer := make(chan error, 1)
	go func() { answer <- copied(ctx, conn) }()
	body := &source{Reader: archive}
	sendErr := upload(text, controlToken, body).Write(conn)
	if body.err != nil {
		conn.Close()
		<-answer
		return fmt.Errorf("agent copy: read the archive: %w", body.err)
	}
	if err := <-answer; err != nil {
		return err
	}
	if sendErr != nil { // It cannot have copied what it has not read.
		return broken(ctx, "copy", sendErr)
	}
	return nil
}

// copied waits for the agent's answer. An early one ends the upload: the agent reads no further.
func copied(ctx context.Context, conn net.Conn) error {
	defer func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) }()
	resp, err := http.ReadResponse(bufio.NewReader(&io.LimitedReader{R: conn, N: maxReply}), nil)
	if err != nil {
		return broken(ctx, "copy", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	return replyError("copy", resp)
}

// upload is a request with a body of unknown length.
func upload(text []byte, token string, body io.Reader) *http.Request {
	return &http.Request{
		Method: http.MethodPost,
		Host:   "agent",
		URL:    &url.URL{Path: CopyPath, RawQuery: url.Values{CopyParameter: {string(text)}}.Encode()},
		Header: http.Header{ControlTokenHeader: {token}, "Content-Type": {"application/x-tar"}},
		Body:   io.NopCloser(body),
		Close:  true, ContentLength: -1,
	}
}

// source keeps an error of what is read apart from those of the connection.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
