// Package buffer keeps readings on disk from the moment they are sampled until
// they are freed: an append-only log in segments, with group commit, declared
// losses and a hard bound on its size. README.md beside this file is its format
// and its crash model.
//
// A [Buffer] is safe for concurrent use. A [Reader] belongs to one goroutine.
// The package starts no goroutine.
package buffer
