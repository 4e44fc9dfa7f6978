// Package jitter spreads the attempts of those who began to wait at the same
// moment, as a fleet does whose broker goes away.
package jitter

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Full returns the waits between attempts: each is a random one, from none to a
// bound that is first at first and doubles with every attempt, up to most. That
// is "full jitter", which of the usual ways brings back the most at once the least.
// See Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
//
// The result is not safe for concurrent use.
func Full(first, most time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     half(min(first, most)),
		MaxInterval:         half(most),
		Multiplier:          2,
		RandomizationFactor: 1, // of half the bound, up and down
	}
}

func half(d time.Duration) time.Duration { return max(d/2, 1) }
