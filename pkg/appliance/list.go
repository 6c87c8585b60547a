package appliance

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
)

// A Template is a template that a server offers.
type Template struct {
	Package      string `pve:"package" doc:"Name of the template without its version."`
	Version      string `pve:"version"`
	Type         string `pve:"type" doc:"What it is for: lxc, or openvz for older ones."`
	OS           string `pve:"os"`
	Section      string `pve:"section"`
	Headline     string `pve:"headline"`
	Description  string `pve:"description"`
	Maintainer   string `pve:"maintainer"`
	Architecture string `pve:"architecture"`
	Certified    string `pve:"certified"`
	Infopage     string `pve:"infopage" doc:"Address of a page about it."`
	ManageURL    string `pve:"manageurl" doc:"Address of the pages that it serves."`
	Location     string `pve:"location" doc:"Address that it is loaded from."`
	MD5          string `pve:"md5sum"`
	SHA512       string `pve:"sha512sum"`
	Source       string `pve:"source" doc:"Address that the list of the server is at."`
	Template     string `pve:"template" doc:"Name of the file."`
}

// Sum is the checksum of the file; none where the list has none.
func (t Template) Sum() fetch.Checksum {
	switch {
	case t.SHA512 != "":
		return fetch.Checksum{Algorithm: "sha512", Hex: t.SHA512}
	case t.MD5 != "":
		return fetch.Checksum{Algorithm: "md5", Hex: t.MD5}
	}
	return fetch.Checksum{}
}

// news is a paragraph that is no template.
const news = "pve-web-news"

// maxTemplates is more than any server offers.
const maxTemplates = 20000

// What the values of a list may look like. They become parts of paths and addresses.
var (
	wordValue    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.+_-]{0,127}$`)
	versionValue = regexp.MustCompile(`^\d[a-zA-Z0-9.+:~-]{0,127}$`)
	templateName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.+_~-]*\.(?i:tar|tar\.(gz|xz|zst|bz2))$`)
	relativeURL  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.+_~-]*(/[a-zA-Z0-9][a-zA-Z0-9.+_~-]*)*$`)
	scheme       = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*:`)
	pageValue    = regexp.MustCompile(`^https?://[^\s"'<>\\]+$`)
)

// maxName leaves room for the name that a file has while it is loaded.
const maxName = 240

// ParseList reads the list of a server. base is where the templates are whose paragraph has
// no address. Paragraphs that cannot be used are left out; err tells what is wrong with them.
func ParseList(text, base string) (all []Template, err error) {
	var errs []error
	at := map[string]int{}
	for _, p := range paragraphs(text) {
		t, ok, err := p.template(base)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("line %d: unable to parse appliance record: %w", p.line, err))
		case ok && at[t.Template] > 0:
			all[at[t.Template]-1] = t // the last one counts, as upstream has it
		case ok && len(all) == maxTemplates:
			return all, errors.Join(append(errs, fmt.Errorf("line %d: more than %d templates", p.line, maxTemplates))...)
		case ok:
			all = append(all, t)
			at[t.Template] = len(all)
		}
		if len(errs) > maxFaults {
			errs = append(errs, errors.New("and more"))
			break
		}
	}
	return all, errors.Join(errs...)
}

// maxFaults is how many faults of a list are told.
const maxFaults = 20

// A paragraph is the fields that belong to one template, with the names in small letters.
type paragraph struct {
	line   int
	fields map[string]string
	fault  error
}

// paragraphs takes the text apart, which has the form of Debian's control files: fields of
// a name, a colon and a value, which goes on in lines that begin with a blank.
func paragraphs(text string) (all []*paragraph) {
	var p *paragraph
	last, number := "", 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			p = nil
			continue
		}
		if p == nil {
			p = &paragraph{line: number, fields: map[string]string{}}
			all, last = append(all, p), ""
		}
		if line[0] == ' ' || line[0] == '\t' {
			if last == "" {
				p.bad("line %d goes on with nothing", number)
				continue
			}
			p.fields[last] += "\n" + clean(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if last = strings.ToLower(clean(name)); !ok || last == "" || len(last) > 64 {
			p.bad("line %d has no name and value", number)
			last = "?"
			continue
		}
		if _, twice := p.fields[last]; twice {
			p.bad("there are two of '%s'", last)
		}
		p.fields[last] = clean(value)
	}
	return all
}

