package window

import (
	"cmp"
	"slices"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Gap is a range of sequence numbers of one epoch. Reason says why the
// readings did not come, if that was declared.
type Gap struct {
	Epoch  uint64
	Seqs   telemetry.SeqRange
	Reason string
}

// Declared is a loss that a sensor's agent declared.
type Declared struct {
	Sensor string
	Epoch  uint64
	telemetry.Loss
}

// Gaps returns the sequence numbers between a window's own frames that are
// not in the set, by epoch, ascending.
func (c *Coverage) Gaps() []Gap {
	var gaps []Gap
	for _, e := range c.epochs {
		for i := 1; i < len(e.ranges); i++ {
			seqs := telemetry.SeqRange{First: e.ranges[i-1].Last + 1, Last: e.ranges[i].First - 1}
			gaps = append(gaps, Gap{Epoch: e.epoch, Seqs: seqs})
		}
	}
	return gaps
}

// Explain divides the gaps of one sensor's window into those that losses
// declare, with their reason, and those that nothing explains. The order of
// losses does not matter: where declarations overlap, the shortest names the
// reason, and of equally long ones the first by (first, reason).
func Explain(gaps []Gap, losses []Declared) (missing, lost []Gap) {
	losses = slices.Clone(losses)
	slices.SortFunc(losses, func(a, b Declared) int {
		return cmp.Or(
			cmp.Compare(a.Seqs.Len(), b.Seqs.Len()),
			cmp.Compare(a.Seqs.First, b.Seqs.First),
			cmp.Compare(a.Reason, b.Reason),
		)
	})
	for _, gap := range gaps {
		open := []telemetry.SeqRange{gap.Seqs}
		var found []Gap
		for _, loss := range losses {
			if loss.Epoch != gap.Epoch {
				continue
			}
			var rest []telemetry.SeqRange
			for _, r := range open {
				first, last := max(r.First, loss.Seqs.First), min(r.Last, loss.Seqs.Last)
				if first > last {
					rest = append(rest, r)
					continue
				}
				found = append(found, Gap{gap.Epoch, telemetry.SeqRange{First: first, Last: last}, loss.Reason})
				if r.First < first {
					rest = append(rest, telemetry.SeqRange{First: r.First, Last: first - 1})
				}
				if r.Last > last {
					rest = append(rest, telemetry.SeqRange{First: last + 1, Last: r.Last})
				}
			}
			open = rest
		}
		lost = append(lost, join(found)...)
		slices.SortFunc(open, func(a, b telemetry.SeqRange) int { return cmp.Compare(a.First, b.First) })
		for _, r := range open {
			missing = append(missing, Gap{Epoch: gap.Epoch, Seqs: r})
		}
	}
	return missing, lost
}

// join sorts gaps of one epoch and joins adjacent ones of the same reason.
func join(gaps []Gap) []Gap {
	slices.SortFunc(gaps, func(a, b Gap) int { return cmp.Compare(a.Seqs.First, b.Seqs.First) })
	joined := gaps[:0]
	for _, g := range gaps {
		if n := len(joined); n > 0 && joined[n-1].Reason == g.Reason && joined[n-1].Seqs.Last+1 == g.Seqs.First {
			joined[n-1].Seqs.Last = g.Seqs.Last
		} else {
			joined = append(joined, g)
		}
	}
	return joined
}

func total(gaps []Gap) uint64 {
	var n uint64
	for _, g := range gaps {
		n += g.Seqs.Len()
	}
	return n
}
