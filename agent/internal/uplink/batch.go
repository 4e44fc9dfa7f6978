package uplink

import (
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// batch is a message on its way: the frames with the numbers [first, end), but
// for those among them that had a receipt before. The numbers are good in the
// generation of the window that they were given in.
type batch struct {
	first, end uint64
	generation uint64
	session    uint64
	deadline   time.Time
}

// draft is the batch that is being filled.
type draft struct {
	encoded []byte // "[", frames, each followed by ","
	frames  int
	again   int    // of them, how many were sent before
	first   uint64 // number of the first frame
	end     uint64 // number after the last frame

	since     time.Time // when the first frame came, or one that is to be read again
	throttled bool      // it has been held back for MaxDrainRate
}

// held is a frame that was read and belongs into a draft.
type held struct {
	frame  *telemetry.Frame
	number uint64
	again  bool // it was sent before
}

// add puts a frame in, or reports that it would make the message longer than
// size. A draft takes its first frame whatever its length.
func (d *draft) add(h *held, size int, now time.Time) bool {
	if d.frames == 0 {
		d.encoded = append(d.encoded[:0], '[')
		d.first = h.number
		if d.since.IsZero() {
			d.since = now
		}
	}
	before := len(d.encoded)
	d.encoded = append(telemetry.AppendFrame(d.encoded, h.frame), ',')
	if d.frames > 0 && len(d.encoded) > size {
		d.encoded = d.encoded[:before]
		return false
	}
	d.frames++
	if h.again {
		d.again++
	}
	d.end = h.number + 1
	return true
}

// text returns the message, as telemetry.AppendBatch writes it, in the draft's
// memory. Nothing may be added afterwards.
func (d *draft) text() []byte {
	if d.frames == 1 {
		return d.encoded[1 : len(d.encoded)-1]
	}
	d.encoded[len(d.encoded)-1] = ']'
	return d.encoded
}

// due returns when the draft is to be sent even if it is not full. What was sent
// before has done its waiting.
func (d *draft) due(age time.Duration) time.Time {
	if d.again > 0 {
		return d.since
	}
	return d.since.Add(age)
}

// reset empties the draft and keeps its memory.
func (d *draft) reset() { *d = draft{encoded: d.encoded[:0]} }

// restart empties the draft of frames that will be read again. They have waited
// since the same time: a connection that keeps breaking must not keep a draft
// from its age.
func (d *draft) restart() { *d = draft{encoded: d.encoded[:0], since: d.since} }
