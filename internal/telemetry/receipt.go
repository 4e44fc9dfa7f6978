package telemetry

import (
	"slices"
	"strconv"
)

// Receipt says which frames Kafka holds, acknowledged by all replicas that
// must have them. The agent frees their space; a declared loss is receipted by
// its range.
type Receipt struct {
	Frames []SensorReceipt
}

// SensorReceipt holds the sequence numbers of one sensor in one epoch, in
// ascending order and with a gap between any two ranges.
type SensorReceipt struct {
	ID    string
	Epoch uint64
	Seqs  []SeqRange
}

// Add adds the range to the receipt, joining it to those it touches. A range
// whose First is after its Last is empty and adds nothing.
func (r *Receipt) Add(id string, epoch uint64, seqs SeqRange) {
	if seqs.First > seqs.Last {
		return
	}
	sensor := r.sensor(id, epoch)
	if sensor == nil {
		sensor = r.grow()
		sensor.ID, sensor.Epoch = id, epoch
	}
	sensor.add(seqs)
}

// Covers reports whether the receipt says that the frame is safe: its sequence
// number, or all that it declares lost. It never covers a frame that has no
// sequence number.
func (r *Receipt) Covers(f *Frame) bool {
	seqs := SeqRange{First: f.Seq, Last: f.Seq}
	switch {
	case f.IsLoss():
		seqs = f.Lost.Seqs
	case !f.Sequenced:
		return false
	}
	sensor := r.sensor(f.ID, f.Epoch)
	return sensor != nil && sensor.covers(seqs)
}

// Reset empties the receipt and keeps its memory.
func (r *Receipt) Reset() { r.Frames = r.Frames[:0] }

// sensor returns the entry of the sensor's epoch, nil if there is none. The
// search is linear, as a device has few sensors, and begins with the newest.
func (r *Receipt) sensor(id string, epoch uint64) *SensorReceipt {
	for i := len(r.Frames) - 1; i >= 0; i-- {
		if s := &r.Frames[i]; s.Epoch == epoch && s.ID == id {
			return s
		}
	}
	return nil
}

// grow appends an entry, using the memory of an earlier one if there is any.
func (r *Receipt) grow() *SensorReceipt {
	if n := len(r.Frames); n < cap(r.Frames) {
		r.Frames = r.Frames[:n+1]
		r.Frames[n].Seqs = r.Frames[n].Seqs[:0]
	} else {
		r.Frames = append(r.Frames, SensorReceipt{})
	}
	return &r.Frames[len(r.Frames)-1]
}

// find returns the index of the first range that ends at seq or after it.
func (s *SensorReceipt) find(seq uint64) int {
	i, _ := slices.BinarySearchFunc(s.Seqs, seq, func(r SeqRange, seq uint64) int {
		if r.Last < seq {
			return -1
		}
		return 1
	})
	return i
}

func (s *SensorReceipt) covers(seqs SeqRange) bool {
	i := s.find(seqs.Last)
	return i < len(s.Seqs) && s.Seqs[i].First <= seqs.First
}

func (s *SensorReceipt) add(seqs SeqRange) {
	// The ranges from i to j touch the new one. The bounds are widened by one,
	// so that neighbours count, but not beyond the numbers that there are.
	i := s.find(max(seqs.First, 1) - 1)
	j := i
	for j < len(s.Seqs) && s.Seqs[j].First-min(s.Seqs[j].First, 1) <= seqs.Last {
		j++
	}
	if i < j {
		seqs.First = min(seqs.First, s.Seqs[i].First)
		seqs.Last = max(seqs.Last, s.Seqs[j-1].Last)
	}
	s.Seqs = slices.Replace(s.Seqs, i, j, seqs)
}

// AppendReceipt appends the JSON of r.
func AppendReceipt(dst []byte, r *Receipt) []byte {
	dst = append(dst, `{"frames":[`...)
	for i := range r.Frames {
		sensor := &r.Frames[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		dst = appendString(dst, sensor.ID)
		dst = append(dst, `,"epoch":`...)
		dst = strconv.AppendUint(dst, sensor.Epoch, 10)
		dst = append(dst, `,"seq":[`...)
		for i, seqs := range sensor.Seqs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendSeqRange(dst, seqs)
		}
		dst = append(dst, `]}`...)
	}
	return append(dst, `]}`...)
}
