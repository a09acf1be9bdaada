//go:build tools

// Package tools names the tools whose versions go.mod and go.sum fix.
package tools

import _ "github.com/stripe/stripe-mock"
