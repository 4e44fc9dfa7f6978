// Package mongo is the ingest service's adapter to MongoDB, and the only
// package that imports its driver. README.md describes the documents.
//
// Every write is idempotent: ids are deterministic, a frame that is there
// already is success, and a window is replaced only by a later revision of what
// its writer has read. So any write may be repeated after a failure, and is.
//
// Commands are kept small. MongoDB would take more, but FerretDB v1, the demo's
// server, holds a connection for every matched update until the command ends
// and hangs from a hundred on.
//
// A Client is safe for concurrent use; the driver pools its connections.
package mongo
