package guest

import (
	"errors"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// maxUnused is how many volumes a guest may have that it does not use.
const maxUnused = 256

// AddUnused notes a volume that the guest has but does not use, and returns the key it is
// noted under. One that is noted already keeps its key.
func AddUnused(values schema.Params, volume string) (key string, err error) {
	for i := maxUnused - 1; i >= 0; i-- {
		name := "unused" + strconv.Itoa(i)
		noted, ok := values[name]
		if ok && noted == volume {
			return name, nil
		}
		if !ok {
			key = name
		}
	}
	if key == "" {
		return "", errors.New("too many unused volumes - please delete them first")
	}
	values[key] = volume
	return key, nil
}

// IsUnused tells whether a key notes a volume that the guest does not use.
func IsUnused(key string) bool {
	family, _, ok := schema.Member(key)
	return ok && family == "unused"
}
