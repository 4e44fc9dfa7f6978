// Package uplink empties the buffer into the broker: it publishes the frames
// in batches, and frees them as receipts come in.
//
// # Protocol
//
// It is go-back-N. Up to InFlight batches are on their way at a time. The
// buffer is freed up to the first frame without a receipt, whatever became of
// those behind it. If the oldest batch has no receipt in time, or after a
// reconnect, reading goes back to the first frame not freed and everything
// without a receipt is sent again, after a timeout with exponential backoff and
// full jitter. Until a receipt shows that the way is open again, one batch at a time
// goes out, so that an outage of the ingest service does not fill the broker
// with copies.
//
// Of what is on its way only the identities are kept: what has to be sent again
// is read from the buffer again. So a receipt counts whenever it comes, also
// when its frames wait to be sent again, and memory is bounded by InFlight ×
// (BatchFrames identities + BatchSize bytes).
//
// # Rate
//
// A token bucket bounds what is sent, retransmissions included: over any
// interval no more frames than MaxDrainRate times the interval and a burst of
// BatchFrames, so that a full batch goes whatever the rate. It is one bucket for
// all connections: a new one brings no new burst.
//
// Without receipts, the broker's PUBACK of a batch stands for them. It promises
// less: the broker may lose what it has acknowledged.
//
// # Concurrency
//
// [Uplink.Run] owns the state. The other methods leave a note for it and return
// at once.
package uplink
