// Package verify holds what agents sampled against what became of it: every
// reading must be in Kafka, in MongoDB with the same values, and in exactly
// one window of its sensor. Every field of every window must be what a naive
// batch computation over the distinct frames gives, see [Expect], and the last
// record of a window on Kafka must have what its document has.
//
// It shares no code with ingest: it reads Kafka and MongoDB with clients of
// its own and computes windows its own, slow way.
package verify
