// Package host tells what the machine a node runs on is made of.
package host
