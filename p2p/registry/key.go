package registry

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// MaxName bounds a service's name in bytes.
const MaxName = 32

// CheckName refuses what is no name of a service: 1 to MaxName of a-z, 0-9, '-' and '.', a letter first.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxName && name[0] >= 'a' && name[0] <= 'z'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.'
	}
	if !ok {
		return fmt.Errorf("service %.40q: want 1 to %d of a-z, 0-9, '-' and '.', a letter first", name, MaxName)
	}
	return nil
}

// Key is where the DHT keeps the providers of a service: CIDv1(raw, SHA-256("bpci/svc/1|network|service|major")).
func Key(network, service string, major uint32) cid.Cid {
	sum := sha256.Sum256([]byte("bpci/svc/1|" + network + "|" + service + "|" + strconv.FormatUint(uint64(major), 10)))
	hash, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // of a digest of the right length for a known function: only a wrong build of the library
	}
	return cid.NewCidV1(cid.Raw, hash)
}

// Split reads "sql" or "sql/1" as a service's name and major version, which is 1 if it is not said.
func Split(text string) (name string, major uint32, err error) {
	name, version, given := strings.Cut(text, "/")
	if err := CheckName(name); err != nil {
		return "", 0, err
	}
	if !given {
		return name, 1, nil
	}
	n, err := strconv.ParseUint(version, 10, 32)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != version {
		return "", 0, fmt.Errorf("service %.60q: want NAME or NAME/MAJOR, such as sql/1", text)
	}
	return name, uint32(n), nil
}
