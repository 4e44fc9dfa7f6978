// Package prom says what a frame is in Prometheus, and shows the latest reading
// of every sensor to a scrape. A sensor has one series for each measure; the
// series of a sensor whose newest reading is too old disappears from the scrape,
// so that Prometheus marks it stale, and the number of sensors is capped.
package prom
