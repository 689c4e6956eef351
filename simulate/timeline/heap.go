package timeline

// heap is a binary heap of events. container/heap would allocate for each.
type heap[K ~uint8, S Subject] []Event[K, S]

func (h *heap[K, S]) push(e Event[K, S]) {
	*h = append(*h, e)
	q := *h
	i := len(q) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !q[i].before(q[parent]) {
			break
		}
		q[i], q[parent] = q[parent], q[i]
		i = parent
	}
}

// pop returns the first event. The heap must not be empty.
func (h *heap[K, S]) pop() Event[K, S] {
	q := *h
	first := q[0]
	last := len(q) - 1
	q[0] = q[last]
	q[last] = Event[K, S]{} // lets go of the subject.
	q = q[:last]
	*h = q
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if right := child + 1; right < last && q[right].before(q[child]) {
			child = right
		}
		if !q[child].before(q[i]) {
			return first
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
}
