package world

// Harm is the damage that a crash of the daemon did to a sandbox.
type Harm uint8

// Most sandboxes are unharmed.
const (
	Unharmed     Harm = iota
	MachineGone       // its machine ended with the daemon
	AgentSilent       // its agent does not answer any more
	NetworkGone       // its network was taken away
	SnapshotGone      // what was saved of it is missing
)

// HarmOf draws what a crash did to m.
func HarmOf(m *Machine, draw Chances) Harm {
	switch {
	case !m.Row || !draw.Happens(0.05):
		return Unharmed
	case m.State == Suspended:
		return SnapshotGone
	}
	return []Harm{MachineGone, AgentSilent, NetworkGone}[draw.IntN(3)]
}
