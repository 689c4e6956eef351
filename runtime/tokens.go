package runtime

import "context"

// EachToken calls yield with the id and the agent's token of every sandbox that
// is shown and secured, in no order, until it returns false. It makes no views.
func (r *reads) EachToken(_ context.Context, yield func(id, token string) bool) error {
	for _, sb := range r.live.All() {
		if row := sb.Row(); row.Secure && sb.State().Visible() && !yield(row.ID, r.tokens.Envd(row.ID)) {
			break
		}
	}
	return nil
}
