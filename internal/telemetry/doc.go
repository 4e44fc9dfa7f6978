// Package telemetry is the wire contract between telltale's agent and its
// ingest service: frames, batches of frames, receipts, declared losses and the
// topics they travel on. README.md is the contract in prose, for whoever writes
// another client.
//
// It imports nothing but the standard library, and everything else may import
// it. A value is an integer, see [Micro], so that no binary fraction comes
// between a sensor and a sum. [Decoder] reads a frame in one pass, without
// reflection and, once it knows the sensor, without allocation; what it takes
// for JSON is what encoding/json takes for JSON, and then it is stricter, see
// [DecodeError].
//
// Nothing here starts a goroutine or locks. Values may be used from several
// goroutines as long as none of them writes; a Decoder writes.
package telemetry
