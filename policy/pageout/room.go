package pageout

// usableSwap is how much of the swap page-outs may fill, in percent: the rest is for what
// the kernel itself moves there under pressure.
const usableSwap = 75

// Room returns how many bytes may still go to swap, of which total bytes exist and free
// ones are free.
func Room(total, free int64) int64 {
	if total <= 0 || free <= 0 {
		return 0
	}
	free = min(free, total)
	return max(0, total/100*usableSwap-(total-free))
}
