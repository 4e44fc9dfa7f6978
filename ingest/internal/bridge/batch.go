package bridge

import (
	"iter"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// batch is what is written at once: the records of some messages, and what is
// to be said when they are safe.
type batch struct {
	records  kafka.Batch
	acks     []func() // one for each message, in the order they came
	receipts receipts
	sampled  []int64   // when the readings were, Unix milliseconds, as far as that is known
	size     int64     // of the messages' payloads, decompressed
	began    time.Time // when its first message came
}

func (f *batch) messages() int { return len(f.acks) }

// reset empties the batch and keeps its memory.
func (f *batch) reset() {
	f.records.Reset()
	clear(f.acks) // they hold on to connections
	f.acks = f.acks[:0]
	f.receipts.reset()
	f.sampled = f.sampled[:0]
	f.size = 0
}

// receipts is one receipt for each device.
type receipts struct {
	index map[string]int // device to its place in list
	list  []deviceReceipt
}

type deviceReceipt struct {
	device  string
	receipt telemetry.Receipt
}

// of returns the receipt of a device.
func (r *receipts) of(device string) *telemetry.Receipt {
	if i, ok := r.index[device]; ok {
		return &r.list[i].receipt
	}
	if r.index == nil {
		r.index = map[string]int{}
	}
	n := len(r.list)
	r.index[device] = n
	if n < cap(r.list) {
		r.list = r.list[:n+1] // with the memory of the receipt that was here
	} else {
		r.list = append(r.list, deviceReceipt{})
	}
	r.list[n].device = device
	return &r.list[n].receipt
}

// all yields the receipts by device, in the order in which the devices came.
func (r *receipts) all() iter.Seq2[string, *telemetry.Receipt] {
	return func(yield func(string, *telemetry.Receipt) bool) {
		for i := range r.list {
			if !yield(r.list[i].device, &r.list[i].receipt) {
				return
			}
		}
	}
}

// reset empties all and keeps their memory.
func (r *receipts) reset() {
	for i := range r.list {
		r.list[i].device = ""
		r.list[i].receipt.Reset()
	}
	r.list = r.list[:0]
	clear(r.index)
}
