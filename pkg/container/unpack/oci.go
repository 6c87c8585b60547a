package unpack

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"
)

// An archive of an image holds files of its own, called blobs, by the checksum of their
// content: index.json names manifests, a manifest the configuration and the layers.

const (
	largestDocument = 4 << 20 // of JSON, as registries limit it
	mostLayers      = 512
	mostFiles       = 100_000
	deepestIndex    = 4
)

// A descriptor names a blob.
type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	Platform  *platform `json:"platform"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant"`
}

func (p platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// A manifest is an index as well: which it is, its fields tell.
type manifest struct {
	Manifests []descriptor `json:"manifests"`
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
}

// imageConfig is the configuration of an image.
type imageConfig struct {
	platform
	Config struct {
		User       string              `json:"User"`
		Env        []string            `json:"Env"`
		Entrypoint []string            `json:"Entrypoint"`
		Cmd        []string            `json:"Cmd"`
		WorkingDir string              `json:"WorkingDir"`
		StopSignal string              `json:"StopSignal"`
		Volumes    map[string]struct{} `json:"Volumes"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// A part is where in the archive a file is.
type part struct{ at, size int64 }

// An imageArchive gives the files of the archive of an image.
type imageArchive struct {
	in    io.ReaderAt
	files map[string]part
}

// openImage finds the files of an archive. It reads no more than their headers.
func openImage(ctx context.Context, in io.ReaderAt, size int64) (*imageArchive, error) {
	a := &imageArchive{in, map[string]part{}}
	at := io.NewSectionReader(in, 0, size)
	for r := tar.NewReader(at); ; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		h, err := r.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return nil, damaged(err)
		}
		if h.Typeflag != tar.TypeReg || isSparse(h) {
			continue
		}
		if len(a.files) == mostFiles {
			return nil, fmt.Errorf("%w: it has more files than an image can have", errDamaged)
		}
		start, err := at.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if start+h.Size > size {
			return nil, errEarly
		}
		a.files[strings.TrimPrefix(path.Clean("/"+h.Name), "/")] = part{start, h.Size}
	}
}

func (a *imageArchive) open(name string) (*io.SectionReader, error) {
	p, ok := a.files[name]
	if !ok {
		return nil, fmt.Errorf("%w: it has no file %s", errDamaged, name)
	}
	return io.NewSectionReader(a.in, p.at, p.size), nil
}

// document reads a small file.
func (a *imageArchive) document(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > largestDocument {
		return nil, fmt.Errorf("%w: %s is %d bytes long", errDamaged, name, r.Size())
	}
	return io.ReadAll(r)
}

func (a *imageArchive) json(name string, into any) error {
	text, err := a.document(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, name, err)
	}
	return nil
}

// A sum is a digest that is checked.
type sum struct {
	hash.Hash
	digest string
}

// newSum reads a digest: the name of a hash function and the sum in hexadecimal.
func newSum(digest string) (sum, string, error) {
	name, text, _ := strings.Cut(digest, ":")
	functions := map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}
	f, ok := functions[name]
	if !ok {
		return sum{}, "", fmt.Errorf("%w: digest '%s' is of no kind that is known", errDamaged, digest)
	}
	h := f()
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != h.Size() || strings.ToLower(text) != text {
		return sum{}, "", fmt.Errorf("%w: digest '%s' cannot be read", errDamaged, digest)
	}
	return sum{h, digest}, "blobs/" + name + "/" + text, nil
}

// check compares what was written to the sum.
func (s sum) check() error {
	_, text, _ := strings.Cut(s.digest, ":")
	if hex.EncodeToString(s.Sum(nil)) != text {
		return fmt.Errorf("%w: the content does not have the digest %s", errDamaged, s.digest)
	}
	return nil
}

// blob reads a small blob and checks its digest.
func (a *imageArchive) blob(d descriptor, into any) error {
	s, name, err := newSum(d.Digest)
	if err != nil {
		return err
	}
	text, err := a.document(name)
	if err != nil {
		return err
	}
	s.Write(text)
	if err := s.check(); err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, d.Digest, err)
	}
	return nil
}

// An image is what is unpacked: its configuration, and where its layers are.
type image struct {
	config imageConfig
	layers []layer
}

// A layer is a blob that holds an archive. One of an image as docker used to save it has a
// name, and its digest is that of the archive in it.
type layer struct {
	name   string
	digest string
	plain  bool // the digest is that of what is in it, decompressed
}

// find chooses the image for an architecture, in PVE's words.
func (a *imageArchive) find(arch string) (*image, error) {
	if _, ok := a.files["index.json"]; !ok {
		return a.findSaved(arch)
	}
	var index manifest
	if err := a.json("index.json", &index); err != nil {
		return nil, err
	}
	c := chooser{archive: a, wanted: wantedPlatform(arch)}
	if err := c.walk(index.Manifests, 0); err != nil {
		return nil, err
	}
	if c.best == nil {
		return nil, c.none()
	}
	return c.best, nil
}

// A chooser goes through the images of an index.
type chooser struct {
	archive *imageArchive
	wanted  string // architecture in the words of images, empty for any
	best    *image
	rank    int
	seen    []string // platforms of the others
	count   int
}

func (c *chooser) none() error {
	if len(c.seen) == 0 {
		return fmt.Errorf("%w: it has no image", errDamaged)
	}
	if c.wanted == "" {
		return fmt.Errorf("it has no image for linux, only for %s", strings.Join(c.seen, ", "))
	}
	return fmt.Errorf("it has no image for linux/%s, only for %s", c.wanted, strings.Join(c.seen, ", "))
}

// rankOf tells how well a platform serves, 0 for not at all.
func (c *chooser) rankOf(p platform) int {
	if p.OS != "" && p.OS != "linux" || c.wanted != "" && p.Architecture != "" && p.Architecture != c.wanted {
		return 0
	}
	if p.Architecture == "arm" && c.wanted != "" { // the newer, the better
		return 1 + max(slices.Index([]string{"v5", "v6", "", "v7"}, p.Variant), 0)
	}
	return 1
}

func (c *chooser) walk(list []descriptor, depth int) error {
	if depth > deepestIndex {
		return fmt.Errorf("%w: its indexes lie too deep", errDamaged)
	}
	for _, d := range list {
		if c.count++; c.count > mostFiles {
			return fmt.Errorf("%w: it names more images than it can have", errDamaged)
		}
		if d.Platform != nil && c.rankOf(*d.Platform) <= c.rank {
			c.note(*d.Platform)
			continue
		}
		var m manifest
		if err := c.archive.blob(d, &m); err != nil {
			if d.Platform == nil {
				return err
			}
			return fmt.Errorf("image for %s: %w", d.Platform, err)
		}
		if len(m.Manifests) > 0 {
			if err := c.walk(m.Manifests, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := c.consider(m, d.Platform); err != nil {
			return err
		}
	}
	return nil
}

func (c *chooser) note(p platform) {
	if s := p.String(); p.OS != "unknown" && !slices.Contains(c.seen, s) { // those are no images: attestations
		c.seen = append(c.seen, s)
	}
}

// consider takes an image that is better than the best one up to now. What the index says
// of its platform adds to what it says itself.
func (c *chooser) consider(m manifest, named *platform) error {
	var config imageConfig
	if err := c.archive.blob(m.Config, &config); err != nil {
		return fmt.Errorf("configuration of the image: %w", err)
	}
	if named != nil {
		config.Architecture = cmp.Or(config.Architecture, named.Architecture)
		config.Variant = cmp.Or(config.Variant, named.Variant)
	}
	rank := c.rankOf(config.platform)
	if rank <= c.rank {
		c.note(config.platform)
		return nil
	}
	if len(m.Layers) > mostLayers {
		return fmt.Errorf("%w: the image has %d layers", errDamaged, len(m.Layers))
	}
	i := &image{config: config}
	for _, d := range m.Layers {
		if strings.Contains(d.MediaType, "+encrypted") {
			return fmt.Errorf("layer %s is encrypted", d.Digest)
		}
		_, name, err := newSum(d.Digest)
		if err != nil {
			return err
		}
		i.layers = append(i.layers, layer{name: name, digest: d.Digest})
	}
	c.best, c.rank = i, rank
	return nil
}

// findSaved finds the image of an archive as docker saved them before it wrote an index.
func (a *imageArchive) findSaved(arch string) (*image, error) {
	var list []struct {
		Config string
		Layers []string
	}
	if err := a.json("manifest.json", &list); err != nil {
		return nil, err
	}
	c := chooser{archive: a, wanted: wantedPlatform(arch)}
	for _, m := range list {
		i := &image{}
		if err := a.json(path.Clean(m.Config), &i.config); err != nil {
			return nil, err
		}
		if c.rankOf(i.config.platform) == 0 {
			c.note(i.config.platform)
			continue
		}
		sums := i.config.RootFS.DiffIDs
		if len(sums) != len(m.Layers) || len(sums) > mostLayers {
			return nil, fmt.Errorf("%w: the image has %d layers and %d digests of them", errDamaged, len(m.Layers), len(sums))
		}
		for n, name := range m.Layers {
			i.layers = append(i.layers, layer{path.Clean(name), sums[n], true})
		}
		return i, nil
	}
	return nil, c.none()
}

// wantedPlatform returns the architecture in the words of images.
func wantedPlatform(arch string) string {
	for _, pair := range archNames() {
		if pair[0] == arch {
			return pair[1]
		}
	}
	return arch
}
