//go:build tools

// Package clients names what clients in Go are made with and of.
package clients

import (
	_ "google.golang.org/grpc"
	_ "google.golang.org/grpc/cmd/protoc-gen-go-grpc"
	_ "google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/protobuf/cmd/protoc-gen-go"
)
