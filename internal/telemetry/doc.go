// Package telemetry is the wire contract between telltale's agent and its
// ingest service: frames, batches of frames, receipts, declared losses and the
// topics they travel on. It imports nothing but the standard library, and
// everything else may import it.
package telemetry