func (p *paragraph) bad(format string, args ...any) {
	if p.fault == nil {
		p.fault = fmt.Errorf(format, args...)
	}
}

// clean makes text that comes from outside fit for a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(text), "?"))
}

// template reads the paragraph. ok is false where it is no template.
func (p *paragraph) template(base string) (t Template, ok bool, err error) {
	if p.fault != nil {
		return t, false, p.fault
	}
	if p.fields["package"] == news {
		return t, false, nil
	}
	f := p.fields
	t = Template{
		Package: f["package"], Version: f["version"], Type: f["type"], OS: f["os"], Section: f["section"], Certified: f["certified"],
		Maintainer: f["maintainer"], Architecture: f["architecture"], Location: f["location"], Infopage: f["infopage"],
		ManageURL: f["manageurl"], MD5: strings.ToLower(f["md5sum"]), SHA512: strings.ToLower(f["sha512sum"]), Source: base,
	}
	long := ""
	t.Headline, long, _ = strings.Cut(f["description"], "\n")
	t.Description = strings.Join(strings.Fields(long), " ")
	if t.Section == "" {
		t.Section = "unknown"
	}
	if err := t.check(); err != nil {
		return t, false, err
	}
	return t, true, t.locate()
}

// check looks at every value that is more than text.
func (t Template) check() error {
	for _, v := range []struct {
		name, value string
		pattern     *regexp.Regexp
		optional    bool
	}{
		{"package", t.Package, wordValue, false},
		{"version", t.Version, versionValue, false},
		{"type", t.Type, wordValue, false},
		{"os", t.OS, wordValue, false},
		{"section", t.Section, wordValue, false},
		{"architecture", t.Architecture, wordValue, true},
		{"infopage", t.Infopage, pageValue, false},
		{"manageurl", t.ManageURL, pageValue, true},
	} {
		switch {
		case v.value == "" && v.optional:
		case v.value == "":
			return fmt.Errorf("there is no %s", v.name)
		case !v.pattern.MatchString(v.value):
			return fmt.Errorf("%s = '%s'", v.name, v.value)
		}
	}
	if t.Type != "lxc" && t.Type != "openvz" {
		return fmt.Errorf("unknown type '%s'", t.Type)
	}
	for algorithm, sum := range map[string]string{"md5": t.MD5, "sha512": t.SHA512} {
		if sum != "" {
			if err := (fetch.Checksum{Algorithm: algorithm, Hex: sum}).Check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// locate sets where the template is loaded from, and its name.
func (t *Template) locate() error {
	switch {
	case t.Location == "":
		arch := t.Architecture
		if arch == "" {
			arch = "i386"
		}
		name := strings.TrimPrefix(t.Package, t.OS+"-")
		t.Template = t.OS + "-" + name + "_" + t.Version + "_" + arch + ".tar.gz"
		t.Location = t.Source + "/" + t.Section + "/" + t.Template
	case scheme.MatchString(t.Location):
		if err := fetch.Check(t.Location); err != nil {
			return fmt.Errorf("location: %w", err)
		}
		u, err := url.Parse(t.Location)
		if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
			return fmt.Errorf("location = '%s'", t.Location)
		}
		t.Template = u.Path[strings.LastIndex(u.Path, "/")+1:]
	case !relativeURL.MatchString(t.Location):
		return fmt.Errorf("location = '%s'", t.Location)
	default:
		t.Template = t.Location[strings.LastIndex(t.Location, "/")+1:]
		t.Location = t.Source + "/" + t.Location
	}
	if !templateName.MatchString(t.Template) || len(t.Template) > maxName {
		return fmt.Errorf("'%s' is no name of a template", t.Template)
	}
	return nil
}
