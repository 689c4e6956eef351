package runtime

// What follows is refused until it is built.
import "context"

func (r *Runtime) Pause(ctx context.Context, id string, memory bool) error { return ErrUnsupported }
func (r *Runtime) Wake(ctx context.Context, id string) (Sandbox, error)    { return r.Get(ctx, id) }
func (r *Runtime) Fork(ctx context.Context, id string, req ForkRequest) ([]ForkResult, error) {
	return nil, ErrUnsupported
}
func (r *Runtime) Snapshot(ctx context.Context, id, name, keyID string) (Snapshot, error) {
	return Snapshot{}, ErrUnsupported
}
func (r *Runtime) Snapshots(ctx context.Context, f SnapshotFilter) ([]Snapshot, error) {
	return nil, nil
}
func (r *Runtime) DeleteSnapshot(ctx context.Context, idOrName string) error {
	return ErrSnapshotNotFound
}
func (r *Runtime) Capture(ctx context.Context, id string, reason ContinuationReason, keyID string) (Continuation, error) {
	return Continuation{}, ErrUnsupported
}
func (r *Runtime) FollowUp(ctx context.Context, continuationID string, req CreateRequest) (Sandbox, error) {
	return Sandbox{}, ErrUnsupported
}
