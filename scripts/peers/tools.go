//go:build tools

// Package peers names the programs by which implementations of gRPC are tried on each other.
package peers

import (
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
