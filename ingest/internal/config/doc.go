// Package config is the ingest service's configuration: the types that the
// rest of the service is given, their defaults, and every rule that a
// configuration must keep. deploy/ingest.yaml describes the settings to the
// user; a test holds the two together.
//
// What a configuration is read from, and how its errors look, is the matter of
// package settings.
package config
