package testct

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
)

// OCI makes an archive of an OCI image, busybox-oci.tar, for the length of the test. Its
// configuration has
//
//	Entrypoint  /bin/sh /entry.sh    Cmd         serve
//	WorkingDir  /srv                 StopSignal  SIGTERM
//	Env         PATH, GREETING="hello image"
//
// The entry point writes "CT-READY", its argument, the working folder and the greeting to its
// standard output, then waits. The first layer has etc/gone and folder/old, the second one
// removes both (one by name, one by making the folder opaque), replaces etc/layer and adds
// folder/new.
func OCI(t testing.TB) string {
	t.Helper()
	image := &image{blobs: map[string][]byte{}}
	entryPoint := `trap 'echo ` + Down + `; exit 0' TERM
echo "` + Ready + ` $1 $PWD $GREETING"
while :; do sleep 1 & wait $!; done
`
	image.layer(t, append(busyboxTree(t), dir("./srv"), dir("./folder"), script("./entry.sh", entryPoint),
		file("./etc/layer", "first\n"), file("./etc/gone", "x"), file("./folder/old", "x")))
	image.layer(t, []entry{
		file("etc/.wh.gone", ""), file("etc/layer", "second\n"),
		dir("folder"), file("folder/.wh..wh..opq", ""), file("folder/new", "x"),
	})
	at := filepath.Join(t.TempDir(), "busybox-oci.tar")
	pack(t, at, "tar", image.tree(t))
	return at
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

type image struct {
	blobs  map[string][]byte
	order  []string
	layers []descriptor
	plain  []string // digests of the layers before compression
}

func (i *image) add(kind string, text []byte) descriptor {
	sum := fmt.Sprintf("%x", sha256.Sum256(text))
	i.blobs[sum] = text
	i.order = append(i.order, sum)
	return descriptor{"application/vnd.oci.image." + kind, "sha256:" + sum, len(text)}
}

func (i *image) layer(t testing.TB, tree []entry) {
	t.Helper()
	plain, packed := &bytes.Buffer{}, &bytes.Buffer{}
	if err := writeTar(plain, tree); err != nil {
		t.Fatal(err)
	}
	if err := compress(packed, plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	i.plain = append(i.plain, fmt.Sprintf("sha256:%x", sha256.Sum256(plain.Bytes())))
	i.layers = append(i.layers, i.add("layer.v1.tar+gzip", packed.Bytes()))
}

// tree is the archive around the layers.
func (i *image) tree(t testing.TB) []entry {
	t.Helper()
	text := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	config := i.add("config.v1+json", text(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{
			"Entrypoint": []string{"/bin/sh", "/entry.sh"}, "Cmd": []string{"serve"}, "WorkingDir": "/srv", "StopSignal": "SIGTERM",
			"Env": []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "GREETING=hello image"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": i.plain},
	}))
	manifest := i.add("manifest.v1+json", text(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": i.layers,
	}))
	tree := []entry{
		file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`),
		file("index.json", string(text(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}}))),
		dir("blobs"), dir("blobs/sha256"),
	}
	for _, sum := range i.order {
		tree = append(tree, file("blobs/sha256/"+sum, string(i.blobs[sum])))
	}
	return tree
}
