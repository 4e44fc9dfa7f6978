// Package compose tests deploy/compose without a Docker daemon: compose.yaml is
// loaded by the library that Docker Compose loads it by, with all its profiles,
// and what deploy/compose/README.md says of it is held against what is in it.
// deploy/compose/test/run runs it.
package compose
