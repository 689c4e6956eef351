// Package uploads makes the URLs to which clients send the files of builds, without an API key, and bounds what they
// send. It may import other packages of e2b/internal; only packages of e2b import it.
package uploads

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

const (
	// DefaultMax is the most bytes of one upload.
	DefaultMax = 4 << 30
	// LinkTime is how long a link is valid, which is as long as SDKs take for an upload. It ends with the process, too.
	LinkTime = time.Hour
	// Each upload may hold a file of the daemon. So many are there at the same time, and of one API key. The next ones wait
	// for so long: SDKs send each file once, and those of many builds together.
	allUploads, uploadsOfOne = 256, 128
	waitTime                 = time.Minute
)

// Uploads signs links and checks them. It is safe for concurrent use.
type Uploads struct {
	// Max is the most bytes of one upload, and Budget counts uploads, by API key. Wait is how long one waits for its turn. They
	// are set before use.
	Max    int64
	Budget *quota.Budget
	Wait   time.Duration

	secret []byte

	mu    sync.Mutex
	ended chan struct{} // closed when an upload ends; nil if none waits; guarded by mu
}

// New returns one whose links no other accepts.
func New() *Uploads {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // It never fails.
	return &Uploads{Max: DefaultMax, Budget: quota.NewBudget(allUploads, uploadsOfOne), Wait: waitTime, secret: secret}
}

// The parameters of a link.
const (
	paramKey       = "key"
	paramExpires   = "expires"
	paramSignature = "signature"
)

// URL is the link for the files of a template with a hash. base is the server as the client knows it, and keyID the API
// key for which the upload counts.
func (u *Uploads) URL(base, template, hash, keyID string, now time.Time) string {
	expires := strconv.FormatInt(now.Add(LinkTime).Unix(), 10)
	query := url.Values{paramKey: {keyID}, paramExpires: {expires}, paramSignature: {u.sign(template, hash, keyID, expires)}}
	return base + "/templates/" + url.PathEscape(template) + "/files/" + hash + "?" + query.Encode()
}

// sign covers all fields. Those of a link have no line feeds, and with one in a field there would be too many.
func (u *Uploads) sign(template, hash, keyID, expires string) string {
	mac := hmac.New(sha256.New, u.secret)
	mac.Write([]byte(strings.Join([]string{"upload", template, hash, expires, keyID}, "\n")))
	return "v1_" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Is reports whether a request is an upload, signed or not.
func Is(r *http.Request) bool {
	_, _, ok := named(r)
	return ok
}

// named returns the files that an upload is for.
func named(r *http.Request) (template, hash string, ok bool) {
	if r.Method != http.MethodPut {
		return "", "", false
	}
	parts := strings.Split(r.URL.EscapedPath(), "/")
	if len(parts) != 5 || parts[0] != "" || parts[1] != "templates" || parts[3] != "files" {
		return "", "", false
	}
	template, err := url.PathUnescape(parts[2])
	return template, parts[4], err == nil
}

// Check returns the API key for which an upload counts, or a refusal.
func (u *Uploads) Check(r *http.Request, now time.Time) (keyID string, err error) {
	template, hash, ok := named(r)
	query, queryErr := url.ParseQuery(r.URL.RawQuery)
	keyID, expires := query.Get(paramKey), query.Get(paramExpires)
	if !ok || queryErr != nil || !hmac.Equal([]byte(query.Get(paramSignature)), []byte(u.sign(template, hash, keyID, expires))) {
		return "", refusal.UploadSignature.With()
	}
	// It is as this process wrote it.
	if at, err := strconv.ParseInt(expires, 10, 64); err != nil || now.Unix() > at {
		return "", refusal.UploadExpired.With()
	}
	return keyID, nil
}
