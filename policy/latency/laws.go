package latency

// HitRate is how many of a pool's or cache's requests it served, in percent;
// false if there were none.
func HitRate(hits, misses uint64) (percent float64, ok bool) {
	all := float64(hits) + float64(misses)
	if all == 0 {
		return 0, false
	}
	return float64(hits) / all * 100, true
}
