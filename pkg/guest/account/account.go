// Package account is how people log in to guests: passwords, which are kept as salted
// hashes, and public keys for SSH.
package account

import (
	"fmt"
	"io"

	"github.com/GehirnInc/crypt/sha256_crypt"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

var hashed = pattern.New(`^\$(?:[156]|2[ay])(\$.+){2}`)

// IsHashed tells whether a password is a hash that guests know.
func IsHashed(password string) bool { return hashed.MatchString(password) }

// HashPassword returns what is stored for a password given in clear: a salted SHA-256 hash. A
// hash stays as it is.
func HashPassword(password string, random io.Reader) (string, error) {
	if IsHashed(password) {
		return password, nil
	}
	raw := make([]byte, 8)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("salt of the password: %w", err)
	}
	const letters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for i := range raw {
		raw[i] = letters[raw[i]%64]
	}
	hash, err := sha256_crypt.New().Generate([]byte(password), append([]byte("$5$"), raw...))
	if err != nil {
		return "", fmt.Errorf("hash of the password: %w", err)
	}
	return hash, nil
}
