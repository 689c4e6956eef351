package envd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// RootState is what the guest has beside the names and contents of its root. The guest may lie.
type RootState struct {
	// Lost are reasons why a machine that boots from the files of the root is another one, such as a process: a few of them.
	Lost []string `json:"lost,omitempty"`
	// LayerBytes is about how much the guest has written to its root, and LargestBytes the size of the largest file that it wrote.
	LayerBytes   int64 `json:"layer_bytes"`
	LargestBytes int64 `json:"largest_bytes"`
	// Extras are the files and attributes that an image of the root cannot have, for RestoreExtras.
	Extras []Extra `json:"extras,omitempty"`
}

// Extra is a named pipe, a socket, a device or, with a Mode of any other type, a file that is there and gets attributes.
type Extra struct {
	Path       []byte            `json:"path"` // Absolute; not all names are text.
	Mode       uint32            `json:"mode"` // Type and permissions, as in stat.
	UID        uint32            `json:"uid,omitempty"`
	GID        uint32            `json:"gid,omitempty"`
	Device     uint64            `json:"device,omitempty"`
	Modified   int64             `json:"modified,omitempty"` // In nanoseconds.
	Attributes map[string][]byte `json:"attributes,omitempty"`
}

// ExtrasRequest is the body of RootPath.
type ExtrasRequest struct {
	Extras []Extra `json:"extras"`
}

// maxRootReply bounds a RootState, and an ExtrasRequest, in JSON. The agent reports more as lost.
const maxRootReply = 1 << 20

// RootLeast is the parameter of RootPath with the bytes below which the agent does not look at all files.
const RootLeast = "least"

// Root asks what the guest has beside the files of its root; the agent looks at all of them, unless it has written less than least bytes: then
// the answer is LayerBytes alone. The agent must be initialised. Errors are as for Init; a *StatusError with http.StatusNotFound is that of
// an agent that cannot do it.
func Root(ctx context.Context, dial Dial, controlToken string, least int64) (RootState, error) {
	var state RootState
	err := read(ctx, dial, controlToken, RootPath+"?"+RootLeast+"="+strconv.FormatInt(least, 10), maxRootReply, func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&state)
	})
	return state, err
}

// read asks for a path, and passes on the body of the answer, which has at most so many bytes with its head.
func read(ctx context.Context, dial Dial, controlToken, path string, most int64, body func(io.Reader) error) error {
	const op = "root"
	conn, err := dial(ctx)
	if err != nil {
		return fmt.Errorf("agent %s: %w: %w", op, ErrUnreachable, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := "GET " + path + " HTTP/1.1\r\nHost: agent\r\n" + ControlTokenHeader + ": " + controlToken + "\r\nConnection: close\r\n\r\n"
	resp, _, err := exchange(ctx, conn, op, []byte(request), most)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return replyError(op, resp)
	}
	if err := body(resp.Body); err != nil {
		return broken(ctx, op, err)
	}
	return nil
}

// RootTimes writes the times of change of all files of the guest's root whose time has a fraction of a second, to w: for each its absolute path,
// a NUL, and eight bytes with the nanoseconds since 1970, the highest first. The caller bounds what w takes. Errors are as for Root, and those
// of w, wrapped.
func RootTimes(ctx context.Context, dial Dial, controlToken string, w io.Writer) error {
	return read(ctx, dial, controlToken, RootTimesPath, math.MaxInt64, func(body io.Reader) error {
		_, err := io.Copy(w, body)
		return err
	})
}

// RestoreExtras makes what Root has returned in another machine, whose root has the same files. Errors are as for Root.
func RestoreExtras(ctx context.Context, dial Dial, controlToken string, extras []Extra) error {
	body, err := json.Marshal(ExtrasRequest{extras})
	if err != nil {
		return fmt.Errorf("agent root: encode: %w", err)
	}
	return roundTrip(ctx, dial, "root", post(RootPath, controlToken, body))
}
