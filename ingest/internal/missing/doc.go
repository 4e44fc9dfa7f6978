// Package missing says which readings of a sensor MongoDB has between two
// times, which are missing or lost, and why.
//
// A sensor's windows say what is absent between their own frames; what is
// absent between two windows is in neither. Here the windows of a sensor are
// put together again: a sequence number that is absent between two that are
// there was sampled and is not there, whatever windows the two are in.
package missing
