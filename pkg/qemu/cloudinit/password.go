package cloudinit

import (
	"fmt"
	"io"
	"regexp"

	"github.com/GehirnInc/crypt/sha256_crypt"
)

var hashed = regexp.MustCompile(`^\$(?:[156]|2[ay])(\$.+){2}`)

// IsHashed tells whether a cipassword is a hash that cloud-init knows.
func IsHashed(password string) bool { return hashed.MatchString(password) }

// HashPassword returns what is stored for a password given in clear: a salted SHA-256 hash. A
// hash stays as it is. Windows guests need the password itself, so theirs is not to be
// hashed.
func HashPassword(password string, random io.Reader) (string, error) {
	if IsHashed(password) {
		return password, nil
	}
	raw := make([]byte, 8)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("salt of cipassword: %w", err)
	}
	const letters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for i := range raw {
		raw[i] = letters[raw[i]%64]
	}
	hash, err := sha256_crypt.New().Generate([]byte(password), append([]byte("$5$"), raw...))
	if err != nil {
		return "", fmt.Errorf("hash of cipassword: %w", err)
	}
	return hash, nil
}
