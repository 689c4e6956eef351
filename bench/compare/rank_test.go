package compare

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The critical values of tables of the signed-rank test: the largest sum of ranks with
// at most that probability, and so one less than the number of means that are outside.
func TestTheIntervalIsThatOfTheTables(t *testing.T) {
	for _, c := range []struct {
		n    int
		tail float64
		want int
	}{
		{5, 0.025, 0}, {6, 0.025, 1}, {7, 0.005, 0}, {8, 0.005, 1}, {10, 0.025, 9}, {10, 0.005, 4}, {20, 0.025, 53}, {20, 0.005, 38}, {25, 0.025, 90}, {50, 0.025, 435},
	} {
		if got := outside(c.n, c.tail); got != c.want {
			t.Errorf("n %d, tail %g: %d, want %d", c.n, c.tail, got, c.want)
		}
	}
	// Where the computation ends, the approximation begins.
	if a, b := outside(exact, 0.005), outside(exact+1, 0.005); b < a || b > a+30 {
		t.Errorf("%d at %d rounds, %d at one more", a, exact, b)
	}
}

func TestARatioIsThatOfPairs(t *testing.T) {
	// Each round is slower than the one before, and the second build always takes 0.9 of
	// the first: pairs show it, samples on their own would not.
	var base, now []float64
	for i := range 8 {
		base = append(base, math.Pow(2, float64(i)))
		now = append(now, 0.9*base[i])
	}
	r := ratioOf(base, now)
	if r == nil || math.Abs(r.Value-0.9) > 1e-9 || math.Abs(r.Low-0.9) > 1e-9 || math.Abs(r.High-0.9) > 1e-9 || !r.Sure() {
		t.Errorf("%+v", r)
	}
	now[3] *= 1000 // A wild one.
	if r = ratioOf(base, now); math.Abs(r.Value-0.9) > 1e-9 || r.Sure() {
		t.Errorf("with a wild round: %+v", r)
	}
	if r = ratioOf(base[:7], now[:7]); r == nil || r.Low != 0 || r.High != 0 || r.Sure() {
		t.Errorf("seven rounds: %+v", r)
	}
	for _, bad := range [][2][]float64{{nil, nil}, {{1}, nil}, {{1, 2}, {1}}, {{0}, {1}}, {{1}, {0}}} {
		if r := ratioOf(bad[0], bad[1]); r != nil {
			t.Errorf("%v: %+v", bad, r)
		}
	}
}

// Of builds that are the same, one in a hundred intervals may leave out 1.
func TestTheSameBuildSeldomDiffersFromItself(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	wrong, found := 0, 0
	const tries, rounds = 1000, 20
	for range tries {
		base, same, faster := make([]float64, rounds), make([]float64, rounds), make([]float64, rounds)
		for i := range rounds {
			load := math.Exp(random.ExpFloat64())
			noise := func() float64 { return load * math.Exp(0.05*random.NormFloat64()) }
			base[i], same[i], faster[i] = noise(), noise(), 0.9*noise()
		}
		if ratioOf(base, same).Sure() {
			wrong++
		}
		if r := ratioOf(base, faster); r.Sure() && r.Value < 1 {
			found++
		}
	}
	if wrong == 0 || wrong > 25 || found < tries*9/10 {
		t.Errorf("of %d, %d equal builds differ, and %d faster ones are found", tries, wrong, found)
	}
}

func TestFiguresAreNearestRanks(t *testing.T) {
	if f := figuresOf([]float64{4, 1, 3, 2}); *f != (Figures{4, 1, 1, 2}) {
		t.Errorf("%+v", f)
	}
	if f := figuresOf([]float64{5}); *f != (Figures{1, 5, 5, 5}) {
		t.Errorf("%+v", f)
	}
	if f := figuresOf(nil); f != nil {
		t.Errorf("%+v", f)
	}
}
