// Package scenario runs the agent's sampling on emulated chips that fail by
// script, and holds every reading against what it has to be.
//
// A [Scenario] is a YAML file: chips on buses, what surrounds them, what goes
// wrong and when, the agent's sensors, and how many readings must be ok or have
// which reason. README.md is its reference. [Parse] reads one, [Shipped] are
// those that come with the program.
//
// [Scenario.Run] samples with the production code: schedules, drivers, quality.
// It takes as long as the scenario says, by the clock that it finds. In a
// bubble of testing/synctest that is seconds for a day, and exact: the numbers of
// readings are to be met to the last one. So this package's tests run those that
// come with the program.
//
// Each value that has no fault is compared with the emulated chip's own record
// of what it converted, to the chip's resolution. One that differs is counted
// as wrong, and a scenario says how many of them there must be: a chip without
// a checksum cannot tell an inverted bit.
package scenario
