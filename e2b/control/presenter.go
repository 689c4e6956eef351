package control

import (
	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// presenter shows sandboxes to clients that may use them: with their tokens, by which
// they may sign URLs from then on, so the proxy is notified.
type presenter struct {
	domain string // Config.Domain
	proxy  *dataplane.Proxy
}

// sandbox is the answer to what creates or resumes one.
func (p presenter) sandbox(sb sandbox.Sandbox) openapi.Sandbox {
	p.proxy.Signer(sb.ID, sb.EnvdAccessToken)
	return wire.Sandbox(sb, p.domain)
}

// detail is all that there is to know of one.
func (p presenter) detail(sb sandbox.Sandbox) openapi.SandboxDetail {
	p.proxy.Signer(sb.ID, sb.EnvdAccessToken)
	return wire.Detail(sb, p.domain)
}
