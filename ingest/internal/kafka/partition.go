package kafka

import "encoding/binary"

// Partition returns the partition, of n, of the records with this key: what
// Java's default partitioner chooses for keyed records, and kafka-go's
// Murmur2Balancer{Consistent: true} for all. n must be positive.
func Partition(key []byte, n int) int32 {
	return partitionOf(murmur2(key), n)
}

// partitionOf drops the sign as Java's Utils.toPositive does.
func partitionOf(hash uint32, n int) int32 {
	return int32(hash & 0x7fffffff % uint32(n))
}

// murmur2 is the 32-bit MurmurHash2 of Austin Appleby with the seed that
// Kafka's clients share.
func murmur2(data []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := seed ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	if len(data) > 0 {
		for i, b := range data {
			h ^= uint32(b) << (8 * i)
		}
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
