// Package climate supplies the surroundings of emulated chips: it implements
// i2csim.Source by a recorded series ([Replay]) or by a physical model
// ([Model]).
//
// Both are pure functions of their options and of time: they hold no state, so
// any moment can be asked for, in any order and from any goroutine, and the
// same seeds give the same values again. (To the last bit on one architecture:
// others may round a sine differently.)
//
// Two seeds are told apart. Weather is the sky, shared by all sensors that
// stand under it: pressure, clouds, the mass of air. Seed is one sensor: where
// exactly it hangs and how far it is out of true, within its chip's accuracy.
//
// The models are for plausible readings, not for forecasts. Their sources are
// named where they are used.
package climate
